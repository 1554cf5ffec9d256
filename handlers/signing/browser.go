package signing

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// originOf is how browsers write the origin of a URL (RFC 6454, section 6.2).
func originOf(u *url.URL) string {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// sameOrigin refuses the page's calls when another site's page makes them.
// Programs that aren't browsers send neither header.
func (a *API) sameOrigin(r *http.Request) *refusal {
	for _, origin := range r.Header["Origin"] {
		if origin != a.origin {
			return &refusal{status: http.StatusForbidden, code: codeOrigin, text: textOrigin}
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" {
			return &refusal{status: http.StatusForbidden, code: codeOrigin, text: textOrigin}
		}
	}
	return nil
}

// cookieBytes is the random part of a cookie.
const cookieBytes = 32

// cookieName is that of the cookie of one request: a browser may have several
// open. The prefix makes browsers insist on Secure, Path=/ and no Domain.
func cookieName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "__Host-sp-" + hex.EncodeToString(sum[:6])
}

// binding is what the storage knows of the cookie that a browser sent; nil when
// it sent none.
func binding(r *http.Request, token string) *storage.Digest {
	value := cookieOf(r, token)
	if value == "" {
		return nil
	}
	digest := storage.Digest(sha256.Sum256([]byte(value)))
	return &digest
}

// cookieOf returns the value of a request's cookie. One that isn't of the form
// of ours counts as none.
func cookieOf(r *http.Request, token string) string {
	cookie, err := r.Cookie(cookieName(token))
	if err != nil || len(cookie.Value) != base64.RawURLEncoding.EncodedLen(cookieBytes) {
		return ""
	}
	return cookie.Value
}

// giveCookie marks the browser, unless it is marked already: a second tab must
// not take the request from the first.
func giveCookie(w http.ResponseWriter, r *http.Request, token string) {
	if r.Method == http.MethodHead || cookieOf(r, token) != "" {
		return
	}
	value := make([]byte, cookieBytes)
	_, _ = rand.Read(value) // it never fails
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(token), Value: base64.RawURLEncoding.EncodeToString(value), Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// sameBrowser refuses the page's calls from another browser than the one that
// downloaded the request. Callers that never opened the page are in none.
func sameBrowser(r *http.Request, token string, req *storage.SigningRequest) *refusal {
	if req.Binding == nil {
		return nil
	}
	if got := binding(r, token); got != nil && subtle.ConstantTimeCompare(got[:], req.Binding[:]) == 1 {
		return nil
	}
	return &refusal{status: http.StatusForbidden, code: codeBrowser, text: textBrowser}
}
