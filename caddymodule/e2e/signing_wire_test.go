//go:build linux

package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What an upload must not get away with: each refusal says which check failed,
// leaves the request as it was, and the right signatures still go through.
func TestUploadedSignatures(t *testing.T) {
	t.Parallel()
	cards, strangers := newAuthority(t), newAuthority(t)
	_, a := plainSigning(t, cards, "")
	documents := twoDocuments()
	own := cards.issue(t, nil)
	good := own.signAll(t, "RS256", documents)
	request := a.downloaded(t, documents, nil)
	with := func(change func(*signed)) string {
		s := good
		s.Signatures = slices.Clone(good.Signatures)
		change(&s)
		return s.json(t)
	}
	by := func(c *card) string { return c.signAll(t, "RS256", documents).json(t) }
	deep := strings.Repeat(`[`, 2000) + strings.Repeat(`]`, 2000)
	for _, c := range []struct{ name, body, message string }{
		{"swapped", with(func(s *signed) {
			s.Signatures[0].Signature, s.Signatures[1].Signature = s.Signatures[1].Signature, s.Signatures[0].Signature
		}), "Signature of document"},
		{"of another document", with(func(s *signed) { s.Signatures[0].Signature = own.sign(t, "RS256", []byte("another")) }), "Signature of document"},
		{"with the other algorithm", own.signAll(t, "RS1", documents).json(t), "Signature of document"},
		{"one missing", with(func(s *signed) { s.Signatures = s.Signatures[:1] }), "exactly the requested ids"},
		{"one too many", with(func(s *signed) {
			s.Signatures = append(s.Signatures, namedSignature{"third", s.Signatures[0].Signature})
		}), "exactly the requested ids"},
		{"one twice", with(func(s *signed) { s.Signatures[1] = s.Signatures[0] }), "exactly the requested ids"},
		{"of another id", with(func(s *signed) { s.Signatures[1].ID = "Second" }), "exactly the requested ids"},
		{"none", with(func(s *signed) { s.Signatures = nil }), `"signatures" is required`},
		{"no certificate", `{"signatures":[]}`, `"certificate" is required`},
		{"in the other dialect", fmt.Sprintf(`{"signature":%q,"certificate":%q}`, good.Signatures[0].Signature, own.der()), `"signatures" is required`},
		{"not base64", with(func(s *signed) { s.Signatures[0].Signature = "%%%%" }), "base64"},
		{"base64url", with(func(s *signed) {
			s.Signatures[0].Signature = base64.RawURLEncoding.EncodeToString([]byte{0xff, 0xff, 0xff, 0xff})
		}), "base64"},
		{"cut short", with(func(s *signed) { s.Signatures[0].Signature = s.Signatures[0].Signature[:100] }), "Signature of document"},
		{"a stranger's card", by(strangers.issue(t, nil)), "not from a trusted authority"},
		{"the authority as the card", with(func(s *signed) { s.Certificate = base64.StdEncoding.EncodeToString(cards.certificate.Raw) }), "must be an RSA key"},
		{"two certificates", with(func(s *signed) {
			s.Certificate = base64.StdEncoding.EncodeToString(append(slices.Clone(own.certificate.Raw), own.certificate.Raw...))
		}), "exactly one certificate"},
		{"in PEM", with(func(s *signed) { s.Certificate = cards.pem() }), "base64"},
		{"another person's card", by(cards.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "555086689107_TEST" })), `"sub"`},
		{"a card of a person whose id begins like that", by(cards.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = prescriber + "1_TEST" })), `"sub"`},
		{"an expired card", by(cards.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })), "expired"},
		{"a card from tomorrow", by(cards.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) })), "not valid yet"},
		{"a card for logging in", by(cards.issue(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })), "contentCommitment"},
		{"deep", `{"signatures":` + deep + `,"certificate":""}`, "nested too deeply"},
		{"deep where nothing is read", `{"x":` + deep + `,` + strings.TrimPrefix(good.json(t), "{"), "nested too deeply"},
		{"a member twice", `{"certificate":"` + own.der() + `",` + strings.TrimPrefix(good.json(t), "{"), "two members of one name"},
		{"a member in two cases", `{"Certificate":"` + own.der() + `",` + strings.TrimPrefix(good.json(t), "{"), "differ in case only"},
		{"an id twice in one signature", strings.Replace(good.json(t), `{"id":`, `{"id":"x","id":`, 1), "two members of one name"},
		{"a million members", `{"x":[` + strings.Repeat(`1,`, 500_000) + `1]}`, "too many members"},
		{"something after it", good.json(t) + "{}", "Invalid request payload"},
		{"no JSON", "signatures=1", "Invalid request payload"},
		{"null", "null", "Invalid request payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requireRefused(t, a.upload(t, request.Token, c.body), http.StatusBadRequest, c.message)
			requireRefused(t, a.result(t, request.Token), http.StatusNotFound, textPending)
		})
	}
	resp := a.upload(t, request.Token, good.json(t))
	require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
	requireRefused(t, a.upload(t, request.Token, good.json(t)), http.StatusBadRequest, textAlreadySigned)
	assert.Equal(t, good, a.requireResult(t, request.Token))
}

// Whoever doesn't have the token, or comes with another client's bearer or too
// late, learns nothing: not even which of these it was.
func TestTokensTellNothing(t *testing.T) {
	t.Parallel()
	cards := newAuthority(t)
	issuer := newSigner(t, "access-1", 2048)
	s, a := newServer(t), plainApplication(t)
	s.write(t, "cards.pem", cards.pem())
	s.start(t, config{
		signpost: a.block(t) + fmt.Sprintf("key_set access {\n source inline `%s`\n issuer %s\n}\n", keySetOf(t, issuer), issuerName),
		sites:    signingSite(strings.TrimSuffix(a.base, signingPath), "trust_pool file cards.pem\naccess_token {\n key_set access\n}\nretention 3s"),
	}.String())
	a.bearer = accessToken(t, issuer, map[string]any{"client_id": a.id})
	other := *a
	other.bearer = accessToken(t, issuer, map[string]any{"client_id": "another"})
	anonymous := *a
	anonymous.bearer = ""
	documents := twoDocuments()
	soon := map[string]any{"exp": time.Now().Unix() + 3}

	expiring, done := a.askFor(t, "", documents, soon), a.downloaded(t, documents, soon)
	body := cards.issue(t, nil).signAll(t, "RS256", documents).json(t)
	require.Equal(t, http.StatusOK, a.upload(t, done.Token, body).status)
	a.requireResult(t, done.Token)
	unknown := a.result(t, base64.StdEncoding.EncodeToString([]byte("f47ac10b-58cc-4372-a567-0e02b2c3d479")))
	requireRefused(t, unknown, http.StatusNotFound, textUnknownToken)
	same := func(what string, got answer) {
		t.Helper()
		assert.Equal(t, unknown.status, got.status, what)
		assert.Equal(t, string(unknown.body), string(got.body), what)
		want, have := unknown.header.Clone(), got.header.Clone()
		want.Del("Date")
		have.Del("Date")
		assert.Equal(t, want, have, what)
	}
	same("another client's", other.result(t, done.Token))
	same("another client's that isn't signed", other.result(t, expiring.Token))
	for _, token := range []string{done.Token, expiring.Token, "unknown1", "a_b"} {
		got := anonymous.result(t, token)
		assert.Equal(t, http.StatusUnauthorized, got.status)
		assert.Contains(t, string(got.body), `"ACCESS_DENIED"`)
	}
	// A JWT of one client with the bearer of another, and a bearer for nobody.
	got := other.do(t, http.MethodPost, "/signaturerequest", a.mint(t, a.claims(documents, nil)), "Content-Type", "text/plain")
	requireRefused(t, got, http.StatusBadRequest, `"iss" is not allowed for this access token`)
	nobody := *a
	nobody.bearer = accessToken(t, issuer, map[string]any{"sub": a.id})
	assert.Equal(t, http.StatusUnauthorized, nobody.result(t, done.Token).status)

	for what, token := range map[string]string{"expired": expiring.Token, "over": done.Token} {
		eventually(t, patience, func() (bool, string) {
			got := a.result(t, token)
			return got.status == http.StatusNotFound, fmt.Sprint(what, ": ", got.status)
		})
		same(what, a.result(t, token))
		same(what+", to others", other.result(t, token))
		same(what+", the download", a.do(t, http.MethodGet, "/signaturerequest/"+token, ""))
		same(what+", the upload", a.upload(t, token, body))
	}
	for _, malformed := range []string{"x", "a_b=", "%00", "1%27%20OR%20%271%27=%271", strings.Repeat("A", 4000), "%F0%9F%98%80"} {
		requireRefused(t, a.result(t, malformed), http.StatusBadRequest, `"token" must be a valid base64 string`)
	}
}

// The browser goes where the client's registration says and nowhere else,
// whatever stands in the state, the query or the request's headers.
func TestCallbackIsNoOpenRedirect(t *testing.T) {
	t.Parallel()
	cards := newAuthority(t)
	s, a := plainSigning(t, cards, "")
	documents := twoDocuments()
	body := cards.issue(t, nil).signAll(t, "RS256", documents).json(t)
	for _, c := range []struct{ query, state string }{
		{"?state=" + url.QueryEscape("//evil.example"), "//evil.example"},
		{"?state=" + url.QueryEscape("x&token=evil&callback=https://evil.example#"), "x&token=evil&callback=https://evil.example#"},
		{"?state=" + url.QueryEscape("a\r\nLocation: https://evil.example"), "a\r\nLocation: https://evil.example"},
		{"?state=" + url.QueryEscape(`\\evil.example@`), `\\evil.example@`},
		{"?state=" + strings.Repeat("%C3%A9", 128), strings.Repeat("é", 128)},
		{"?state=s&callback=https://evil.example&redirectUri=https://evil.example&redirect_uri=//evil.example", "s"},
	} {
		jwt := a.mint(t, a.claims(documents, map[string]any{"callback": "https://evil.example", "redirectUri": "https://evil.example"}))
		resp := a.do(t, http.MethodPost, "/signaturerequest"+c.query, jwt,
			"Content-Type", "text/plain", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example",
			"Referer", "https://evil.example/")
		require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
		var out asked
		require.NoError(t, json.Unmarshal(resp.body, &out))
		require.Equal(t, a.base+"/client?token="+out.Token, out.RedirectURI)
		require.Equal(t, http.StatusOK, a.do(t, http.MethodGet, "/signaturerequest/"+out.Token, "").status)
		resp = a.upload(t, out.Token, body, "X-Forwarded-Host", "evil.example")
		require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
		token := out.Token
		require.NoError(t, json.Unmarshal(resp.body, &out))
		back, err := url.Parse(out.RedirectURI)
		require.NoError(t, err)
		assert.Equal(t, "https://app.example/cb", back.Scheme+"://"+back.Host+back.Path)
		assert.Equal(t, url.Values{"x": {"1"}, "token": {token}, "state": {c.state}}, back.Query())
		assert.NotContains(t, out.RedirectURI, "\n")
		assert.Empty(t, back.Fragment)
	}
	for _, query := range []string{"?state=" + strings.Repeat("x", 257), "?state=a&state=b", "?state=%ff", "?state=%zz"} {
		resp := a.do(t, http.MethodPost, "/signaturerequest"+query, a.mint(t, a.claims(documents, nil)), "Content-Type", "text/plain")
		requireRefused(t, resp, http.StatusBadRequest, `"state"`)
	}
	// Nor can a callback be registered that leads astray.
	for _, callback := range []string{
		"//evil.example", `https:\\evil.example`, "javascript:alert(1)", "https://user:pass@evil.example/", "http://evil.example/",
		"data:text/html,x", "https://", "https://app.example/#fragment", "/relative", "file:///etc/passwd",
	} {
		bad := *a
		bad.callback = "`" + callback + "`"
		path := s.write(t, "Caddyfile.bad", plainSigningConfig(t, &bad, "trust_pool file cards.pem"))
		out := s.run(t, "validate", "--config", path, "--adapter", "caddyfile")
		assert.NotZero(t, out.code, callback)
		assert.Contains(t, out.all(), "callback", callback)
	}
}
