package notifications

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

func identity() notifyauth.Identity {
	return notifyauth.Identity{ServiceID: serviceA, KeyName: "live", KeyType: notifyauth.KeyNormal, IssuedAt: t1}
}

const (
	noRouteBody = `{"result":"error","message":"The requested URL was not found on the server."}`
	methodBody  = `{"result":"error","message":"The method is not allowed for the requested URL."}`
)

func TestRoutes(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, target string
		status         int
		body, allow    string
	}{
		{"GET", "/", 404, noRouteBody, ""},
		{"GET", "/notification/1234", 404, noRouteBody, ""},
		{"GET", "/notifications/", 404, noRouteBody, ""},
		{"GET", "/notifications/1/", 404, noRouteBody, ""},
		{"GET", "/notifications/1/x", 404, noRouteBody, ""},
		{"GET", "/Notifications", 404, noRouteBody, ""},
		{"GET", "/v2notifications", 404, noRouteBody, ""},
		{"POST", "/notifications/sms/", 404, noRouteBody, ""},
		{"GET", "/notifications/sms", 405, methodBody, "POST"},
		{"PUT", "/notifications/email", 405, methodBody, "POST"},
		{"OPTIONS", "/notifications/sms", 405, methodBody, "POST"},
		{"POST", "/notifications", 405, methodBody, "GET, HEAD"},
		{"POST", "/notifications/push", 405, methodBody, "GET, HEAD"},
		{"DELETE", "/notifications/1", 405, methodBody, "GET, HEAD"},
		{"get", "/notifications/1", 405, methodBody, "GET, HEAD"},
	} {
		w := s.do(request{method: c.method, target: c.target})
		assertAnswer(t, w, c.status, c.body)
		assert.Equal(t, c.allow, w.Header().Get("Allow"), c.target)

		w = s.do(request{method: c.method, target: c.target, token: "-"})
		assert.Equal(t, 401, w.Code, "without a token every path is the same: %s %s", c.method, c.target)
	}
}

func TestStatus(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api/endpoint/" })
	for _, target := range []string{"/_status", "/api/endpoint/_status", "/_status?simple=1"} {
		assertAnswer(t, s.do(request{method: "GET", target: target, token: "-"}), 200, `{"status":"ok"}`)
	}
	assert.Equal(t, 200, s.do(request{method: "HEAD", target: "/_status", token: "-"}).Code)
	w := s.do(request{method: "POST", target: "/_status", token: "-"})
	assertAnswer(t, w, 405, methodBody)
	assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	for _, target := range []string{"/_status/", "/x/_status", "/api/_status"} {
		assert.Equal(t, 401, s.do(request{method: "GET", target: target, token: "-"}).Code, target)
	}
	assert.Empty(t, s.events)
}

func TestBasePath(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api/endpoint" })
	for i, base := range []string{"", "/api/endpoint"} {
		w := s.do(request{method: "POST", target: base + "/notifications/sms", body: plainSMS + strings.Repeat(" ", i)})
		require.Equal(t, 201, w.Code)
		assert.Equal(t, 200, s.get(base+"/notifications/1").Code)
		assert.Equal(t, 200, s.get(base+"/notifications").Code)
	}
	assert.Equal(t, 404, s.get("/api/endpointx/notifications").Code)
}

// Whatever a server does to the request before the handler, the original
// counts.
func TestRewritten(t *testing.T) {
	s := newServer(t)
	require.Equal(t, 201, s.sms(plainSMS).Code)
	verifier, err := notifyauth.New(notifyauth.Config{
		Services:  notifyauth.ServicesFunc(func(context.Context, string) (*notifyauth.Service, error) { return s.serviceA(), nil }),
		ServeRoot: true, Query: notifyauth.QueryUnsigned, Now: s.clock.now,
	})
	require.NoError(t, err)
	type originalKey struct{}
	inner := s.api.Handler(verifier, nil, func(r *http.Request) notifyauth.Original {
		return r.Context().Value(originalKey{}).(notifyauth.Original)
	})
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := notifyauth.OriginalOf(r)
		r = r.WithContext(context.WithValue(r.Context(), originalKey{}, o))
		r.URL = &url.URL{Path: "/index.php", RawQuery: "page=77"}
		r.RequestURI = "/index.php?page=77"
		r.Method = "GET"
		inner.ServeHTTP(w, r)
	})
	assert.Equal(t, 200, s.get("/notifications/1").Code)
	assert.EqualValues(t, 1, s.list("?status=created").Total)
	assert.Equal(t, 201, s.sms(plainSMS+" ").Code)
	assertAnswer(t, s.do(request{method: "GET", target: "/_status", token: "-"}), 200, `{"status":"ok"}`)
}

func (s *server) serviceA() *notifyauth.Service {
	return &notifyauth.Service{ID: serviceA, Keys: []*notifyauth.Key{key(s.t, "live", secretA, notifyauth.KeyNormal)}}
}

func TestRequestURIOfURLOnly(t *testing.T) {
	u := &url.URL{Path: "/notifications", RawQuery: "page=2"}
	assert.Equal(t, "page=2", rawQuery(notifyauth.Original{URL: u}))
	assert.Empty(t, rawQuery(notifyauth.Original{}))
}

func TestEvents(t *testing.T) {
	s := newServer(t, func(c *Config) { c.RateLimit = 6 })
	q := s.signed(plainSMS)
	s.do(q)
	s.do(q)
	s.sms(`{}`)
	s.sms(`{`)
	s.sms(plainSMS + " ")
	s.email(plainSMS)
	s.get("/notifications/1")
	s.get("/notifications/x")
	s.get("/notifications")
	s.get("/notifications?page=x")
	s.get("/x")
	s.do(request{method: "PUT", target: "/notifications"})
	s.do(request{method: "GET", target: "/notifications", token: "-"})
	var got []Event
	for _, e := range s.events {
		assert.GreaterOrEqual(t, e.Duration, time.Duration(0))
		e.Duration = 0
		got = append(got, e)
	}
	assert.Equal(t, []Event{
		{Route: "sms", Result: "ok", Status: 201},
		{Route: "sms", Result: "replayed", Status: 201},
		{Route: "sms", Result: "invalid_fields", Status: 400},
		{Route: "sms", Result: "invalid_json", Status: 400},
		{Route: "sms", Result: "rate_limited", Status: 429},
		{Route: "email", Result: "rate_limited", Status: 429},
		{Route: "get", Result: "ok", Status: 200},
		{Route: "get", Result: "not_found", Status: 404},
		{Route: "list", Result: "ok", Status: 200},
		{Route: "list", Result: "invalid_query", Status: 400},
		{Route: "none", Result: "no_route", Status: 404},
		{Route: "list", Result: "method_not_allowed", Status: 405},
	}, got)
}

// Neither recipients nor texts nor tokens are logged.
func TestLog(t *testing.T) {
	s := newServer(t)
	q := s.signed(`{"to":"07700900123","template":4,"personalisation":{"text":"MARKER"}}`)
	require.Equal(t, 201, s.do(q).Code)
	s.sms(`{"to":"MARKER","template":"MARKER","personalisation":{"MARKER":{}}}`)
	s.sms(`{"MARKER":`)
	s.email(`{"to":"MARKER@example.org","template":3}`)
	s.get("/notifications/MARKER")
	s.get("/notifications?status=MARKER&page=%zz")
	log := s.log.String()
	assert.Equal(t, 1, strings.Count(log, "level=DEBUG"), log)
	assert.Equal(t, 5, strings.Count(log, "level=INFO"), log)
	assert.Contains(t, log, "code=invalid_fields")
	for _, secret := range []string{"MARKER", "900123", q.token, secretA} {
		assert.NotContains(t, log, secret)
	}
}

// A client that has gone isn't a fault of the server.
func TestClientGone(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.api.config.Store = failing{Store: s.store, take: storage.Unavailable("waiting", context.Canceled)}
	r := httptest.NewRequest("POST", "/notifications/sms", strings.NewReader(plainSMS)).WithContext(ctx)
	id := identity()
	id.Path = "/notifications/sms"
	s.api.Serve(httptest.NewRecorder(), r, id, notifyauth.OriginalOf(r))
	assert.NotContains(t, s.log.String(), "level=ERROR")
	assert.Equal(t, codeClientGone, s.events[0].Result)
}

func TestNewRefuses(t *testing.T) {
	s := newServer(t)
	good := Config{Store: s.store, Directory: s.directory}
	_, err := New(good)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"store":     {func(c *Config) { c.Store = nil }, "required"},
		"directory": {func(c *Config) { c.Directory = nil }, "required"},
		"leeway":    {func(c *Config) { c.Leeway = -1 }, "negative"},
		"retention": {func(c *Config) { c.Retention = -1 }, "negative"},
		"channel":   {func(c *Config) { c.Senders = map[storage.Channel]string{"letter": "x"} }, "sms and email"},
		"sender":    {func(c *Config) { c.Senders = map[storage.Channel]string{storage.SMS: ""} }, "sms"},
		"region":    {func(c *Config) { c.Region = "UK" }, "ISO 3166-1"},
		"base path": {func(c *Config) { c.BasePath = "/v2/x" }, "v2 dialect"},
		"dialect":   {func(c *Config) { c.Dialect = 7 }, "dialect"},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := good
			c.change(&c2)
			_, err := New(c2)
			assert.ErrorContains(t, err, c.want)
		})
	}
	for _, base := range []string{"api", "/a//b", "//", "/a/../b", "/.", "/a?b", "/a#b", `/a\b`} {
		c := good
		c.BasePath = base
		_, err := New(c)
		assert.ErrorContains(t, err, "/api/endpoint", base)
	}
}
