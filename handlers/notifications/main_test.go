package notifications

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serviceA = "26785a09-ab16-4eb0-8407-a37497a57506"
	serviceB = "11111111-2222-4333-8444-555555555555"
	secretA  = "3d844edf-8d35-48ac-975b-e847b4f122b0"
	secretB  = "0f6e9a7b-1111-4222-8333-444455556666"
	secretT  = "5d1f0f6e-aaaa-4222-8333-444455556666"
	secretM  = "6e2f0f6e-bbbb-4222-8333-444455556666"
)

// t1 is the time of the wire reference's vectors.
var t1 = time.Unix(1453680000, 0).UTC()

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// server is an API over a memory store, with verifiers in front.
type server struct {
	t         testing.TB
	clock     *clock
	store     *memory.Store
	directory *testDirectory
	api       *API
	handler   http.Handler
	log       *bytes.Buffer
	events    []Event
	services  []*notifyauth.Service
}

// newServer makes a server; with changes its configuration.
func newServer(t testing.TB, with ...func(*Config)) *server {
	t.Helper()
	s := &server{t: t, clock: &clock{t: t1}, store: memory.New(), directory: newDirectory(), log: &bytes.Buffer{}}
	require.NoError(t, s.store.Open(context.Background()))
	t.Cleanup(func() { assert.NoError(t, s.store.Close()) })
	s.directory.put(serviceA, "1", storage.SMS, "", "Hello from the booking service")
	s.directory.put(serviceA, "2", storage.SMS, "", "Hi ((Name)), your code is ((code))((vip?? and you may skip the queue)).")
	s.directory.put(serviceA, "3", storage.Email, "For ((name))", "Dear ((name)),\nbring:((things))")
	s.directory.put(serviceA, "f5a9a2d6-7a3b-4a53-9d3a-3f5c5c1f0c11", storage.SMS, "", "By UUID")
	s.directory.put(serviceA, "4", storage.SMS, "", "((text))")
	s.directory.put(serviceB, "9", storage.SMS, "", "Only B")
	c := Config{
		Store:     s.store,
		Directory: s.directory,
		Senders:   map[storage.Channel]string{storage.SMS: "log", storage.Email: "post"},
		Now:       s.clock.now,
		Logger:    slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe:   func(e Event) { s.events = append(s.events, e) },
	}
	for _, f := range with {
		f(&c)
	}
	api, err := New(c)
	require.NoError(t, err)
	s.api = api
	auth := notifyauth.Config{
		Services: notifyauth.StaticServices(
			&notifyauth.Service{ID: serviceA, Name: "A", Keys: []*notifyauth.Key{
				key(t, "live", secretA, notifyauth.KeyNormal), key(t, "team", secretM, notifyauth.KeyTeam), key(t, "test", secretT, notifyauth.KeyTest),
			}},
			&notifyauth.Service{ID: serviceB, Name: "B", Keys: []*notifyauth.Key{key(t, "live", secretB, notifyauth.KeyNormal)}},
		),
		BasePath:  c.BasePath,
		ServeRoot: true,
		Query:     notifyauth.QueryUnsigned,
		Now:       s.clock.now,
	}
	signed, err := notifyauth.New(auth)
	require.NoError(t, err)
	auth.Dialect, auth.BufferBody = notifyauth.V2, true
	v2, err := notifyauth.New(auth)
	require.NoError(t, err)
	s.handler = s.described(api.Handler(signed, v2, nil))
	return s
}

func key(t testing.TB, name, secret, typ string) *notifyauth.Key {
	t.Helper()
	k, err := notifyauth.NewKey(name, secret, notifyauth.WithType(typ))
	require.NoError(t, err)
	return k
}

// request is a request to make and sign. The zero value of most fields is what
// service A's live key sends.
type request struct {
	method, target, body string
	service, secret      string
	token                string // instead of a minted one; "-": none
}

func (s *server) do(q request) *httptest.ResponseRecorder {
	s.t.Helper()
	if q.service == "" {
		q.service = serviceA
	}
	if q.secret == "" {
		q.secret = map[string]string{serviceA: secretA, serviceB: secretB}[q.service]
	}
	if q.token == "" {
		q.token = s.mint(q)
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r := httptest.NewRequest(q.method, q.target, body)
	if q.token != "-" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	assert.Equal(s.t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(s.t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(s.t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	if q.method != http.MethodHead {
		assert.True(s.t, json.Valid(w.Body.Bytes()), "%s", w.Body)
	}
	return w
}

func (s *server) mint(q request) string {
	s.t.Helper()
	path, _, _ := strings.Cut(q.target, "?")
	if below, ok := strings.CutPrefix(path, s.api.config.BasePath); ok && strings.HasPrefix(below, "/") {
		path = below
	}
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: q.service, Secret: q.secret, IssuedAt: s.clock.now(), Method: q.method, Path: path, Body: []byte(q.body),
	})
	require.NoError(s.t, err)
	return token
}

func (s *server) sms(body string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(request{method: "POST", target: "/notifications/sms", body: body})
}

func (s *server) email(body string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(request{method: "POST", target: "/notifications/email", body: body})
}

func (s *server) get(target string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(request{method: "GET", target: target})
}

const plainSMS = `{"to": "+441234123123", "template": 1}`

const notFoundBody = `{"result":"error","message":"No result found"}`

func assertAnswer(t testing.TB, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	assert.Equal(t, status, w.Code)
	assert.JSONEq(t, body, w.Body.String())
}

// notification returns the object of an answer.
func notification(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var answer struct {
		Notification map[string]any `json:"notification"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), "%s", w.Body)
	require.NotNil(t, answer.Notification, "%s", w.Body)
	return answer.Notification
}
