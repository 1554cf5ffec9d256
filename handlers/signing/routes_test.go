package signing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func TestRoutes(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.PublishKeys = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=600")
			_, _ = io.WriteString(w, `{"keys":[]}`)
		})
	})
	const get, post = "GET, HEAD", "POST"
	for _, prefix := range []string{"", "/signing-service"} {
		for path, allow := range map[string]string{
			"/signaturerequest":      post,
			"/signaturerequest/x":    get,
			"/signatureresponse/x":   "GET, HEAD, POST",
			"/client":                get,
			"/_ping":                 get,
			"/_status":               get,
			"/assets/page.css":       get,
			"/.well-known/jwks.json": get,
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "get"} {
				w := f.call(t, method, prefix+path, "")
				if strings.Contains(allow, method) {
					assert.NotEqual(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
					assert.NotContains(t, w.Body.String(), `"Not Found"}`)
					continue
				}
				require.Equal(t, http.StatusMethodNotAllowed, w.Code)
				if method != http.MethodHead {
					requireRefusal(t, w, 405, "Method Not Allowed")
				}
				assert.Equal(t, allow, w.Header().Get("Allow"))
			}
		}
		for _, path := range []string{
			"", "/", "/signaturerequest/", "/signatureresponse", "/signatureresponse/", "/signaturerequest/a/b", "/signaturerequest//a", "/Client",
			"/client/", "/client/x", "/assets/", "/assets/../page.css", "/_ping/x", "/mock/x", "/signing-service/signing-service/client",
			"/SignatureRequest", "/signaturerequest%2Fx",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if prefix+path == "" {
					continue
				}
				requireRefusal(t, f.call(t, method, prefix+path, ""), 404, "Not Found")
			}
		}
	}
	assert.Equal(t, "public, max-age=600", f.call(t, http.MethodGet, "/.well-known/jwks.json", "").Header().Get("Cache-Control"))
	requireRefusal(t, newFixture(t, nil).call(t, http.MethodGet, "/.well-known/jwks.json", ""), 404, "Not Found")
	requireRefusal(t, f.call(t, http.MethodGet, "/signing-servicex/_ping", ""), 404, "Not Found")
}

func TestAssets(t *testing.T) {
	f := newFixture(t, nil)
	w := f.call(t, http.MethodGet, "/signing-service/assets/page.css", "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/css; charset=utf-8", w.Header().Get("Content-Type"))
	for _, name := range []string{"nothing", "mock.js", "%25", "%2e%2e%2fpage.css", "page.css%00"} {
		requireRefusal(t, f.call(t, http.MethodGet, "/assets/"+name, ""), 404, "Not Found")
	}
}

func TestPingAndStatus(t *testing.T) {
	health := map[string]error{}
	f := newFixture(t, func(c *Config) {
		c.Version = Version{Version: "v1.2.3", Revision: "5", ReleaseID: "r", CommitID: "abc"}
		c.Health = func(context.Context) map[string]error { return health }
	})
	w := f.call(t, http.MethodGet, "/_ping", "")
	assert.JSONEq(t, `{"version":"v1.2.3","revision":"5","releaseId":"r","commitId":"abc"}`, w.Body.String())
	w = f.call(t, http.MethodGet, "/_status", "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, Event{Route: "status", Result: "ok", Status: 200}, f.events[len(f.events)-1])
	assert.JSONEq(t, `{"status":"pass","commitId":"abc","checks":{}}`, w.Body.String())
	health["storage"], health["keys"] = errors.New("disk /secret full"), nil
	w = f.call(t, http.MethodGet, "/_status", "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, Event{Route: "status", Result: "unavailable", Status: 503}, f.events[len(f.events)-1])
	assert.JSONEq(t, `{"status":"error","commitId":"abc","checks":{"storage":{"status":"error"},"keys":{"status":"pass"}}}`, w.Body.String())
}

// TestResultsOfOtherHandlers: what another handler answers counts as what it
// is.
func TestResultsOfOtherHandlers(t *testing.T) {
	var status int
	f := newFixture(t, func(c *Config) {
		c.PublishKeys = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if status != 0 {
				w.WriteHeader(status)
			}
			_, _ = io.WriteString(w, `{"keys":[]}`)
		})
	})
	for _, c := range []struct {
		wrote, status int
		result        string
	}{{0, 200, "ok"}, {200, 200, "ok"}, {304, 304, "ok"}, {404, 404, "unavailable"}, {500, 500, "unavailable"}, {503, 503, "unavailable"}} {
		status = c.wrote
		require.Equal(t, c.status, f.call(t, http.MethodGet, "/.well-known/jwks.json", "").Code)
		assert.Equal(t, Event{Route: "keys", Result: c.result, Status: c.status}, f.events[len(f.events)-1])
	}
	asset := f.call(t, http.MethodGet, "/assets/page.css", "")
	f.call(t, http.MethodGet, "/assets/page.css", "", "If-None-Match", asset.Header().Get("ETag"))
	assert.Equal(t, Event{Route: "asset", Result: "ok", Status: 304}, f.events[len(f.events)-1])
}

func TestRequestIDsAreMirrored(t *testing.T) {
	f := newFixture(t, nil)
	const id = "60E0B220-8136-4CA5-AE46-1D97EF59D068"
	w := f.call(t, http.MethodGet, "/signatureresponse/_", "", "x-request-id", id, "X-Correlation-ID", "c")
	assert.Equal(t, id, w.Header().Get("X-Request-Id"))
	assert.Equal(t, "c", w.Header().Get("X-Correlation-Id"))
	for _, bad := range []string{"", strings.Repeat("x", 129), "a\x7f", "é", "a\tb"} {
		w := f.call(t, http.MethodGet, "/_ping", "", "X-Request-Id", bad)
		assert.Empty(t, w.Header()["X-Request-Id"], bad)
	}
	assert.Empty(t, f.call(t, http.MethodGet, "/_ping", "", "X-Request-Id", "a", "X-Request-Id", "b").Header()["X-Request-Id"])
}

func TestStorageAway(t *testing.T) {
	f := newFixture(t, nil)
	token := f.downloaded(t, nil)
	require.NoError(t, f.store.Close())
	for _, w := range []*httptest.ResponseRecorder{
		f.post(t, f.mint(t, nil)), f.download(t, token), f.upload(t, token, "{}"), f.result(t, token),
	} {
		requireRefusal(t, w, 503, "Service temporarily unavailable, try again later")
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
	}
	w := f.call(t, http.MethodGet, "/client?token="+token, "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	assert.Equal(t, Event{Route: "client", Result: "unavailable", Status: 503}, f.events[len(f.events)-1])
}

func TestConfig(t *testing.T) {
	good := newFixture(t, nil).config
	require.NotNil(t, good.Evidence)
	for name, change := range map[string]func(*Config){
		"Store":                  func(c *Config) { c.Store = nil },
		"Clients":                func(c *Config) { c.Clients = nil },
		"Evidence":               func(c *Config) { c.Evidence = nil },
		"Page":                   func(c *Config) { c.Page = nil },
		"BaseURL is required":    func(c *Config) { c.BaseURL = "" },
		"loopback":               func(c *Config) { c.BaseURL = "http://sign.example.org" },
		"https":                  func(c *Config) { c.BaseURL = "sign.example.org" },
		"a host":                 func(c *Config) { c.BaseURL = "https:///x" },
		"a scheme, a host":       func(c *Config) { c.BaseURL = "https://u:p@sign.example.org" },
		"query or a fragment":    func(c *Config) { c.BaseURL = "https://sign.example.org/?x" },
		"a fragment":             func(c *Config) { c.BaseURL = "https://sign.example.org/#" },
		"with a slash":           func(c *Config) { c.BaseURL = "https://sign.example.org/x/" },
		"not plain":              func(c *Config) { c.BaseURL = "https://sign.example.org/a%20b" },
		"no empty":               func(c *Config) { c.BaseURL = "https://sign.example.org/a//b" },
		"unknown profile":        func(c *Config) { c.Profile = "lax" },
		"needs the mock":         func(c *Config) { c.Profile = ProfileINT2022 },
		"RS256 or RS1":           func(c *Config) { c.SignatureAlgorithms = []string{"RS512"} },
		"MinKeyBits":             func(c *Config) { c.MinKeyBits = 1024 },
		"Leeway":                 func(c *Config) { c.Leeway = 25 * 3600e9 },
		"MaxBody":                func(c *Config) { c.MaxBody = 2 << 20 },
		"must be 12582912 at":    func(c *Config) { c.MaxBuffered = 1 << 20 },
		"Retention is negative":  func(c *Config) { c.Retention = -1 },
		"RateLimit is negative;": func(c *Config) { c.RateLimit = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			_, err := New(c)
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, "signing: ")
		})
	}
	c := good
	c.MaxBuffered = 12582912
	_, err := New(c)
	require.NoError(t, err)
	for _, base := range []string{"http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/a", "https://sign.example.org"} {
		c.BaseURL = base
		_, err := New(c)
		require.NoError(t, err)
	}
	minimal, err := New(Config{
		BaseURL: base, Store: memory.New(), Clients: clients{}, Evidence: new(evidence.Verifier), Page: new(page.Page),
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"RS1", "RS256"}, minimal.config.SignatureAlgorithms)
	assert.Equal(t, 4096, minimal.config.MinKeyBits)
}
