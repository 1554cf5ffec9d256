package notifications

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func withIdempotencyKey(key string) func(*http.Request) { return withHeader(headerIdempotency, key) }

const (
	textKeyUsed  = "This Idempotency-Key was used with another request"
	textKeyInUse = "A request with this Idempotency-Key is still being processed, try again"
	textBadKey   = "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"
)

func TestIdempotencyKey(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = settled()
	for kind, body := range map[string]string{
		"sms":   v2SMS("reference", "r", "scheduled_for", "2016-01-25T12:00:00Z"),
		"email": v2Email("one_click_unsubscribe_url", "https://example.org/"),
	} {
		send := func(body string, with ...func(*http.Request)) *httptest.ResponseRecorder {
			return s.v2("POST", "/v2/notifications/"+kind, body, with...)
		}
		before := s.total()
		key := withIdempotencyKey("order-" + kind)
		first := send(body, key)
		s.clock.add(20 * time.Second)
		assertReplay(t, first, send(body, key))
		assert.Equal(t, before+1, s.total())

		assertV2Error(t, send(strings.Replace(body, "{", "{ ", 1), key), 422, errorIdempotency, textKeyUsed)
		assertV2Error(t, send("no JSON", key), 422, errorIdempotency, textKeyUsed)
		for _, w := range []*httptest.ResponseRecorder{send(body), send(body, withIdempotencyKey("other-"+kind))} {
			assert.Equal(t, 201, w.Code)
			assert.NotEqual(t, first.Body.String(), w.Body.String())
		}
	}
}

// The same key means something else on another route, with a key of another
// type, and of another service.
func TestIdempotencyKeyScope(t *testing.T) {
	s := newServer(t)
	key := withIdempotencyKey("k")
	require.Equal(t, 201, s.v2SMS(v2SMS(), key).Code)
	assertV2Error(t, s.v2Email(v2SMS(), key), 422, errorIdempotency, textKeyUsed)
	test := s.v2SMS(v2SMS(), key, s.withKey(serviceA, secretT))
	assert.Equal(t, 201, test.Code)
	assert.Empty(t, test.Header().Get(headerReplayed))
	w := s.v2("POST", "/v2/notifications/sms", v2Body("phone_number", "07700900123", "template_id", storage.TemplateUUID(serviceB, "9").String()),
		key, s.withKey(serviceB, secretB))
	assert.Equal(t, 201, w.Code)
	assert.Empty(t, w.Header().Get(headerReplayed))
}

// What was accepted stays accepted, whatever has changed since.
func TestIdempotencyKeyHoldsRefusalsBack(t *testing.T) {
	s := newServer(t, func(c *Config) { c.DailyLimit, c.RateLimit = 1, 3 })
	key := withIdempotencyKey("k")
	first := s.v2SMS(v2SMS(), key)
	require.Equal(t, 201, first.Code)
	s.directory.archive(serviceA, "1")
	for range 5 {
		assertReplay(t, first, s.v2SMS(v2SMS(), key))
	}
	assert.Equal(t, "v2_sms replayed", s.events[5].Route+" "+s.events[5].Result)
	assertV2Error(t, s.v2SMS(v2SMS("reference", "x"), key), 422, errorIdempotency, textKeyUsed)
}

// A refusal is not remembered.
func TestIdempotencyKeyAfterRefusal(t *testing.T) {
	s := newServer(t)
	key := withIdempotencyKey("k")
	assertV2Error(t, s.v2SMS(v2SMS("template_id", senderA), key), 400, errorBadRequest, "Template not found")
	w := s.v2SMS(v2SMS(), key)
	assert.Equal(t, 201, w.Code)
	assert.Empty(t, w.Header().Get(headerReplayed))
}

func TestIdempotencyKeyExpires(t *testing.T) {
	s := newServer(t)
	key := withIdempotencyKey("k")
	first := s.v2SMS(v2SMS(), key)
	s.clock.add(24 * time.Hour)
	assertReplay(t, first, s.v2SMS(v2SMS(), key))
	s.clock.add(time.Second)
	assertV2Error(t, s.v2SMS("no JSON", key), 400, errorBadRequest, "Invalid JSON supplied in POST data")
	w := s.v2SMS(v2SMS(), key)
	assert.Equal(t, 201, w.Code)
	assert.Empty(t, w.Header().Get(headerReplayed))
	assert.EqualValues(t, 2, s.total())
}

func TestIdempotencyKeyForm(t *testing.T) {
	s := newServer(t)
	for _, key := range []string{"", " ", "a b", "a\tb", "ä", strings.Repeat("x", 256), "\x7f"} {
		w := s.v2SMS(v2SMS(), func(r *http.Request) { r.Header[headerIdempotency] = []string{key} })
		assertV2Error(t, w, 400, errorIdempotency, textBadKey)
	}
	assertV2Error(t, s.v2SMS(v2SMS(), withIdempotencyKey("a"), withIdempotencyKey("a")), 400, errorIdempotency, textBadKey)
	assert.Equal(t, 201, s.v2SMS(v2SMS(), withIdempotencyKey(strings.Repeat("~", 255))).Code)

	s = newServer(t, func(c *Config) { c.NoIdempotency = true })
	for range 2 {
		w := s.v2SMS(v2SMS(), withIdempotencyKey("a b"))
		assert.Equal(t, 201, w.Code)
		assert.Empty(t, w.Header().Get(headerReplayed))
	}
	assert.EqualValues(t, 2, s.total())
}

// Nothing is stored for simulated recipients, but the id is the same.
func TestIdempotencyKeySimulated(t *testing.T) {
	s := newServer(t)
	body := v2SMS("phone_number", "07700900000")
	first := s.v2SMS(body, withIdempotencyKey("k"))
	require.Equal(t, 201, first.Code)
	assert.Equal(t, first.Body.String(), s.v2SMS(body, withIdempotencyKey("k")).Body.String())
	assert.NotEqual(t, first.Body.String(), s.v2SMS(body, withIdempotencyKey("l")).Body.String())
	assert.NotEqual(t, first.Body.String(), s.v2SMS(body).Body.String())
}

// slow is a store whose first Create waits.
type slow struct {
	Store
	once          *sync.Once
	begun, resume chan struct{}
}

func (s slow) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	s.once.Do(func() {
		close(s.begun)
		<-s.resume
	})
	return s.Store.Create(ctx, c)
}

func TestIdempotencyKeyInUse(t *testing.T) {
	wait := slow{once: new(sync.Once), begun: make(chan struct{}), resume: make(chan struct{})}
	s := newServer(t, func(c *Config) { wait.Store = c.Store; c.Store = wait; c.Observe = nil })
	key := withIdempotencyKey("k")
	var first *httptest.ResponseRecorder
	var wg sync.WaitGroup
	wg.Go(func() { first = s.v2SMS(v2SMS(), key) })
	<-wait.begun
	assertV2Error(t, s.v2SMS(v2SMS(), key), 409, errorIdempotency, textKeyInUse)
	close(wait.resume)
	wg.Wait()
	require.Equal(t, 201, first.Code)
	assert.Empty(t, first.Header().Get(headerReplayed))
	assertReplay(t, first, s.v2SMS(v2SMS(), key))
	assert.EqualValues(t, 1, s.total())
}

func TestIdempotencyKeyConcurrent(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Observe = nil })
	const n = 32
	answers := make([]*httptest.ResponseRecorder, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = s.v2SMS(v2SMS(), withIdempotencyKey("k")) })
	}
	wg.Wait()
	bodies, fresh := map[string]bool{}, 0
	for _, w := range answers {
		if w.Code == 409 {
			continue
		}
		require.Equal(t, 201, w.Code, "%s", w.Body)
		bodies[w.Body.String()] = true
		if w.Header().Get(headerReplayed) == "" {
			fresh++
		}
	}
	assert.Len(t, bodies, 1)
	assert.Equal(t, 1, fresh)
	assert.EqualValues(t, 1, s.total())
}

// Two nodes on one storage: the second finds what the first has created while
// it was on its way.
func TestIdempotencyKeyAcrossNodes(t *testing.T) {
	s := newServer(t)
	first := s.v2SMS(v2SMS(), withIdempotencyKey("k"))
	api, err := New(s.api.config)
	require.NoError(t, err)
	s.api.twins.running.Clear()
	r := httptest.NewRequest("POST", "/v2/notifications/sms", strings.NewReader(v2SMS()))
	r.Header.Set(headerIdempotency, "k")
	w := httptest.NewRecorder()
	c := &v2Call{w: w, r: r, id: identity(), route: routeV2SMS, root: "http://example.com"}
	status, result := api.v2SendSMS(c)
	assert.Equal(t, 201, status)
	assert.Equal(t, resultReplayed, result)
	assertReplay(t, first, w)
}
