package jwks

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shelf is a KeyLister.
type shelf struct {
	mu   sync.Mutex
	keys Keys
}

func (s *shelf) Keys() Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *shelf) set(keys ...*Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func ask(h http.Handler, method string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/.well-known/jwks.json", nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPublish(t *testing.T) {
	k1, k2 := testKey(t, "test-4096", "RS512"), testKey(t, "test-2048", "")
	keys := &shelf{}
	keys.set(k1)
	h := Publish(keys, 0)

	w := ask(h, http.MethodGet, nil)
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, "public, max-age=600", w.Header().Get("Cache-Control"))
	assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	etag, body := w.Header().Get("ETag"), w.Body.String()
	assert.Regexp(t, `^"[\w-]{24}"$`, etag)
	back, skipped, err := Parse([]byte(body), Limits{})
	require.NoError(t, err)
	assert.Empty(t, skipped)
	require.Len(t, back, 1)
	assert.Equal(t, k1.Thumbprint, back[0].Thumbprint)
	assert.Equal(t, []string{"test-4096", "RS512", "sig"}, []string{back[0].Kid, back[0].Alg, back[0].Use})

	head := ask(h, http.MethodHead, nil)
	assert.Equal(t, http.StatusOK, head.Code)
	assert.Empty(t, head.Body.String())
	assert.Equal(t, w.Header(), head.Header())

	for sent, want := range map[string]int{
		etag:               http.StatusNotModified,
		"W/" + etag:        http.StatusNotModified, // weak comparison, RFC 9110, 13.1.2
		`"other", ` + etag: http.StatusNotModified,
		"*":                http.StatusNotModified,
		`"other"`:          http.StatusOK,
		"nonsense":         http.StatusOK,
	} {
		w := ask(h, http.MethodGet, http.Header{"If-None-Match": {sent}})
		assert.Equal(t, want, w.Code, sent)
		assert.Equal(t, etag, w.Header().Get("ETag"))
		assert.Equal(t, "public, max-age=600", w.Header().Get("Cache-Control"))
		if want == http.StatusNotModified {
			assert.Empty(t, w.Body.String())
		}
	}

	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "get"} {
		w := ask(h, method, nil)
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		assert.True(t, json.Valid(w.Body.Bytes()))
	}

	// A key is added, and one comes again as another value.
	keys.set(k1, k2)
	w = ask(h, http.MethodGet, http.Header{"If-None-Match": {etag}})
	assert.Equal(t, http.StatusOK, w.Code)
	assert.NotEqual(t, etag, w.Header().Get("ETag"))
	again := *k1
	keys.set(&again)
	assert.Equal(t, http.StatusNotModified, ask(h, http.MethodGet, http.Header{"If-None-Match": {etag}}).Code)

	// The keys are away: not an empty set, and nothing that a cache may keep.
	keys.set()
	w = ask(h, http.MethodGet, http.Header{"If-None-Match": {etag}})
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Empty(t, w.Header().Get("ETag"))
	assert.JSONEq(t, `{"error":"keys_unavailable","error_description":"no keys are at hand: try again later"}`, w.Body.String())
}

func TestPublishAge(t *testing.T) {
	keys := index(t, testKey(t, "test-2048", ""))
	for age, want := range map[time.Duration]string{
		0:                       "public, max-age=600",
		90 * time.Second:        "public, max-age=90",
		1500 * time.Millisecond: "public, max-age=1",
		time.Millisecond:        "no-cache",
		-1:                      "no-cache",
		-time.Hour:              "no-cache",
	} {
		assert.Equal(t, want, ask(Publish(keys, age), http.MethodGet, nil).Header().Get("Cache-Control"), age)
	}
}

// What one set publishes another one fetches.
func TestPublishedSetIsFetched(t *testing.T) {
	set := setOf(t, inlineOf(t, jwksOf(jwkOf(t, "k2", 1), jwkOf(t, "k1", 0))))
	server := httptest.NewServer(Publish(set, 0))
	defer server.Close()
	fetched := setOf(t, urlSource(t, URLConfig{URL: server.URL}))
	require.NoError(t, fetched.Start(t.Context()))
	assert.Equal(t, []string{"k1", "k2"}, fetched.Status().KeyIDs)
}

func TestPublishWritesOnce(t *testing.T) {
	h := Publish(index(t, testKey(t, "test-2048", "")), 0).(*publisher)
	first, err := h.current()
	require.NoError(t, err)
	second, err := h.current()
	require.NoError(t, err)
	assert.Same(t, first, second)
}

func TestJWKSIsNeverNull(t *testing.T) {
	for _, keys := range []Keys{nil, {}} {
		text, err := json.Marshal(JWKS{keys})
		require.NoError(t, err)
		assert.Equal(t, `{"keys":[]}`, string(text))
	}
}
