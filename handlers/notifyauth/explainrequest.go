package notifyauth

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

func (e *explainer) path() {
	const name = "path"
	t, code := e.v.target(OriginalOf(&http.Request{Method: e.q.Method, RequestURI: e.q.Target}))
	if code != "" {
		e.fail(name, code, "%s", map[Code]string{
			CodeTarget:   "the request target must be a path, without scheme and host",
			CodePath:     "the path has more than one reading: it holds //, a dot segment, a backslash, a control byte, or an escape of a character that needs none",
			CodeBasePath: "the path does not begin with the base path " + e.v.basePath,
			CodeQuery:    "there is a query string, which clients don't sign; it is refused here",
		}[code])
		return
	}
	e.t = t
	for _, decoded := range [...]bool{false, true} {
		if line, ok := t.appendCanonical(nil, e.v.query, decoded); ok {
			e.report.CanonicalRequests = append(e.report.CanonicalRequests, string(line))
		}
	}
	e.add(name, Passed, "what is to be signed is %q", e.report.CanonicalRequests)
}

func (e *explainer) req() {
	const name = "req"
	switch {
	case e.alg == "":
		e.add(name, Skipped, "the token can't be read")
	case e.h.claims.reqState == absent:
		e.fail(name, CodeReqMissing, "the claim req is missing")
	case e.t.path == "":
		e.add(name, Skipped, "there is no path to sign")
	case e.h.claims.reqState == malformed:
		e.fail(name, CodeReqMissing, "the claim req is not the padded standard base64 of 32 bytes%s", e.urlAlphabet("req"))
	case e.h.key == nil:
		e.add(name, Skipped, "the key is not known")
	case e.v.checkRequest(&e.t, &e.s, &e.h) != "":
		e.fail(name, CodeReq, "it signs something else%s", e.guessRequest())
	default:
		e.add(name, Passed, "it signs this request line")
	}
}

// guessRequest tries the usual mistakes.
func (e *explainer) guessRequest() string {
	type guess struct{ line, meaning string }
	path, query, hasQuery := strings.Cut(e.q.Target, "?")
	var guesses []guess
	if hasQuery {
		guesses = append(guesses,
			guess{e.q.Method + " " + e.t.path + "?" + query, "the query too, which is not part of it here"},
			guess{e.q.Method + " " + e.t.path, "the path without the query, which is part of it here"})
	}
	guesses = append(guesses,
		guess{e.q.Method + " " + path, "the path with the base path; sign what follows it"},
		guess{strings.ToLower(e.q.Method) + " " + e.t.path, "the method in lower case; sign it in upper case"},
		guess{strings.ToUpper(e.q.Method) + " " + e.t.path, "the method in upper case, while the request has another spelling"},
		guess{e.q.Method + " " + strings.TrimSuffix(e.t.path, "/"), "the path without its trailing slash"},
		guess{e.q.Method + " " + e.t.path + "/", "the path with a trailing slash"},
		guess{e.q.Method + e.t.path, "method and path without a blank between them"},
		guess{e.t.path, "the path alone"},
		guess{e.q.Method + " " + e.t.path + "\n", "a line break after the path"})
	for _, method := range [...]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		guesses = append(guesses, guess{method + " " + e.t.path, "the method " + method})
	}
	for _, g := range guesses {
		if e.made(&e.h.claims.req, []byte(g.line)) {
			return ": " + g.meaning
		}
	}
	return ""
}

// made reports whether a claim is the MAC of data.
func (e *explainer) made(claim *[macSize]byte, data []byte) bool {
	var sum [macSize]byte
	e.h.key.sum(&sum, data)
	return subtle.ConstantTimeCompare(sum[:], claim[:]) == 1
}

// urlAlphabet looks whether a malformed claim is the base64 of the JWT's own
// parts.
func (e *explainer) urlAlphabet(claim string) string {
	hint := ""
	_ = jws.Object(e.s.claims, jws.Limits{}, func(name jws.Text, value jws.Value) error {
		if !name.Is(claim) {
			return nil
		}
		text := strings.TrimRight(value.Text().String(), "=")
		text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
		if raw, err := base64.RawURLEncoding.DecodeString(text); err == nil && len(raw) == macSize {
			hint = ": it is in base64url or lacks its padding"
		}
		return nil
	})
	return hint
}

func (e *explainer) body() {
	const body, pay = "body", "pay"
	n := len(e.q.Body)
	switch {
	case n == 0:
		e.add(body, Passed, "there is none")
	case Encoded(http.Header{"Content-Encoding": {e.q.ContentEncoding}}):
		e.fail(body, CodeContentEncoding, "it has a Content-Encoding; the bytes as sent are what is signed, so only identity is accepted")
	case int64(n) > e.v.maxBody:
		e.fail(body, CodeTooLarge, "it has %d bytes; at most %d are accepted", n, e.v.maxBody)
	default:
		e.add(body, Passed, "%d bytes", n)
	}
	state := e.h.claims.payState
	switch {
	case e.alg == "":
		e.add(pay, Skipped, "the token can't be read")
	case n == 0 && state == absent:
		e.add(pay, Passed, "there is none, as there is no body")
	case n == 0:
		e.fail(pay, CodePayUnexpected, "the claim pay is present, but there is no body: leave it out")
	case state == absent:
		e.fail(pay, CodePayMissing, "the claim pay is missing, but there is a body")
	case state == malformed:
		e.fail(pay, CodePay, "the claim pay is not the padded standard base64 of 32 bytes%s", e.urlAlphabet("pay"))
	case e.h.key == nil:
		e.add(pay, Skipped, "the key is not known")
	case !e.made(&e.h.claims.pay, e.q.Body):
		e.fail(pay, CodePay, "it signs another body%s", e.guessBody())
	case isTokenBody(e.q.Body):
		e.fail(pay, CodeTokenBody, "the body has the form of an unsigned token, whose signature its pay would be; such bodies are never accepted")
	default:
		e.add(pay, Passed, "it signs this body")
	}
}

func (e *explainer) guessBody() string {
	body := e.q.Body
	for _, guess := range []struct {
		body    []byte
		meaning string
	}{
		{nil, "the empty one"},
		{bytes.TrimRight(body, "\r\n"), "without the line break at its end"},
		{append(bytes.Clone(body), '\n'), "with a line break at its end"},
		{bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), "with other line ends"},
		{bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")), "with other line ends"},
		{bytes.TrimPrefix(body, []byte("\uFEFF")), "without the byte order mark"},
	} {
		if e.made(&e.h.claims.pay, guess.body) {
			return ": " + guess.meaning
		}
	}
	return ""
}
