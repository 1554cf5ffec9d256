package signing

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// open opens the page and returns the cookie that it sets, as name=value.
func (f *fixture) open(tb testing.TB, token string, headers ...string) string {
	tb.Helper()
	w := f.call(tb, http.MethodGet, "/client?token="+token, "", headers...)
	require.Equal(tb, http.StatusOK, w.Code)
	cookies := w.Result().Cookies() //nolint:bodyclose // a recorder's
	if len(cookies) == 0 {
		return ""
	}
	require.Len(tb, cookies, 1)
	return cookies[0].Name + "=" + cookies[0].Value
}

func TestThePageMarksTheBrowser(t *testing.T) {
	f := newFixture(t, nil)
	token := f.request(t, nil)
	w := f.call(t, http.MethodGet, "/client?token="+token, "")
	line := w.Header().Get("Set-Cookie")
	assert.Regexp(t, `^__Host-sp-[0-9a-f]{12}=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`, line)
	assert.True(t, strings.HasPrefix(line, cookieName(token)+"="))

	cookie, _, _ := strings.Cut(line, ";")
	assert.Empty(t, f.open(t, token, "Cookie", cookie), "it has one")
	assert.NotEmpty(t, f.open(t, token, "Cookie", cookieName(token)+"=x"), "that is none")
	assert.NotEqual(t, cookie, f.open(t, token), "another browser")
	assert.Empty(t, f.call(t, http.MethodHead, "/client?token="+token, "").Header().Get("Set-Cookie"))
	assert.Empty(t, f.call(t, http.MethodGet, "/client?token="+b64("unknown"), "").Header().Get("Set-Cookie"))
	assert.NotContains(t, f.log.String(), token)
}

func TestTheDownloadBindsToTheBrowser(t *testing.T) {
	upload := goodUpload(t, "RS256", "a", "b")
	const text = "This signature request has been opened in another browser"
	f := newFixture(t, nil)
	token := f.request(t, nil)
	cookie, other := f.open(t, token), f.open(t, token)
	require.Equal(t, http.StatusOK, f.download(t, token, "Cookie", cookie).Code)
	for _, headers := range [][]string{nil, {"Cookie", other}, {"Cookie", strings.Replace(cookie, "__Host-sp-", "sp-", 1)}} {
		requireRefusal(t, f.download(t, token, headers...), 403, text)
		requireRefusal(t, f.upload(t, token, upload, headers...), 403, text)
	}
	requireRefusal(t, f.download(t, token, "Cookie", cookie), 400, "Signature request has already been downloaded")
	require.Equal(t, http.StatusOK, f.upload(t, token, upload, "Cookie", "a=b; "+cookie).Code)
}

func TestCallersWithoutABrowserStayUnbound(t *testing.T) {
	f := newFixture(t, nil)
	token := f.request(t, nil)
	f.open(t, token)
	require.Equal(t, http.StatusOK, f.download(t, token).Code)
	require.Equal(t, http.StatusOK, f.upload(t, token, goodUpload(t, "RS256", "a", "b")).Code)
}

func TestOtherSitesAreRefused(t *testing.T) {
	upload := goodUpload(t, "RS256", "a", "b")
	for _, c := range []struct {
		headers []string
		pass    bool
	}{
		{nil, true},
		{[]string{"Origin", "https://sign.example.test"}, true},
		{[]string{"Origin", "https://sign.example.test", "Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Origin", "https://evil.example"}, false},
		{[]string{"Origin", "https://sign.example.test:8443"}, false},
		{[]string{"Origin", "http://sign.example.test"}, false},
		{[]string{"Origin", "https://sign.example.test.evil.example"}, false},
		{[]string{"Origin", "null"}, false},
		{[]string{"Origin", ""}, false},
		{[]string{"Origin", "https://sign.example.test", "Origin", "https://evil.example"}, false},
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", "same-site"}, false},
		{[]string{"Sec-Fetch-Site", "none"}, false},
		{[]string{"Origin", "https://sign.example.test", "Sec-Fetch-Site", "cross-site"}, false},
	} {
		t.Run(strings.Join(c.headers, " "), func(t *testing.T) {
			f := newFixture(t, nil)
			token := f.request(t, nil)
			w := f.download(t, token, c.headers...)
			if !c.pass {
				requireRefusal(t, w, 403, "This operation is for the signing page only, and came from another site")
				require.Equal(t, http.StatusOK, f.download(t, token).Code, "it has not been used up")
				requireRefusal(t, f.upload(t, token, upload, c.headers...), 403, "This operation is for the signing page only, and came from another site")
				return
			}
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, http.StatusOK, f.upload(t, token, upload, c.headers...).Code)
		})
	}
}

func TestOriginOf(t *testing.T) {
	for from, want := range map[string]string{
		"https://sign.example.org/x":      "https://sign.example.org",
		"https://Sign.Example.org:443/x":  "https://sign.example.org",
		"https://sign.example.org:8443":   "https://sign.example.org:8443",
		"http://127.0.0.1:80":             "http://127.0.0.1",
		"http://127.0.0.1:8080":           "http://127.0.0.1:8080",
		"http://[::1]:8080/signing":       "http://[::1]:8080",
		"http://[::1]/signing":            "http://[::1]",
		"https://sign.example.org:80/x":   "https://sign.example.org:80",
		"HTTPS://sign.example.org:443/xy": "https://sign.example.org",
	} {
		u, err := url.Parse(from)
		require.NoError(t, err)
		assert.Equal(t, want, originOf(u), from)
	}
}

func TestThePageChangesNothing(t *testing.T) {
	f := newFixture(t, nil)
	token := f.request(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for range 3 {
			require.Equal(t, http.StatusOK, f.call(t, method, "/client?token="+token, "", "Sec-Fetch-Site", "cross-site").Code)
		}
	}
	requireRefusal(t, f.result(t, token), 400, "Signature request has not been downloaded yet")
	require.Equal(t, http.StatusOK, f.download(t, token).Code)
}

func TestThePageByState(t *testing.T) {
	f := newFixture(t, nil)
	show := func(query string) (int, string) {
		w := f.call(t, http.MethodGet, "/client"+query, "")
		assert.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		assert.Contains(t, w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
		return w.Code, w.Body.String()
	}
	for _, query := range []string{"", "?token=", "?token=_", "?token=" + b64("unknown")} {
		status, text := show(query)
		assert.Equal(t, http.StatusNotFound, status)
		assert.Contains(t, text, "No such signature request")
	}
	token := f.request(t, map[string]any{"sub": "<i>5550"})
	status, text := show("?token=" + token)
	assert.Equal(t, http.StatusOK, status)
	for _, want := range []string{"The Pharmacy", "&lt;i&gt;5550", "2 documents", token} {
		assert.Contains(t, text, want)
	}
	for _, mock := range []string{"true", "false", ""} {
		status, text = show("?token=" + token + "&mock=" + mock)
		assert.Equal(t, http.StatusForbidden, status)
		assert.Contains(t, text, "Test signatures are switched off")
	}
	token = f.downloaded(t, nil)
	status, text = show("?token=" + token)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, "already been opened")
	assert.Empty(t, f.open(t, token), "there is nothing left to bind")
	require.Equal(t, http.StatusOK, f.upload(t, token, goodUpload(t, "RS256", "a", "b")).Code)
	_, text = show("?token=" + token)
	assert.Contains(t, text, "already been signed")
	require.NoError(t, f.store.Close())
	status, _ = show("?token=" + token)
	assert.Equal(t, http.StatusServiceUnavailable, status)
}

func TestMock(t *testing.T) {
	f := newFixture(t, nil)
	off := f.call(t, http.MethodPost, "/mock/"+f.downloaded(t, nil), "")
	requireRefusal(t, off, 404, "Not Found")
	assert.Equal(t, f.call(t, http.MethodPost, "/nothing/x", "").Body.String(), off.Body.String())

	f = newFixture(t, withMock(t, f.clock.now))
	for _, with := range []map[string]any{nil, {"algorithm": "RS1"}, {"payloads": nil, "payload": b64("x")}} {
		token := f.request(t, with)
		status := f.call(t, http.MethodGet, "/client?mock=true&token="+token, "")
		require.Equal(t, http.StatusOK, status.Code)
		requireRefusal(t, f.call(t, http.MethodPost, "/mock/"+token, ""), 400, "Signature request has not been downloaded yet")
		require.Equal(t, http.StatusOK, f.download(t, token).Code)
		require.Equal(t, http.StatusForbidden, f.call(t, http.MethodPost, "/mock/"+token, "", "Origin", "https://evil.example").Code)
		require.Equal(t, http.StatusMethodNotAllowed, f.call(t, http.MethodGet, "/mock/"+token, "").Code)
		w := f.call(t, http.MethodPost, "/mock/"+token, "")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		assert.Contains(t, w.Body.String(), `"failed":[]`)
		require.Equal(t, http.StatusOK, f.upload(t, token, w.Body.String()).Code, "the page uploads what it got")
		requireRefusal(t, f.call(t, http.MethodPost, "/mock/"+token, ""), 400, "Signature request has already been signed")
	}
}
