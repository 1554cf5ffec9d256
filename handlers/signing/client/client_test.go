package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

func TestConfig(t *testing.T) {
	for url, want := range map[string]string{
		"":                            "BaseURL is required",
		"sign.example.test":           "must begin with https://",
		"http://sign.example.test":    "must begin with https://",
		"https:///path":               "must begin with https:// and a host",
		"ftp://127.0.0.1":             "must begin with https://",
		"https://sign.example.test/":  "must not end with a slash",
		"https://u@sign.example.test": "must not have a user",
		"https://sign.example.test?a": "a query",
		"https://sign.example.test#":  "a fragment",
		"https://sign.example.test:x": "the base URL",
		"https://sign.example.test/a": "",
		"http://127.0.0.1:8080":       "",
		"http://localhost":            "",
		"http://[::1]:8080/signing":   "",
	} {
		_, err := New(Config{BaseURL: url})
		if want == "" {
			require.NoError(t, err, url)
			continue
		}
		require.ErrorContains(t, err, want, url)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = New(Config{BaseURL: base, Key: curve})
	require.ErrorContains(t, err, "the key is no RSA key")
}

func claimsOf(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &claims))
	return claims
}

func TestMint(t *testing.T) {
	now := time.Unix(1_800_000_000, 999_999_999)
	c, err := New(Config{BaseURL: base, ClientID: clientID, Key: testKey(), KeyID: "k1", Now: func() time.Time { return now }})
	require.NoError(t, err)

	token, deadline, err := c.Mint(Request{Subject: user, Documents: twoDocuments()})
	require.NoError(t, err)
	assert.Equal(t, int64(1_800_000_600), deadline.Unix())
	claims := claimsOf(t, token)
	assert.Len(t, claims["jti"], 36)
	delete(claims, "jti")
	assert.Equal(t, map[string]any{
		"iss": clientID, "sub": user, "aud": base, "iat": 1.8e9, "exp": 1.8e9 + 600, "algorithm": "RS256",
		"payloads": []any{
			map[string]any{"id": "a.xml", "payload": "PGEvPgo="},
			map[string]any{"id": "b", "payload": "AAH/"},
		},
	}, claims)

	token, deadline, err = c.Mint(Request{
		Subject: user, Documents: twoDocuments()[:1], Single: true, Algorithm: evidence.RS1, ExpiresIn: time.Second,
	})
	require.NoError(t, err)
	assert.Equal(t, int64(1_800_000_001), deadline.Unix())
	claims = claimsOf(t, token)
	assert.Equal(t, "PGEvPgo=", claims["payload"])
	assert.NotContains(t, claims, "payloads")
	assert.Equal(t, "RS1", claims["algorithm"])
}

func TestMintRefusals(t *testing.T) {
	many := func(n, size int) []evidence.Document {
		all := make([]evidence.Document, n)
		for i := range all {
			all[i] = evidence.Document{ID: fmt.Sprint(i), Payload: make([]byte, size)}
		}
		return all
	}
	for want, q := range map[string]Request{
		"there is no document to sign":              {Subject: user},
		"251 documents, more than the 250":          {Subject: user, Documents: many(251, 1)},
		`two documents have the id "0"`:             {Subject: user, Documents: append(many(1, 1), many(1, 1)...)},
		"the id of document 2 is empty":             {Subject: user, Documents: []evidence.Document{{ID: "a", Payload: []byte("x")}, {Payload: []byte("x")}}},
		"the id of document 1 is not valid UTF-8":   {Subject: user, Documents: []evidence.Document{{ID: "\xff", Payload: []byte("x")}}},
		"the id of document 1 is longer than 256":   {Subject: user, Documents: []evidence.Document{{ID: strings.Repeat("a", 257), Payload: []byte("x")}}},
		`document 1 ("0") is empty`:                 {Subject: user, Documents: many(1, 0)},
		"the documents have more than 1048576":      {Subject: user, Documents: many(2, 600<<10)},
		"the request would have 1":                  {Subject: user, Documents: many(2, 300<<10)},
		"form with one payload can't hold 2":        {Subject: user, Documents: many(2, 1), Single: true},
		"the subject is empty":                      {Documents: many(1, 1)},
		"the subject is longer than 256 bytes":      {Subject: strings.Repeat("a", 257), Documents: many(1, 1)},
		`the algorithm is "RS512", expected RS256`:  {Subject: user, Documents: many(1, 1), Algorithm: "RS512"},
		"can't be given 500ms to sign":              {Subject: user, Documents: many(1, 1), ExpiresIn: time.Second / 2},
		"can't be given 10m0.000000001s to sign":    {Subject: user, Documents: many(1, 1), ExpiresIn: MaxLifetime + 1},
		"can't be given -1s to sign":                {Subject: user, Documents: many(1, 1), ExpiresIn: -time.Second},
		"the state must be UTF-8 of at most 256":    {Subject: user, Documents: many(1, 1), State: strings.Repeat("a", 257)},
		"the state must be UTF-8 of at most 256 by": {Subject: user, Documents: many(1, 1), State: "\xff"},
	} {
		s := newService(t)
		_, err := s.client().Request(t.Context(), q)
		require.ErrorContains(t, err, want)
		require.Zero(t, s.questions(), "nothing is sent")
	}
	for want, change := range map[string]func(*Config){
		"a Key is required":        func(c *Config) { c.Key = nil },
		"a KeyID is required":      func(c *Config) { c.KeyID = "" },
		"the client's id is empty": func(c *Config) { c.ClientID = "" },
	} {
		_, _, err := newService(t).client(change).Mint(Request{Subject: user, Documents: many(1, 1)})
		require.ErrorContains(t, err, want)
	}
	// As much as fits is accepted.
	s := newService(t)
	_, err := s.client().Request(t.Context(), Request{Subject: user, Documents: many(250, 2300)})
	require.NoError(t, err)
}

// TestFlow goes through everything against the real API, in both forms.
func TestFlow(t *testing.T) {
	for name, q := range map[string]Request{
		"many":   {Subject: user, Documents: twoDocuments()},
		"one":    {Subject: user, Documents: twoDocuments()[:1]},
		"single": {Subject: user, Documents: twoDocuments()[:1], Single: true, Algorithm: evidence.RS1, State: "a+b &c"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			c := s.client()
			p, err := c.Request(t.Context(), q)
			require.NoError(t, err)
			require.Equal(t, base+"/client?token="+p.Token, p.RedirectURI)

			pending, opened := stateOf(t, c, p)
			require.Equal(t, [2]bool{true, false}, [2]bool{pending, opened})
			s.open(p)
			pending, opened = stateOf(t, c, p)
			require.Equal(t, [2]bool{true, true}, [2]bool{pending, opened})
			back := s.sign(p)
			if q.State != "" {
				require.Contains(t, back, "state=a%2Bb%20%26c")
			}
			r, err := c.Fetch(t.Context(), p.Token)
			require.NoError(t, err)
			require.Len(t, r.Signatures, len(q.Documents))
			if q.Single {
				require.Empty(t, r.Signatures[0].ID)
			}

			v := Verification{Algorithm: q.Algorithm, Documents: q.Documents}
			e, err := r.Verify(t.Context(), v)
			require.NoError(t, err)
			require.Equal(t, user+"_MOCK", e.Certificate.Subject.CommonName)
			require.Len(t, e.Fingerprint, 64)
			require.Empty(t, e.Chain)
			v.Roots = s.roots
			e, err = r.Verify(t.Context(), v)
			require.NoError(t, err)
			require.Len(t, e.Chain, 2)
			checkRefusals(t, r, v)
		})
	}
}

// checkRefusals spoils each part of what verifies.
func checkRefusals(t *testing.T, r *Response, v Verification) {
	t.Helper()
	refused := func(code evidence.Code, v Verification) {
		t.Helper()
		_, err := r.Verify(t.Context(), v)
		require.ErrorContains(t, err, "the signatures do not verify: ")
		require.NotContains(t, err.Error(), "Invalid request payload")
		require.Equal(t, code, evidence.CodeOf(err))
	}
	other := v
	other.Documents = append([]evidence.Document{}, v.Documents...)
	other.Documents[0].Payload = append([]byte(" "), v.Documents[0].Payload...)
	refused(evidence.CodeSignature, other)
	other = v
	other.Roots = x509.NewCertPool()
	refused(evidence.CodeUntrusted, other)
	other = v
	other.Now = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	refused(evidence.CodeExpired, other)
	other = v
	other.MinKeyBits = 4096
	refused(evidence.CodeKey, other)
	other.Roots = nil
	refused(evidence.CodeKey, other)
	other = v
	other.Documents = append(append([]evidence.Document{}, v.Documents...), evidence.Document{ID: "more", Payload: []byte("x")})
	refused(evidence.CodeIDs, other)
}

func stateOf(t *testing.T, c *Client, p *Pending) (pending, opened bool) {
	t.Helper()
	_, err := c.Fetch(t.Context(), p.Token)
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Pending()
}

func TestServerRefusals(t *testing.T) {
	q := Request{Subject: user, Documents: twoDocuments()}
	for want, change := range map[string]func(*Config){
		`the signing API answered 400: JWT header is not valid. "kid" is not known`:            func(c *Config) { c.KeyID = "k2" },
		`the signing API answered 400: JWT payload is not valid. "aud" must be [` + base + `]`: func(c *Config) { c.Audience = "https://other.example" },
		`the signing API answered 400: JWT payload is not valid. "iat" is in the future`:       func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } },
		`the signing API answered 404: Not Found`:                                              func(c *Config) { c.BaseURL, c.Audience = base+"/more", base },
		`the access token: no token file`: func(c *Config) {
			c.AccessToken = func(context.Context) (string, error) { return "", errors.New("no token file") }
		},
	} {
		_, err := newService(t).client(change).Request(t.Context(), q)
		require.ErrorContains(t, err, want)
	}

	s := newService(t, func(c *signing.Config) {
		c.AccessToken = func(r *http.Request) (string, error) {
			if r.Header.Get("Authorization") != "Bearer good" {
				return "", &signing.AccessError{Err: errors.New("no")}
			}
			return clientID, nil
		}
	})
	_, err := s.client().Request(t.Context(), q)
	require.EqualError(t, err, "the signing API answered 401: Invalid Access Token")
	good := s.client(func(c *Config) { c.AccessToken = func(context.Context) (string, error) { return "good", nil } })
	p, err := good.Request(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, "text/plain", s.last.Header.Get("Content-Type"))
	_, err = s.client().Fetch(t.Context(), p.Token)
	require.ErrorContains(t, err, "401")
	_, err = good.Fetch(t.Context(), p.Token)
	require.ErrorContains(t, err, textNotDownloaded)
	_, err = good.Fetch(t.Context(), "a/b?c")
	require.EqualError(t, err, `the signing API answered 400: Invalid request params: "token" must be a valid base64 string`)
	_, err = good.Fetch(t.Context(), "")
	require.ErrorContains(t, err, "the token is empty")
}

// TestStrangeAnswers: what isn't of the dialect is told in plain words, and
// harms no terminal.
func TestStrangeAnswers(t *testing.T) {
	for _, tc := range []struct {
		status   int
		header   string
		body     string
		want     string
		response bool // to Fetch too
	}{
		{200, "", `hello`, "the answer is not that of a signing API: is " + base + " the right base URL?", true},
		{200, "", `{}`, "the answer is not that of a signing API", true},
		{200, "", `{"token":"t","redirectUri":"file:///etc/passwd"}`, "no redirectUri", false},
		{200, "", `{"token":"t","redirectUri":"http://other.example/"}`, "no redirectUri", false},
		{200, "", `{"token":"t","redirectUri":"-x"}`, "no redirectUri", false},
		{200, "", `{"token":"","redirectUri":"https://other.example/"}`, "no token", false},
		{200, "", `{"signatures":[],"certificate":"x"}`, "it has no ", true},
		{200, "", `{"signature":"","certificate":"x"}`, "it has no ", true},
		{200, "", `{"signatures":[{"id":"a","signature":"x"}]}`, "it has no ", true},
		{200, "", strings.Repeat(" ", maxAnswer+1), "the answer is longer than 4 MiB", true},
		{302, "Location: https://other.example/", "", "answered 302: it redirects to https://other.example/", true},
		{502, "", "<html>\x1b[2J bad\n\tgateway \u202e\xff</html>", "answered 502: <html> [2J bad gateway �</html>", true},
		{500, "", "", "answered 500: Internal Server Error", true},
		{400, "", `{"message":"a\u001b]0;b"}`, "answered 400: a ]0;b", true},
		{429, "Retry-After: 7", `{"issue":[{"details":{"coding":[{"display":"Too Many Requests"}]},"diagnostics":"slow down"}]}`, "answered 429: Too Many Requests slow down", true},
		{400, "", `{"message":"` + strings.Repeat("é", 600) + `"}`, strings.Repeat("é", 499) + "…", true},
	} {
		s := newService(t)
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			if name, value, ok := strings.Cut(tc.header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(tc.status)
			_, _ = w.Write([]byte(tc.body))
			return true
		}
		_, err := s.client().Request(t.Context(), Request{Subject: user, Documents: twoDocuments()})
		require.ErrorContains(t, err, tc.want, tc.body)
		if tc.response {
			_, err2 := s.client().Fetch(t.Context(), "dG9rZW4=")
			require.ErrorContains(t, err2, tc.want, tc.body)
		}
		require.Equal(t, map[bool]int{true: 2, false: 1}[tc.response], s.questions(), "redirects are not followed, nothing is tried again")
		if e, ok := errors.AsType[*Error](err); ok && tc.status == 429 {
			require.Equal(t, 7*time.Second, e.RetryAfter)
		}
	}
}

// A failed connection must not put the token, which is in the URL, into logs.
func TestUnreachable(t *testing.T) {
	c, err := New(Config{BaseURL: "http://127.0.0.1:1", HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	require.NoError(t, err)
	_, err = c.Fetch(t.Context(), "c2VjcmV0")
	require.ErrorContains(t, err, "connect")
	require.NotContains(t, err.Error(), "c2VjcmV0")
}
