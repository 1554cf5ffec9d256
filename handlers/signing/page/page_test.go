package page

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		fault  string // in the error; none when empty
		policy string // connect-src
	}{
		"defaults":          {Config{}, "", "'self' http://127.0.0.1:43480"},
		"path":              {Config{BasePath: "/signing-service"}, "", "'self' http://127.0.0.1:43480"},
		"localhost":         {Config{Hub: Hub{URL: "http://LocalHost:1/"}}, "", "'self' http://localhost:1"},
		"tls":               {Config{Hub: Hub{Kind: HubOne, URL: "https://127.0.0.2"}}, "", "'self' https://127.0.0.2"},
		"nhs":               {Config{Hub: Hub{Kind: HubNHS}}, "", "'self' http://localhost:*"},
		"trailing slash":    {Config{BasePath: "/a/"}, "without a trailing slash", ""},
		"no slash":          {Config{BasePath: "a"}, "base path", ""},
		"another host":      {Config{BasePath: "//evil.example"}, "base path", ""},
		"query in the path": {Config{BasePath: "/a?b"}, "base path", ""},
		"kind":              {Config{Hub: Hub{Kind: "hub2"}}, `unknown kind of hub "hub2"`, ""},
		"nhs with address":  {Config{Hub: Hub{Kind: HubNHS, URL: DefaultHubURL}}, "fixed ports", ""},
		"remote":            {Config{Hub: Hub{URL: "http://192.0.2.1:43480"}}, "user's own computer", ""},
		"name":              {Config{Hub: Hub{URL: "http://hub.example:43480"}}, "user's own computer", ""},
		"IPv6":              {Config{Hub: Hub{URL: "http://[::1]:43480"}}, "use 127.0.0.1", ""},
		"scheme":            {Config{Hub: Hub{URL: "ftp://127.0.0.1"}}, "want scheme, host and port", ""},
		"path of the hub":   {Config{Hub: Hub{URL: "http://127.0.0.1:1/hub"}}, "want scheme, host and port", ""},
		"userinfo":          {Config{Hub: Hub{URL: "http://a@127.0.0.1:1"}}, "want scheme, host and port", ""},
		"policy injection":  {Config{Hub: Hub{URL: "http://127.0.0.1:1; script-src *"}}, "want scheme, host and port", ""},
		"port":              {Config{Hub: Hub{URL: "http://127.0.0.1:65536"}}, "isn't between 1 and 65535", ""},
		"no port":           {Config{Hub: Hub{URL: "http://127.0.0.1:0"}}, "isn't between 1 and 65535", ""},
	} {
		p, err := New(c.config)
		if c.fault != "" {
			require.ErrorContains(t, err, c.fault, name)
			continue
		}
		require.NoError(t, err, name)
		w := render(p, http.MethodGet, View{State: StateReady})
		assert.Contains(t, w.Header().Get("Content-Security-Policy"), "; connect-src "+c.policy+"; ", name)
	}
}

func render(p *Page, method string, v View) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.Render(w, httptest.NewRequest(method, "/client", nil), v)
	return w
}

func newPage(t *testing.T, config Config) *Page {
	t.Helper()
	p, err := New(config)
	require.NoError(t, err)
	return p
}

func TestHeaders(t *testing.T) {
	p := newPage(t, Config{BasePath: "/signing-service"})
	for state, n := range notices {
		w := render(p, http.MethodGet, View{State: state, Token: testToken})
		assert.Equal(t, n.status, w.Code, state)
		assert.Equal(t, http.Header{
			"Cache-Control":    {"no-store"},
			"Content-Language": {"en"},
			"Content-Length":   {strconv.Itoa(w.Body.Len())},
			"Content-Security-Policy": {"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
				"connect-src 'self' http://127.0.0.1:43480; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
				"require-trusted-types-for 'script'; trusted-types 'none'"},
			"Content-Type":                 {"text/html; charset=utf-8"},
			"Cross-Origin-Opener-Policy":   {"same-origin"},
			"Cross-Origin-Resource-Policy": {"same-origin"},
			"Permissions-Policy":           {permissionsPolicy},
			"Referrer-Policy":              {"no-referrer"},
			"X-Content-Type-Options":       {"nosniff"},
			"X-Frame-Options":              {"DENY"},
			"X-Robots-Tag":                 {"noindex, nofollow, noarchive"},
		}, w.Header(), state)
		head := render(p, http.MethodHead, View{State: state, Token: testToken})
		assert.Equal(t, w.Header(), head.Header(), state)
		assert.Equal(t, w.Code, head.Code, state)
		assert.Empty(t, head.Body.String(), state)
	}
	assert.Equal(t, http.StatusServiceUnavailable, render(p, http.MethodGet, View{State: "what?"}).Code)
	assert.Equal(t, http.StatusTeapot, render(p, http.MethodGet, View{State: StateExpired, Status: http.StatusTeapot}).Code)
}

var markup = regexp.MustCompile(`(?i)<script\b[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=["']|javascript:`)

func TestEscaping(t *testing.T) {
	p := newPage(t, Config{BasePath: "/signing-service", Mock: true})
	evil := `"'><script>alert(1)</script><img src=x onerror="alert(1)">{{.Base}}`
	for state := range notices {
		body := render(p, http.MethodGet, View{
			State: state, Token: evil, ClientName: evil, ClientID: evil + "2", Subject: evil, Documents: 1,
			Deadline: time.Unix(1_800_000_000, 0), Mock: true,
		}).Body.String()
		assert.NotContains(t, body, "<script>alert", state)
		assert.NotContains(t, body, "<img", state)
		assert.NotRegexp(t, markup, body, "inline script or style in "+state)
	}
}

// TestOnlyWhatIsNeeded: nothing to run where nothing can be done, and nothing
// of the mock unless it was asked for where it is allowed.
func TestOnlyWhatIsNeeded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	view := View{State: StateReady, Token: testToken, ClientID: "c", Subject: "s", Documents: 1, Deadline: now.Add(time.Minute)}
	off := newPage(t, Config{Now: func() time.Time { return now }})
	on := newPage(t, Config{Mock: true, Now: func() time.Time { return now }})
	asked := view
	asked.Mock = true

	body := render(off, http.MethodGet, asked).Body.String()
	assert.NotContains(t, strings.ToLower(body), "mock")
	assert.NotContains(t, body, "Test signature")
	assert.Contains(t, body, `data-signer="hub1.js" data-hub="http://127.0.0.1:43480" data-remaining="60000"`)
	assert.Contains(t, body, "15 January 2027, 08:01:00 UTC")
	assert.Contains(t, body, "your signature on 1 document.")
	assert.Contains(t, body, "<noscript>")
	body = render(on, http.MethodGet, view).Body.String()
	assert.NotContains(t, strings.ToLower(body), "mock")
	assert.NotContains(t, body, "Test signature")
	body = render(on, http.MethodGet, asked).Body.String()
	assert.Contains(t, body, "Test signature – not legally valid")
	assert.Contains(t, body, `data-signer="mock.js"`)
	assert.NotContains(t, body, "43480")

	for state := range notices {
		if body := render(on, http.MethodGet, View{State: state, Token: testToken}).Body.String(); state != StateReady {
			assert.NotContains(t, body, "<script", state)
			assert.NotContains(t, body, testToken, state)
		}
	}
	view.Deadline = now.Add(-time.Hour)
	assert.Contains(t, render(off, http.MethodGet, view).Body.String(), `data-remaining="1"`)
	nhs := newPage(t, Config{Hub: Hub{Kind: HubNHS}})
	assert.Contains(t, render(nhs, http.MethodGet, view).Body.String(), `data-signer="nhs.js" data-ports="43487 44213 45031 46478 48853"`)
}

func TestServeAsset(t *testing.T) {
	get := func(p *Page, method, name, etag string) (*httptest.ResponseRecorder, bool) {
		r := httptest.NewRequest(method, "/assets/"+name, nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		w := httptest.NewRecorder()
		return w, p.ServeAsset(w, r, name)
	}
	p := newPage(t, Config{})
	for name, kind := range map[string]string{
		"main.js": "text/javascript; charset=utf-8", "hub1.js": "text/javascript; charset=utf-8",
		"page.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		w, found := get(p, http.MethodGet, name, "")
		require.True(t, found, name)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, kind, w.Header().Get("Content-Type"))
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		assert.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
		again, _ := get(p, http.MethodGet, name, w.Header().Get("ETag"))
		assert.Equal(t, http.StatusNotModified, again.Code)
		assert.Empty(t, again.Body.String())
		head, _ := get(p, http.MethodHead, name, "")
		assert.Equal(t, http.StatusOK, head.Code)
		assert.Empty(t, head.Body.String())
	}
	for _, name := range []string{"mock.js", "nhs.js", "", ".", "../page.go", "assets/main.js", "main.js/", "none.js", "MAIN.JS"} {
		w, found := get(p, http.MethodGet, name, "")
		assert.False(t, found, name)
		assert.Empty(t, w.Header(), name)
	}
	_, found := get(newPage(t, Config{Mock: true}), http.MethodGet, "mock.js", "")
	assert.True(t, found)
	nhs := newPage(t, Config{Hub: Hub{Kind: HubNHS}})
	_, found = get(nhs, http.MethodGet, "nhs.js", "")
	assert.True(t, found)
	_, found = get(nhs, http.MethodGet, "hub1.js", "")
	assert.False(t, found)
}

// TestAssets: what the policy would stop, or what would parse text as markup,
// isn't in them.
func TestAssets(t *testing.T) {
	for name, a := range newPage(t, Config{Mock: true}).assets {
		assert.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|sessionStorage|console\.`, string(a.content), name)
		if !strings.HasSuffix(name, ".svg") {
			assert.NotRegexp(t, `https?://[^1$]`, string(a.content), "%s loads something from elsewhere", name)
		}
	}
}

// TestContrast: text has 4.5 : 1 and the edges of controls 3 : 1 (WCAG 2.2,
// 1.4.3 and 1.4.11), light and dark.
func TestContrast(t *testing.T) {
	css := string(newPage(t, Config{}).assets["page.css"].content)
	light, dark, found := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	require.True(t, found)
	dark, _, _ = strings.Cut(dark, "*::before")
	variable := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]string{}
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			colours[m[1]] = m[2]
		}
		for _, c := range []struct {
			front, back string
			ratio       float64
		}{
			{"ink", "ground", 4.5}, {"ink", "card", 4.5}, {"ink", "code", 4.5}, {"ink", "bad-ground", 4.5},
			{"quiet", "ground", 4.5}, {"quiet", "card", 4.5}, {"quiet", "bad-ground", 4.5},
			{"accent", "card", 4.5}, {"accent", "ground", 4.5}, {"accent-ink", "accent", 4.5}, {"accent-ink", "accent-hover", 4.5},
			{"bad", "bad-ground", 4.5}, {"bad", "card", 3}, {"test", "test-ground", 4.5}, {"mark", "mark-ground", 4.5},
		} {
			require.Contains(t, colours, c.front, scheme)
			require.Contains(t, colours, c.back, scheme)
			assert.GreaterOrEqual(t, contrast(colours[c.front], colours[c.back]), c.ratio, "%s on %s, %s", c.front, c.back, scheme)
		}
	}
}

func contrast(a, b string) float64 {
	luminance := func(colour string) float64 {
		var parts [3]int
		_, _ = fmt.Sscanf(colour, "#%02x%02x%02x", &parts[0], &parts[1], &parts[2])
		sum := 0.0
		for i, weight := range [3]float64{0.2126, 0.7152, 0.0722} {
			c := float64(parts[i]) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}
