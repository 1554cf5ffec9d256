//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawCall sends a request byte for byte and returns the answer to it.
func rawCall(t testing.TB, addr, head, body string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	method, _, _ := strings.Cut(head, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, b}
}

// Methods, paths, hosts and headers that mean to confuse who checks and who
// acts: none changes a state.
func TestSigningRoutes(t *testing.T) {
	t.Parallel()
	_, a := plainSigning(t, newAuthority(t), "")
	documents := twoDocuments()
	token := a.askFor(t, "", documents, nil).Token
	base, err := url.Parse(a.base)
	require.NoError(t, err)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodPut, "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodPost, "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodDelete, "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodOptions, "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodTrace, "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{"get", "/signaturerequest/" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/signaturerequest", http.StatusMethodNotAllowed, "POST"},
		{http.MethodHead, "/signaturerequest", http.StatusMethodNotAllowed, "POST"},
		{http.MethodPut, "/signatureresponse/" + token, http.StatusMethodNotAllowed, "GET, HEAD, POST"},
		{http.MethodPatch, "/signatureresponse/" + token, http.StatusMethodNotAllowed, "GET, HEAD, POST"},
		{http.MethodPost, "/client?token=" + token, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodPost, "/_ping", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/signatureRequest/" + token, http.StatusNotFound, ""},
		{http.MethodGet, "/signaturerequest/" + token + "/", http.StatusNotFound, ""},
		{http.MethodGet, "/signaturerequest/", http.StatusNotFound, ""},
		{http.MethodGet, "/signaturerequest/" + token + "%00", http.StatusBadRequest, ""},
		{http.MethodGet, "/signaturerequest/" + token + ";x", http.StatusBadRequest, ""},
		{http.MethodPost, "/mock/" + token, http.StatusNotFound, ""},
		{http.MethodGet, "/.well-known/jwks.json", http.StatusNotFound, ""},
		{http.MethodGet, "/assets/../page.go", http.StatusNotFound, ""},
	} {
		t.Run(c.method+" "+strings.Replace(c.path, token, "T", 1), func(t *testing.T) {
			resp := rawCall(t, base.Host, fmt.Sprintf("%s %s%s HTTP/1.1\nHost: %s\nConnection: close", c.method, base.Path, c.path, base.Host), "")
			assert.Equal(t, c.status, resp.status, "%s", resp.body)
			assert.Equal(t, c.allow, resp.header.Get("Allow"))
			assert.Empty(t, resp.header.Get("Access-Control-Allow-Origin"))
		})
	}
	// A HEAD takes nothing, and no header makes another method of a GET.
	assert.Equal(t, http.StatusOK, a.do(t, http.MethodHead, "/signaturerequest/"+token, "").status)
	requireRefused(t, a.do(t, http.MethodGet, "/signatureresponse/"+token, "", "X-HTTP-Method-Override", "POST", "X-Method-Override", "POST"),
		http.StatusBadRequest, "has not been downloaded yet")

	// The page's calls are the page's: whatever another site can make a browser
	// send is refused before anything is looked up.
	upload := `{"signatures":[],"certificate":""}`
	for _, headers := range [][]string{
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", originOf(t, a.base) + "0"},
		{"Origin", strings.Replace(originOf(t, a.base), "http:", "https:", 1)},
		{"Origin", "http://localhost:" + base.Port()},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "none"}, // the token typed as an address
		{"Origin", originOf(t, a.base), "Sec-Fetch-Site", "cross-site"},
	} {
		for _, resp := range []answer{
			a.do(t, http.MethodGet, "/signaturerequest/"+token, "", headers...),
			a.upload(t, token, upload, headers...),
		} {
			requireRefused(t, resp, http.StatusForbidden, "came from another site")
		}
	}
	resp := a.do(t, http.MethodGet, "/signaturerequest/"+token, "", "Origin", originOf(t, a.base), "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
	assert.Equal(t, "text/plain; charset=utf-8", resp.header.Get("Content-Type"))
	for _, contentType := range []string{"", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/jose+json"} {
		requireRefused(t, a.upload(t, token, upload, "Content-Type", contentType), http.StatusUnsupportedMediaType, "Unsupported Media Type")
	}
	for _, contentType := range []string{"", "application/json", "application/x-www-form-urlencoded", "application/jwt"} {
		resp := a.do(t, http.MethodPost, "/signaturerequest", a.mint(t, a.claims(documents, nil)), "Content-Type", contentType)
		requireRefused(t, resp, http.StatusUnsupportedMediaType, "Unsupported Media Type")
	}
}

// Bodies that are too long, by what they say or by what comes.
func TestSigningSizes(t *testing.T) {
	t.Parallel()
	_, a := plainSigning(t, newAuthority(t), "")
	documents := twoDocuments()
	token := a.downloaded(t, documents, nil).Token
	base, err := url.Parse(a.base)
	require.NoError(t, err)
	chunks := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", 1<<10, strings.Repeat("a", 1<<10)), 1<<10)
	for _, c := range []struct{ path, contentType string }{
		{"/signaturerequest", "text/plain"},
		{"/signatureresponse/" + token, "application/json"},
	} {
		head := fmt.Sprintf("POST %s%s HTTP/1.1\nHost: %s\nContent-Type: %s\nConnection: close", base.Path, c.path, base.Host, c.contentType)
		const text = "Payload content length greater than maximum allowed: 1048576"
		requireRefused(t, rawCall(t, base.Host, fmt.Sprintf("%s\nContent-Length: %d", head, mib+1), ""), http.StatusRequestEntityTooLarge, text)
		requireRefused(t, rawCall(t, base.Host, head+"\nTransfer-Encoding: chunked", chunks+"1\r\na\r\n0\r\n\r\n"), http.StatusRequestEntityTooLarge, text)
		// Of just that length they are read, and are wrong.
		resp := rawCall(t, base.Host, head+"\nTransfer-Encoding: chunked", chunks+"0\r\n\r\n")
		assert.Equal(t, http.StatusBadRequest, resp.status, "%s", resp.body)
		assert.Less(t, len(resp.body), 1024, "the answer repeats the body")
		resp = rawCall(t, base.Host, head+"\nContent-Length: 3\nContent-Encoding: gzip", "abc")
		requireRefused(t, resp, http.StatusUnsupportedMediaType, "Unsupported Media Type")
		resp = rawCall(t, base.Host, head+"\nContent-Length: 0", "")
		assert.Equal(t, http.StatusBadRequest, resp.status, "%s", resp.body)
	}
	requireRefused(t, a.result(t, token), http.StatusNotFound, textPending)
}

// The page's own protection, as every one of its answers has it.
func TestSigningPageHeaders(t *testing.T) {
	t.Parallel()
	_, a := plainSigning(t, newAuthority(t), "hub url http://127.0.0.1:43999")
	token := a.askFor(t, "", twoDocuments(), nil).Token
	for path, status := range map[string]int{
		"/client?token=" + token:              http.StatusOK,
		"/client?token=" + token + "&mock":    http.StatusForbidden,
		"/client?mock=true":                   http.StatusForbidden,
		"/client?mock=false&token=" + token:   http.StatusForbidden,
		"/client":                             http.StatusNotFound,
		"/client?token=%22%3E%3Cscript%3E":    http.StatusNotFound,
		"/client?token=x&token=" + token:      http.StatusNotFound,
		"/client?TOKEN=" + token:              http.StatusNotFound,
		"/client?token=" + token + "&Mock=on": http.StatusOK,
	} {
		resp := a.do(t, http.MethodGet, path, "")
		assert.Equal(t, status, resp.status, path)
		policy := resp.header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
			"connect-src 'self' http://127.0.0.1:43999;", "require-trusted-types-for 'script'",
		} {
			assert.Contains(t, policy, directive)
		}
		assert.NotContains(t, policy, "unsafe")
		assert.NotContains(t, policy, "*")
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			assert.Equal(t, want, resp.header.Get(name), "%s: %s", path, name)
		}
		assert.NotContains(t, string(resp.body), "<script>")
		if cookie := resp.header.Get("Set-Cookie"); status != http.StatusOK {
			assert.Empty(t, cookie, path)
		} else {
			assert.Regexp(t, `^__Host-sp-[0-9a-f]{12}=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`, cookie)
			assert.NotContains(t, cookie, token)
		}
	}
	requireRefused(t, a.result(t, token), http.StatusBadRequest, "has not been downloaded yet")
}
