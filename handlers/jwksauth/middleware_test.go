package jwksauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// The answers, to the letter.
const (
	challengeNone    = `Bearer realm="jwks"`
	challengeMany    = `Bearer realm="jwks", error="invalid_request", error_description="The request has more than one access token"`
	challengeInvalid = `Bearer realm="jwks", error="invalid_token", error_description="The access token is invalid"`
	challengeExpired = `Bearer realm="jwks", error="invalid_token", error_description="The access token has expired"`

	bodyNone        = `{"error":"unauthorized","error_description":"An access token is required"}`
	bodyMany        = `{"error":"invalid_request","error_description":"The request has more than one access token"}`
	bodyInvalid     = `{"error":"invalid_token","error_description":"The access token is invalid"}`
	bodyExpired     = `{"error":"invalid_token","error_description":"The access token has expired"}`
	bodyUnavailable = `{"error":"keys_unavailable","error_description":"The keys to verify access tokens are unavailable, try again later"}`
)

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestAnswers(t *testing.T) {
	good := mint(t, nil)
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	a := authenticator(t, Config{Claims: []ClaimHeader{{"name", "X-Name", Comma}}})
	for name, c := range map[string]struct {
		headers   []string
		code      Code
		status    int
		challenge string
		body      string
	}{
		"good":           {bearer(good), "", 200, "", ""},
		"none":           {nil, CodeNoToken, 401, challengeNone, bodyNone},
		"basic":          {[]string{"Authorization", "Basic YTpi"}, CodeNoToken, 401, challengeNone, bodyNone},
		"empty":          {bearer(""), CodeEmptyToken, 401, challengeInvalid, bodyInvalid},
		"two lines":      {append(bearer(good), bearer(good)...), CodeManyTokens, 400, challengeMany, bodyMany},
		"joined":         {bearer(good + ", Bearer " + good), CodeManyTokens, 400, challengeMany, bodyMany},
		"no token":       {bearer("abc"), "token_parts", 401, challengeInvalid, bodyInvalid},
		"too long":       {bearer(strings.Repeat("a", 9000)), "token_length", 401, challengeInvalid, bodyInvalid},
		"blank behind":   {bearer(good + " "), "token_alphabet", 401, challengeInvalid, bodyInvalid},
		"signature":      {bearer(forged), "signature", 401, challengeInvalid, bodyInvalid},
		"expired":        {bearer(mint(t, map[string]any{"exp": testNow.Unix()})), "expired", 401, challengeExpired, bodyExpired},
		"not yet":        {bearer(mint(t, map[string]any{"nbf": testNow.Unix() + 60})), "nbf_future", 401, challengeInvalid, bodyInvalid},
		"without exp":    {bearer(mint(t, map[string]any{"exp": nil})), "claim_missing", 401, challengeInvalid, bodyInvalid},
		"other issuer":   {bearer(mint(t, map[string]any{"iss": "x"})), "issuer", 401, challengeInvalid, bodyInvalid},
		"claim's value":  {bearer(mint(t, map[string]any{"name": "a\nb"})), CodeClaimValue, 401, challengeInvalid, bodyInvalid},
		"tab for spaces": {[]string{"Authorization", "Bearer\t" + good}, "token_alphabet", 401, challengeInvalid, bodyInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
				r := get("/", c.headers...)
				r.Method = method
				assert.Equal(t, c.code, code(t, a, r.Clone(t.Context())))
				w, next := serve(a, r)
				require.Equal(t, c.status, w.Code)
				require.Equal(t, c.code == "", next.called)
				if next.called {
					assert.Equal(t, "someone", mustText(t, next.token.Claims, "sub"))
					assert.Empty(t, w.Header())
					continue
				}
				assert.Equal(t, []string{c.challenge}, w.Header()["Www-Authenticate"])
				assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
				assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				assert.Equal(t, fmt.Sprint(len(c.body)), w.Header().Get("Content-Length"))
				assert.Empty(t, w.Header().Get("Retry-After"))
				assert.Empty(t, w.Header().Get("Connection"))
				if method == http.MethodHead {
					assert.Empty(t, w.Body.String())
				} else {
					assert.Equal(t, c.body, w.Body.String())
				}
			}
		})
	}
}

func mustText(t testing.TB, c jwks.Claims, name string) string {
	t.Helper()
	text, ok := ClaimText(c, name)
	require.True(t, ok)
	return text
}

// away is a key source that has nothing to say.
type away struct{ err error }

func (a away) Key(context.Context, string) (*jwks.Key, error) { return nil, a.err }

func TestKeysUnavailable(t *testing.T) {
	for name, err := range map[string]error{"no keys": jwks.ErrUnavailable, "other": errors.New("disk on fire"), "context": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			a := authenticator(t, Config{Verifier: verifierOf(t, away{err}), Optional: true})
			w, next := serve(a, get("/", bearer(mint(t, nil))...))
			assert.False(t, next.called)
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			assert.Equal(t, "5", w.Header().Get("Retry-After"))
			assert.NotContains(t, w.Header(), "Www-Authenticate")
			assert.Equal(t, bodyUnavailable, w.Body.String())

			_, err := a.Authenticate(get("/", bearer(mint(t, nil))...))
			var fault *jwks.Error
			require.ErrorAs(t, err, &fault)
			assert.Equal(t, jwks.CodeUnavailable, fault.Code)
		})
	}
}

func TestErrorsOfOthers(t *testing.T) {
	a := authenticator(t, Config{})
	w := httptest.NewRecorder()
	a.WriteError(w, get("/"), errors.New("secret"))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, bodyUnavailable, w.Body.String())
	e := verifyError("r", errors.New("x"))
	assert.Equal(t, CodeUnavailable, e.Code)
	assert.EqualError(t, e, "jwksauth: unavailable (503): x")
}

func TestOptional(t *testing.T) {
	good := mint(t, nil)
	a := authenticator(t, Config{Optional: true, Claims: []ClaimHeader{{"sub", "X-Subject", Comma}}})
	for name, c := range map[string]struct {
		headers []string
		code    Code
		subject string
	}{
		"none":       {nil, "", ""},
		"basic":      {[]string{"Authorization", "Basic YTpi"}, "", ""},
		"empty line": {[]string{"Authorization", ""}, "", ""},
		"good":       {bearer(good), "", "someone"},
		"empty":      {bearer(""), CodeEmptyToken, ""},
		"faulty":     {bearer("x"), "token_parts", ""},
		"two":        {append(bearer(good), bearer(good)...), CodeManyTokens, ""},
		"hidden":     {[]string{"Authorization", "Basic YTpi, Bearer " + good}, CodeManyTokens, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := get("/", slices.Concat(c.headers, []string{"X-Subject", "evil", "X_subject", "evil"})...)
			require.Equal(t, c.code, code(t, a, r.Clone(t.Context())))
			_, next := serve(a, r)
			require.Equal(t, c.code == "", next.called)
			assert.Equal(t, c.subject, next.header.Get("X-Subject"))
			assert.NotContains(t, fmt.Sprint(r.Header), "evil", "on refusals too")
			assert.Equal(t, c.subject != "", next.token != nil)
		})
	}
}

func TestPreflight(t *testing.T) {
	const origin, method = "Origin", "Access-Control-Request-Method"
	full := []string{origin, "https://app.example.org", method, "PUT"}
	for name, c := range map[string]struct {
		verb    string
		headers []string
		allow   bool
		code    Code
	}{
		"preflight":        {"OPTIONS", full, true, ""},
		"not allowed":      {"OPTIONS", full, false, CodeNoToken},
		"other method":     {"GET", full, true, CodeNoToken},
		"lower case":       {"options", full, true, CodeNoToken},
		"no origin":        {"OPTIONS", full[2:], true, CodeNoToken},
		"no method":        {"OPTIONS", full[:2], true, CodeNoToken},
		"empty origin":     {"OPTIONS", []string{origin, "", method, "PUT"}, true, CodeNoToken},
		"empty method":     {"OPTIONS", []string{origin, "x", method, ""}, true, CodeNoToken},
		"two origins":      {"OPTIONS", append(full[:2:2], full...), true, CodeNoToken},
		"two methods":      {"OPTIONS", append(full[2:4:4], full...), true, CodeNoToken},
		"null origin":      {"OPTIONS", []string{origin, "null", method, "PUT"}, true, ""},
		"with faulty":      {"OPTIONS", append(bearer("x"), full...), true, "token_parts"},
		"with good":        {"OPTIONS", append(bearer(mint(t, nil)), full...), true, ""},
		"with two, faulty": {"OPTIONS", append(append(bearer("x"), bearer("x")...), full...), true, CodeManyTokens},
	} {
		t.Run(name, func(t *testing.T) {
			a := authenticator(t, Config{AllowPreflight: c.allow, Claims: []ClaimHeader{{"name", "X-Subject", Comma}}})
			r := get("/", slices.Concat(c.headers, []string{"X-Subject", "evil"})...)
			r.Method = c.verb
			assert.Equal(t, c.code, code(t, a, r))
			assert.NotContains(t, r.Header, "X-Subject")
		})
	}
}

func TestForwardedTokens(t *testing.T) {
	good := mint(t, nil)
	a := authenticator(t, Config{From: allSources, ForwardToken: true})
	_, next := serve(a, get("/?access_token="+good))
	assert.Equal(t, "access_token="+good, next.query)
	_, next = serve(a, get("/", bearer(good)...))
	assert.Equal(t, "Bearer "+good, next.header.Get("Authorization"))
	// What a backend may take for the token that was verified.
	_, next = serve(a, get("/", "X-Token", good, "X_token", "evil", "x.token", "evil"))
	assert.Equal(t, http.Header{"X-Token": {good}}, next.header)
}

func TestRealm(t *testing.T) {
	a := authenticator(t, Config{Realm: `the "back\slash"`})
	w, _ := serve(a, get("/"))
	assert.Equal(t, `Bearer realm="the \"back\\slash\""`, w.Header().Get("WWW-Authenticate"))
}

func TestContext(t *testing.T) {
	_, ok := FromContext(t.Context())
	assert.False(t, ok)
	_, ok = FromContext(WithToken(t.Context(), nil))
	assert.False(t, ok)
	want := new(jwks.Token)
	got, ok := FromContext(WithToken(t.Context(), want))
	assert.True(t, ok)
	assert.Same(t, want, got)
}

// TestRefusalIsDetailedInside: the cause is there for logs and explanations,
// though clients are told one text.
func TestRefusalIsDetailedInside(t *testing.T) {
	a := authenticator(t, Config{Claims: []ClaimHeader{{"name", "X-Name", Comma}}})
	_, err := a.Authenticate(get("/", bearer(mint(t, map[string]any{"aud": 1}))...))
	var cause *jwks.Error
	require.ErrorAs(t, err, &cause)
	assert.Equal(t, "aud", cause.Claim)
	require.EqualError(t, err, "jwksauth: claim_type (401): jwks: the claim aud is neither a string nor an array of strings")
	_, err = a.Authenticate(get("/", bearer(mint(t, map[string]any{"name": " x"}))...))
	require.EqualError(t, err, "jwksauth: claim_value (401): the claim name can't be handed on as X-Name: it begins or ends with a blank")
}

// TestLogs runs requests of every outcome and looks for what must be logged
// and what must not.
func TestLogs(t *testing.T) {
	var out bytes.Buffer
	var results []Result
	a := authenticator(t, Config{
		Logger:   slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe:  func(r Result) { results = append(results, r) },
		Optional: true,
		Claims:   []ClaimHeader{{"name", "X-Name", Comma}},
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	good := mint(t, map[string]any{"name": "marker-name", "sub": "marker-sub"})
	faulty := mint(t, map[string]any{"name": "marker-\x7f", "sub": "marker-sub"})
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	requests := []*http.Request{
		get("/"), get("/", bearer(good)...), get("/", bearer(good)...), get("/", bearer(faulty)...), get("/", bearer(forged)...),
		get("/", bearer("marker")...), get("/", bearer(forged)...).WithContext(gone),
	}
	for _, r := range requests {
		_, _ = a.Authenticate(r)
	}
	for _, hidden := range []string{"marker", good, good[20:60], "k1"} {
		assert.NotContains(t, out.String(), hidden)
	}
	assert.Equal(t, []string{
		"DEBUG request passed without a token ", "DEBUG request authenticated ", "DEBUG request authenticated ",
		"INFO request refused claim_value", "INFO request refused signature", "INFO request refused token_parts", "DEBUG request abandoned signature",
	}, entries(t, out.String()))
	assert.Equal(t, []Result{
		{Anonymous: true},
		{},
		{Cached: true},
		{Code: CodeClaimValue, Status: 401},
		{Code: "signature", Status: 401},
		{Code: "token_parts", Status: 401},
		{Code: "signature", Status: 401},
	}, results)

	out.Reset()
	b := authenticator(t, Config{Verifier: verifierOf(t, away{jwks.ErrUnavailable}), Logger: a.log})
	_, _ = b.Authenticate(get("/", bearer(good)...))
	_, _ = b.Authenticate(get("/", bearer(good)...).WithContext(gone))
	assert.Equal(t, []string{
		"ERROR request could not be authenticated unavailable", "DEBUG request abandoned unavailable",
	}, entries(t, out.String()))
}

func entries(t testing.TB, log string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(log) {
		var entry struct{ Level, Msg, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		all = append(all, entry.Level+" "+entry.Msg+" "+entry.Reason)
	}
	return all
}
