package notifications

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// signed is a POST with a token that can be used again.
func (s *server) signed(body string) request {
	q := request{method: "POST", target: "/notifications/sms", body: body, service: serviceA, secret: secretA}
	q.token = s.mint(q)
	return q
}

func assertReplay(t *testing.T, first, again *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, 201, first.Code, "%s", first.Body)
	assert.Equal(t, 201, again.Code)
	assert.Empty(t, first.Header().Get("Idempotent-Replayed"))
	assert.Equal(t, "true", again.Header().Get("Idempotent-Replayed"))
	assert.Equal(t, first.Body.String(), again.Body.String())
}

func (s *server) total() int64 {
	s.t.Helper()
	page, err := s.store.Notifications(s.t.Context(), storage.Query{ServiceID: serviceA, Limit: 1})
	require.NoError(s.t, err)
	return page.Total
}

func TestReplay(t *testing.T) {
	s := newServer(t)
	q := s.signed(plainSMS)
	first := s.do(q)
	s.deliver(storage.StatusDelivered, t1.Add(time.Second))
	s.clock.add(30 * time.Second)
	assertReplay(t, first, s.do(q))
	assert.EqualValues(t, 1, s.total())

	other := s.sms(plainSMS) // the same request, signed anew
	assert.Equal(t, 201, other.Code)
	assert.Empty(t, other.Header().Get("Idempotent-Replayed"))
	assert.EqualValues(t, 2, s.total())
}

func TestConcurrentTwins(t *testing.T) {
	for _, limit := range []int{DefaultRateLimit, 1} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) { testConcurrentTwins(t, limit) })
	}
}

func testConcurrentTwins(t *testing.T, limit int) {
	s := newServer(t, func(c *Config) { c.Observe, c.RateLimit = nil, limit })
	q := s.signed(plainSMS)
	const n = 16
	answers := make([]*httptest.ResponseRecorder, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = s.do(q) })
	}
	wg.Wait()
	replayed := 0
	for _, w := range answers {
		assert.Equal(t, 201, w.Code)
		assert.Equal(t, answers[0].Body.String(), w.Body.String())
		if w.Header().Get("Idempotent-Replayed") != "" {
			replayed++
		}
	}
	assert.Equal(t, n-1, replayed)
	assert.EqualValues(t, 1, s.total())
}

func TestIdempotencyOff(t *testing.T) {
	s := newServer(t, func(c *Config) { c.NoIdempotency = true })
	q := s.signed(plainSMS)
	for range 2 {
		w := s.do(q)
		assert.Equal(t, 201, w.Code)
		assert.Empty(t, w.Header().Get("Idempotent-Replayed"))
	}
	assert.EqualValues(t, 2, s.total())
}

// Only what was accepted is remembered.
func TestRefusalIsNotRemembered(t *testing.T) {
	s := newServer(t)
	q := s.signed(`{"to":"07700900111","template":50}`)
	assert.Equal(t, 404, s.do(q).Code)
	s.directory.put(serviceA, "50", storage.SMS, "", "Now there")
	w := s.do(q)
	assert.Equal(t, 201, w.Code)
	assert.Empty(t, w.Header().Get("Idempotent-Replayed"))
}

// What was accepted stays accepted, whatever has changed since.
func TestReplayOutlivesChanges(t *testing.T) {
	s := newServer(t)
	q := s.signed(plainSMS)
	first := s.do(q)
	s.directory.put(serviceA, "1", storage.SMS, "", "Now with ((more))")
	assertReplay(t, first, s.do(q))
	s.directory.remove(serviceA, "1")
	assertReplay(t, first, s.do(q))
	delete(s.api.config.Senders, storage.SMS)
	assertReplay(t, first, s.do(q))
	assert.EqualValues(t, 1, s.total())
	for range 2000 { // more than the bucket holds
		require.Equal(t, 201, s.do(q).Code, "repetitions count nothing")
	}
	s.api.config.Senders[storage.SMS] = "log"
	s.directory.put(serviceA, "1", storage.SMS, "", "Back")
	assert.Equal(t, 201, s.sms(plainSMS+" ").Code)
}

// The key is kept until no request with its token can arrive any more.
func TestKeyExpiry(t *testing.T) {
	var got storage.Creation
	s := newServer(t, func(c *Config) {
		c.Leeway = 2 * time.Minute
		c.Store = spy{c.Store, func(c storage.Creation) { got = c }}
	})
	s.clock.add(500 * time.Millisecond)
	require.Equal(t, 201, s.sms(plainSMS).Code)
	assert.Equal(t, t1.Add(2*time.Minute+keyMargin), got.Idempotency.ExpiresAt)
	assert.Len(t, got.Idempotency.Key, 32)
	assert.Equal(t, []storage.Limit{{Key: "daily/" + serviceA + "/sms/2016-01-25", Max: DefaultDailyLimit, ExpiresAt: t1.Add(25 * time.Hour)}}, got.Limits)
}

type spy struct {
	Store
	see func(storage.Creation)
}

func (s spy) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	s.see(c)
	return s.Store.Create(ctx, c)
}

func TestRateLimit(t *testing.T) {
	s := newServer(t, func(c *Config) { c.RateLimit = 6 }) // a burst of 3, then one in 10 s
	q := s.signed(plainSMS)
	first := s.do(q)
	require.Equal(t, 201, first.Code)
	for range 5 {
		assertReplay(t, first, s.do(q)) // repetitions count nothing
	}
	require.Equal(t, 400, s.sms(`{}`).Code) // faults do
	require.Equal(t, 201, s.sms(plainSMS+" ").Code)

	w := s.sms(plainSMS + "  ")
	assertAnswer(t, w, 429, `{"result":"error","message":"Exceeded rate limit for key type LIVE of 6 requests per 60 seconds"}`)
	assert.Equal(t, "10", w.Header().Get("Retry-After"))
	assertReplay(t, first, s.do(q)) // what was accepted is answered all the same
	assert.Equal(t, 200, s.get("/notifications/1").Code, "reading isn't limited")

	for secret, word := range map[string]string{secretM: "TEAM", secretT: "TEST"} {
		for i := range 3 {
			require.Equal(t, 201, s.do(request{method: "POST", target: "/notifications/sms", secret: secret, body: plainSMS + strings.Repeat(" ", i)}).Code)
		}
		w := s.do(request{method: "POST", target: "/notifications/sms", secret: secret, body: plainSMS + "    "})
		assertAnswer(t, w, 429, `{"result":"error","message":"Exceeded rate limit for key type `+word+` of 6 requests per 60 seconds"}`)
	}

	s.clock.add(9 * time.Second)
	w = s.sms(plainSMS)
	assert.Equal(t, 429, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	s.clock.add(time.Second)
	assert.Equal(t, 201, s.sms(plainSMS).Code)
	assert.Equal(t, 429, s.sms(plainSMS+"  ").Code)
}

func TestBucket(t *testing.T) {
	for limit, want := range map[int]storage.Bucket{
		1:       {Capacity: 2, PerSecond: 1. / 60},
		3000:    {Capacity: 1000, PerSecond: 50},
		100:     {Capacity: 35, PerSecond: 100. / 60},
		1 << 30: {Capacity: 1000, PerSecond: (1 << 30) / 60.},
	} {
		s := newServer(t, func(c *Config) { c.RateLimit = limit })
		got := s.api.bucket(identity())
		want.Key = "rate/" + serviceA + "/normal"
		assert.Equal(t, want, got)
	}
}

func TestDailyLimit(t *testing.T) {
	s := newServer(t, func(c *Config) { c.DailyLimit = 2 })
	s.clock.add(23*time.Hour + 59*time.Minute) // of 25 January 2016
	q := s.signed(plainSMS)
	first := s.do(q)
	require.Equal(t, 201, first.Code)
	assertReplay(t, first, s.do(q))
	require.Equal(t, 400, s.sms(`{}`).Code)
	require.Equal(t, 201, s.sms(plainSMS+" ").Code)

	w := s.sms(plainSMS + "  ")
	assertAnswer(t, w, 429, `{"result":"error","message":"Exceeded send limits (2) for today"}`)
	assert.Equal(t, "60", w.Header().Get("Retry-After"))
	assertReplay(t, first, s.do(q))
	assert.EqualValues(t, 2, s.total())
	assert.Equal(t, 201, s.email(`{"to":"al@example.org","template":3,"personalisation":{"name":"","things":"x"}}`).Code, "of its own")
	assert.Equal(t, 201, s.do(request{method: "POST", target: "/notifications/sms", service: serviceB, body: `{"to":"07700900111","template":9}`}).Code)

	s.clock.add(time.Minute)
	assert.Equal(t, 201, s.sms(plainSMS).Code)
}

func TestNoLimits(t *testing.T) {
	var got storage.Creation
	s := newServer(t, func(c *Config) {
		c.RateLimit, c.DailyLimit = -1, -1
		c.Store = spy{c.Store, func(c storage.Creation) { got = c }}
	})
	for i := range 1100 {
		require.Equal(t, 201, s.sms(plainSMS+strings.Repeat(" ", i)).Code)
	}
	assert.Empty(t, got.Limits)
}

// failing is a store of which some methods fail.
type failing struct {
	Store
	take, create, read error
}

func (f failing) Take(ctx context.Context, b storage.Bucket, now time.Time) (time.Duration, error) {
	if f.take != nil {
		return 0, f.take
	}
	return f.Store.Take(ctx, b, now)
}

func (f failing) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	if f.create != nil {
		return storage.Created{}, f.create
	}
	return f.Store.Create(ctx, c)
}

func (f failing) NotificationByID(ctx context.Context, serviceID string, id int64) (storage.Notification, error) {
	if f.read != nil {
		return storage.Notification{}, f.read
	}
	return f.Store.NotificationByID(ctx, serviceID, id)
}

func (f failing) Notifications(ctx context.Context, q storage.Query) (storage.Page, error) {
	if f.read != nil {
		return storage.Page{}, f.read
	}
	return f.Store.Notifications(ctx, q)
}

func TestStorageAway(t *testing.T) {
	const away = `{"result":"error","message":"Service temporarily unavailable, try again later"}`
	down := storage.Unavailable("writing", errors.New("disk full"))
	for name, c := range map[string]struct {
		with func(*Config)
		do   func(*server) *httptest.ResponseRecorder
	}{
		"rate limit": {func(c *Config) { c.Store = failing{Store: c.Store, take: down} }, func(s *server) *httptest.ResponseRecorder { return s.sms(plainSMS) }},
		"creation":   {func(c *Config) { c.Store = failing{Store: c.Store, create: down} }, func(s *server) *httptest.ResponseRecorder { return s.sms(plainSMS) }},
		"directory":  {func(c *Config) { c.Directory = failingDirectory{down} }, func(s *server) *httptest.ResponseRecorder { return s.sms(plainSMS) }},
		"read":       {func(c *Config) { c.Store = failing{Store: c.Store, read: down} }, func(s *server) *httptest.ResponseRecorder { return s.get("/notifications/1") }},
		"list":       {func(c *Config) { c.Store = failing{Store: c.Store, read: down} }, func(s *server) *httptest.ResponseRecorder { return s.get("/notifications") }},
		"any other error": {
			func(c *Config) { c.Directory = failingDirectory{errors.New("disk full")} },
			func(s *server) *httptest.ResponseRecorder { return s.sms(plainSMS) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, c.with)
			w := c.do(s)
			assertAnswer(t, w, 503, away)
			assert.Equal(t, "5", w.Header().Get("Retry-After"))
			assert.Contains(t, s.log.String(), "disk full")
			assert.Equal(t, []string{codeUnavailable}, []string{s.events[0].Result})
		})
	}
	t.Run("closed", func(t *testing.T) {
		s := newServer(t)
		require.NoError(t, s.store.Close())
		assertAnswer(t, s.sms(plainSMS), 503, away)
		assertAnswer(t, s.get("/notifications/1"), 503, away)
		assertAnswer(t, s.get("/_status"), 200, `{"status":"ok"}`)
	})
	t.Run("a creation that can't be stored is our fault", func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.Store = failing{Store: c.Store, create: storage.ErrInvalid} })
		assertAnswer(t, s.sms(plainSMS), 500, `{"result":"error","message":"Internal server error"}`)
	})
}
