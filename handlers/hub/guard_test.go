package hub

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// everywhere are requests to all that the hub does for web sites.
func (f *fixture) everywhere() map[string]call {
	return map[string]call{
		"info":         {path: "/hub/v1/info"},
		"certificates": {method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"},
		"sign":         {method: http.MethodPost, path: "/hub/v1/sign", body: signBody(f.token(nil))},
		"port":         {path: "/PRS/GetPortNumber"},
		"negotiate":    {path: `/signalr/negotiate?clientProtocol=2.1&connectionData=%5B%7B%22name%22%3A%22signinghub%22%7D%5D`},
		"send": {
			method: http.MethodPost, path: "/signalr/send?transport=longPolling&connectionToken=x", body: "data=%7B%7D",
			header: map[string]string{"Content-Type": typeForm},
		},
		"nowhere": {path: "/"},
	}
}

func TestStrangers(t *testing.T) {
	f := newFixture(t, nil)
	_, port, _ := strings.Cut(f.server.Listener.Addr().String(), ":")
	origins := []struct{ name, origin string }{
		{"another site", "https://evil.example"},
		{"no origin", "-"},
		{"null", "null"},
		{"plain http", "http://sign.example.test"},
		{"another port", site + ":8443"},
		{"upper case", "https://SIGN.example.test"},
		{"a longer name", site + ".evil.example"},
		{"the hub itself", f.server.URL},
		{"empty", ""},
	}
	for name, c := range f.everywhere() {
		for _, stranger := range origins {
			t.Run(name+"/"+stranger.name, func(t *testing.T) {
				f.tb = t
				c := c
				c.header = map[string]string{"Origin": stranger.origin, "Content-Type": c.header["Content-Type"]}
				if c.header["Content-Type"] == "" {
					c.header["Content-Type"] = typeJSON
				}
				a := f.do(c)
				f.forbidden(a)
				c.method = http.MethodOptions
				c.header["Access-Control-Request-Method"] = http.MethodPost
				c.header["Access-Control-Request-Private-Network"] = "true"
				f.forbidden(f.do(c))
			})
		}
		for _, host := range []string{
			"evil.example:" + port, "evil.example", "localhost", "127.0.0.1:1", "localhost:" + port + "0", "localhost.:" + port,
			"127.0.0.2:" + port, "0.0.0.0:" + port, "localhost.evil.example:" + port, "[::ffff:127.0.0.1]:" + port,
		} {
			t.Run(name+"/host "+host, func(t *testing.T) {
				f.tb = t
				c := c
				c.host = host
				f.forbidden(f.do(c))
			})
		}
	}
	f.tb = t
	for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1", "[::1]"} {
		assert.Equal(t, http.StatusOK, f.do(call{path: "/hub/v1/info", host: host + ":" + port}).StatusCode, host)
	}
}

// forbidden checks a 403 that no page can read, but that a page without CORS
// gets.
func (f *fixture) forbidden(a *answer) {
	f.tb.Helper()
	assert.Equal(f.tb, http.StatusForbidden, a.StatusCode)
	assert.Equal(f.tb, "origin_not_allowed", a.json(f.tb)["error"])
	for name := range a.Header {
		assert.False(f.tb, strings.HasPrefix(name, "Access-Control-"), name)
	}
	assert.Empty(f.tb, a.Header.Get("Cross-Origin-Resource-Policy"))
	f.nothingLeft(a)
}

func TestConnectionsFromOutside(t *testing.T) {
	f := newFixture(t, nil)
	local := f.server.Listener.Addr()
	for _, c := range []struct {
		name, remote string
		local        net.Addr
		want         int
	}{
		{"loopback", "127.0.0.1:5", local, http.StatusOK},
		{"other loopback", "127.3.2.1:5", local, http.StatusOK},
		{"IPv6", "[::1]:5", &net.TCPAddr{IP: net.IPv6loopback, Port: f.port}, http.StatusOK},
		{"mapped", "[::ffff:127.0.0.1]:5", local, http.StatusOK},
		{"from the net", "192.0.2.1:5", local, http.StatusForbidden},
		{"to the net's address", "127.0.0.1:5", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: f.port}, http.StatusForbidden},
		{"unix socket", "@", &net.UnixAddr{Name: "/run/hub.sock", Net: "unix"}, http.StatusForbidden},
		{"unknown", "127.0.0.1:5", nil, http.StatusForbidden},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/hub/v1/info", nil)
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		r.RemoteAddr, r.Host = c.remote, local.String()
		r.Header.Set("Origin", site)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		assert.Equal(t, c.want, w.Code, c.name)
	}
}

// TestForms: what pages can send without a preflight is not taken by hub/1, not
// even from the sites of the list.
func TestForms(t *testing.T) {
	f := newFixture(t, nil)
	for _, kind := range []string{
		"text/plain", "text/plain; charset=utf-8", typeForm, "multipart/form-data; boundary=x", "-", "application/json, text/plain",
		"text/plain; application/json", "application/json; charset=utf-16", "application/jsonp",
	} {
		for _, path := range []string{"/hub/v1/certificates", "/hub/v1/sign"} {
			a := f.do(call{method: http.MethodPost, path: path, body: signBody(f.token(nil)), header: map[string]string{"Content-Type": kind}})
			assert.Equal(t, http.StatusUnsupportedMediaType, a.StatusCode, kind)
			f.nothingLeft(a)
		}
	}
	a := f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(f.token(nil)), header: map[string]string{"Content-Encoding": "gzip"}})
	assert.Equal(t, http.StatusUnsupportedMediaType, a.StatusCode)
	f.nothingLeft(a)
}

func TestPreflight(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/hub/v1/info", "/hub/v1/sign", "/hub/v1/certificates", "/PRS/GetPortNumber", "/signalr/send"} {
		for _, private := range []bool{false, true} {
			c := call{method: http.MethodOptions, path: path, header: map[string]string{
				"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type",
			}}
			if private {
				c.header["Access-Control-Request-Private-Network"] = "true"
			}
			a := f.do(c)
			assert.Equal(t, http.StatusNoContent, a.StatusCode)
			assert.Equal(t, site, a.Header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, "Origin", a.Header.Get("Vary"))
			assert.Equal(t, "GET, POST", a.Header.Get("Access-Control-Allow-Methods"))
			assert.Equal(t, "content-type", a.Header.Get("Access-Control-Allow-Headers"))
			want := ""
			if private {
				want = "true"
			}
			assert.Equal(t, want, a.Header.Get("Access-Control-Allow-Private-Network"))
			want = ""
			if !strings.HasPrefix(path, "/hub/") {
				want = "true"
			}
			assert.Equal(t, want, a.Header.Get("Access-Control-Allow-Credentials"), path)
		}
	}
}

func TestRoutes(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		method, path string
		want         int
		allow        string
	}{
		{http.MethodPost, "/hub/v1/info", http.StatusMethodNotAllowed, "GET, OPTIONS"},
		{http.MethodGet, "/hub/v1/certificates", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		{http.MethodGet, "/hub/v1/sign", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		{http.MethodPut, "/hub/v1/sign", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		{http.MethodPost, "/PRS/GetPortNumber", http.StatusMethodNotAllowed, "GET, OPTIONS"},
		{http.MethodGet, "/signalr/send?transport=longPolling", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		{http.MethodGet, "/hub/v1/", http.StatusNotFound, ""},
		{http.MethodGet, "/hub/v2/info", http.StatusNotFound, ""},
		{http.MethodGet, "/hub/v1/info/", http.StatusNotFound, ""},
		{http.MethodGet, "/hub/v1/%69nfo", http.StatusNotFound, ""},
		{http.MethodGet, "/PRS/", http.StatusNotFound, ""},
		{http.MethodGet, "/signalr/hubs", http.StatusNotFound, ""},
		{http.MethodGet, "/consent/x", http.StatusNotFound, ""},
		{http.MethodGet, "/", http.StatusNotFound, ""},
	} {
		a := f.do(call{method: c.method, path: c.path})
		assert.Equal(t, c.want, a.StatusCode, c.path)
		assert.Equal(t, c.allow, a.Header.Get("Allow"), c.path)
		assert.Equal(t, "request_invalid", a.json(t)["error"])
		assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	}

	only := newFixture(t, func(c *Config) { c.HubOneOnly = true })
	for _, path := range []string{"/PRS/GetPortNumber", "/signalr/negotiate"} {
		a := only.do(call{path: path})
		assert.Equal(t, http.StatusNotFound, a.StatusCode)
		assert.Empty(t, a.Header.Get("Access-Control-Allow-Credentials"))
	}
}
