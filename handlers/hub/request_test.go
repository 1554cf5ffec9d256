package hub

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// TestVectors: the hub takes what the signing API takes, and nothing else.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "signing_jwts.json"))
	require.NoError(t, err)
	var vectors struct {
		Cases []struct{ ID, Expect, Note, Token string }
	}
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.NotEmpty(t, vectors.Cases)
	set, err := os.ReadFile(filepath.Join("testdata", "signing_jwks.json"))
	require.NoError(t, err)
	keys, _, err := jwks.Parse(set, jwks.Limits{})
	require.NoError(t, err)
	index, _ := jwks.NewIndex(keys)
	f := newFixture(t, func(c *Config) {
		c.Requests = []RequestKeys{{Audience: base, Issuer: "client-1", Keys: index}}
		c.MinKeyBits = 4096
	})
	for _, v := range vectors.Cases {
		got := "accept"
		if _, err := f.verify(t.Context(), []byte(v.Token), site); err != nil {
			got = "reject"
			assert.NotEqual(t, CodeInternal, asError(err).Code, "%s: %v", v.ID, err)
		}
		assert.Equal(t, v.Expect, got, "%s: %s", v.ID, v.Note)
	}
}

func TestClaims(t *testing.T) {
	f := newFixture(t, nil)
	now := vectorTime.Unix()
	document := func(changes map[string]any) map[string]any {
		d := map[string]any{"id": "a", "payload": "YQ=="}
		for name, value := range changes {
			d[name] = value
		}
		return d
	}
	for _, c := range []struct {
		name    string
		changes map[string]any
		wrong   string // part of the message; empty when it is good
	}{
		{"as it should be", nil, ""},
		{"aud is the origin", map[string]any{"aud": site}, ""},
		{"aud names the port", map[string]any{"aud": site + ":443/x"}, ""},
		{"aud in an array", map[string]any{"aud": []string{base}}, ""},
		{"aud of another site", map[string]any{"aud": "https://other.example/signing-service"}, "aud is not an address"},
		{"aud of another port", map[string]any{"aud": site + ":8443/x"}, "aud is not an address"},
		{"aud of another scheme", map[string]any{"aud": "http://sign.example.test/x"}, "aud is not an address"},
		{"aud begins alike", map[string]any{"aud": site + ".evil.example/"}, "aud is not an address"},
		{"aud with a user", map[string]any{"aud": "https://a@sign.example.test/"}, "aud is not an address"},
		{"aud of two", map[string]any{"aud": []string{base, "https://other.example"}}, "aud must be one text"},
		{"aud is none", map[string]any{"aud": []string{}}, "aud must be one text"},
		{"aud is no text", map[string]any{"aud": []any{1}}, "aud must be one text"},
		{"no URL", map[string]any{"aud": "signing"}, "aud is not an address"},
		{"no iss", map[string]any{"iss": nil}, "iss must be"},
		{"empty sub", map[string]any{"sub": ""}, "sub must be"},
		{"long sub", map[string]any{"sub": strings.Repeat("1", 257)}, "sub must be"},
		{"exp now", map[string]any{"exp": now}, "exp is in the past"},
		{"exp far", map[string]any{"exp": now + 631}, "more than 10 minutes"},
		{"exp as far as can be", map[string]any{"exp": now + 630}, ""},
		{"iat within the leeway", map[string]any{"iat": now + 30}, ""},
		{"iat beyond", map[string]any{"iat": now + 31}, "iat is in the future"},
		{"iat long ago", map[string]any{"iat": 0}, ""},
		{"nbf beyond", map[string]any{"nbf": now + 31}, "nbf is in the future"},
		{"nbf is a text", map[string]any{"nbf": "0"}, "nbf must be"},
		{"algorithm", map[string]any{"algorithm": "RS512"}, "algorithm must be"},
		{"no algorithm", map[string]any{"algorithm": nil}, "algorithm must be"},
		{"both", map[string]any{"payload": "YQ=="}, "either payload or payloads"},
		{"neither", map[string]any{"payloads": nil}, "either payload or payloads"},
		{"null payload", map[string]any{"payload": json.RawMessage("null"), "payloads": nil}, "payload must be standard base64"},
		{"no array", map[string]any{"payloads": "x"}, "payloads must be an array"},
		{"none", map[string]any{"payloads": []any{}}, "one at least"},
		{"no object", map[string]any{"payloads": []any{"a"}}, "payloads[0] must be an object"},
		{"no id", map[string]any{"payloads": []any{document(map[string]any{"id": ""})}}, "payloads[0].id"},
		{"one id twice", map[string]any{"payloads": []any{document(nil), document(nil)}}, "payloads[1] has the id"},
		{"no base64", map[string]any{"payloads": []any{document(map[string]any{"payload": "!"})}}, "payloads[0].payload"},
		{"base64 of nothing", map[string]any{"payloads": []any{document(map[string]any{"payload": ""})}}, "payloads[0].payload"},
		{"base64url", map[string]any{"payloads": []any{document(map[string]any{"payload": "_-8="})}}, "payloads[0].payload"},
		{"no padding", map[string]any{"payloads": []any{document(map[string]any{"payload": "YQ"})}}, "payloads[0].payload"},
		{"spare bits", map[string]any{"payloads": []any{document(map[string]any{"payload": "YR=="})}}, "payloads[0].payload"},
		{"line end", map[string]any{"payloads": []any{document(map[string]any{"payload": "YQ==\n"})}}, "payloads[0].payload"},
		{"display", map[string]any{"payloads": []any{document(map[string]any{"display": "Aspirin"})}}, ""},
		{"no text", map[string]any{"payloads": []any{document(map[string]any{"display": 1})}}, "payloads[0].display"},
		{"unknown claims", map[string]any{"jti": "x", "extra": map[string]any{"a": 1}}, ""},
	} {
		_, err := f.verify(t.Context(), []byte(f.token(c.changes)), site)
		if c.wrong == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.wrong, c.name)
		}
	}
}

func TestRequestKeys(t *testing.T) {
	f := newFixture(t, nil)
	good := f.goodClaims(nil)
	for _, c := range []struct {
		name, token string
		keys        []RequestKeys
		wrong       string
	}{
		{"unknown kid", signToken(t, clientKey(), "key-2", good), []RequestKeys{{Keys: clientKeys(t)}}, "kid is that of no key"},
		{"another's key", signToken(t, foreignKey(), "key-1", good), []RequestKeys{{Keys: clientKeys(t)}}, "signature is not valid"},
		{"another audience's keys", f.token(nil), []RequestKeys{{Audience: site, Keys: clientKeys(t)}}, "kid is that of no key"},
		{"another issuer's keys", f.token(nil), []RequestKeys{{Issuer: "client-2", Keys: clientKeys(t)}}, "kid is that of no key"},
		{"the second set", f.token(nil), []RequestKeys{{Issuer: "client-2", Keys: clientKeys(t)}, {Audience: base, Issuer: "client-1", Keys: clientKeys(t)}}, ""},
		{"keys away", f.token(nil), []RequestKeys{{Keys: &jwks.Index{}}}, "can't look up the keys"},
	} {
		f.config.Requests = c.keys
		_, err := f.verify(t.Context(), []byte(c.token), site)
		if c.wrong == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.wrong, c.name)
		}
	}
	f.config.Requests = []RequestKeys{{Keys: &jwks.Index{}}}
	a := f.postSign(f.token(nil))
	assert.Equal(t, http.StatusInternalServerError, a.StatusCode)
	assert.Equal(t, "internal", a.json(t)["error"])
	f.config.Requests, f.config.MinKeyBits = []RequestKeys{{Keys: clientKeys(t)}}, 4096
	_, err := f.verify(t.Context(), []byte(f.token(nil)), site)
	require.ErrorContains(t, err, "too small")
}

// TestRequestIssuers: keys that say whose they are verify requests of that issuer
// only, and two issuers may have one kid.
func TestRequestIssuers(t *testing.T) {
	one, err := jwks.NewKey("key-1", "RS512", &clientKey().PublicKey)
	require.NoError(t, err)
	two, err := jwks.NewKey("key-1", "RS512", &foreignKey().PublicKey)
	require.NoError(t, err)
	index, skipped := jwks.NewIndex(jwks.Keys{one.For("client-1"), two.For("client-2")})
	require.Empty(t, skipped)
	// What doesn't know of issuers must not make the keys anybody's.
	plain := struct{ jwks.KeySource }{givenKey{one.For("client-1")}}
	for _, c := range []struct {
		name   string
		keys   jwks.KeySource
		signer *rsa.PrivateKey
		iss    string
		wrong  string
	}{
		{"its own", index, clientKey(), "client-1", ""},
		{"the other's own", index, foreignKey(), "client-2", ""},
		{"names the other", index, clientKey(), "client-2", "signature is not valid"},
		{"is named by the other", index, foreignKey(), "client-1", "signature is not valid"},
		{"names nobody", index, clientKey(), "client-3", "kid is that of no key"},
		{"plain source", plain, clientKey(), "client-1", ""},
		{"plain source, another issuer", plain, clientKey(), "client-2", "kid is that of no key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(config *Config) { config.Requests = []RequestKeys{{Audience: base, Keys: c.keys}} })
			token := signToken(t, c.signer, "key-1", f.goodClaims(map[string]any{"iss": c.iss}))
			_, err := f.verify(t.Context(), []byte(token), site)
			if c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.wrong)
			}
			assert.NotContains(t, f.log.String(), "don't say whose they are")
		})
	}
}

// givenKey is a source with one key for all.
type givenKey struct{ key *jwks.Key }

func (g givenKey) Key(context.Context, string) (*jwks.Key, error) { return g.key, nil }

// TestUnboundKeysWarn: keys that say nothing are as good as before, and the log
// tells once what that means.
func TestUnboundKeysWarn(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Requests[0].Audience = base })
	for range 2 {
		_, err := f.verify(t.Context(), []byte(f.token(map[string]any{"iss": "anybody"})), site)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, strings.Count(f.log.String(), "don't say whose they are"))
	f = newFixture(t, func(c *Config) { c.Requests[0].Issuer = "client-1" })
	_, err := f.verify(t.Context(), []byte(f.token(nil)), site)
	require.NoError(t, err)
	assert.NotContains(t, f.log.String(), "don't say whose they are")
}

// TestOriginOfRequest: a request made for one of the hub's sites can't be signed
// from another of them.
func TestOriginOfRequest(t *testing.T) {
	f := newFixture(t, nil)
	a := f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(f.token(nil)), header: map[string]string{"Origin": "http://localhost:8080"}})
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
	f.nothingLeft(a)
	a = f.do(call{
		method: http.MethodPost, path: "/hub/v1/sign", body: signBody(f.token(map[string]any{"aud": "http://localhost:8080/x"})),
		header: map[string]string{"Origin": "http://localhost:8080"},
	})
	assert.Equal(t, http.StatusOK, a.StatusCode, a.body)
}

func TestNew(t *testing.T) {
	good := func() Config {
		return Config{Origins: []string{site}, Requests: []RequestKeys{{Keys: &jwks.Index{}}}, Signer: &testSigner{}, Consent: ConsentNever()}
	}
	h, err := New(good())
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	assert.Equal(t, 43480, h.port)
	origins := func(all ...string) func(*Config) { return func(c *Config) { c.Origins = all } }
	for wrong, change := range map[string]func(*Config){
		"Signer is required":       func(c *Config) { c.Signer = nil },
		"Consent is required":      func(c *Config) { c.Consent = nil },
		"Origins is required":      origins(),
		"Requests is required":     func(c *Config) { c.Requests = nil },
		"exclude each other":       func(c *Config) { c.UnsignedRequests, c.HubOneOnly = true, true },
		"has no Keys":              func(c *Config) { c.Requests[0].Keys = nil },
		"is no http or https URL":  func(c *Config) { c.Requests[0].Audience = "x" },
		"write https://a.example":  origins("https://a.example/"),
		"write https://b.example":  origins("https://b.example:443"),
		"write https://c.example":  origins("https://C.example"),
		"write https://d.example":  origins("https://d.example/path?q"),
		`"null" must be a scheme`:  origins("null"),
		`"*" must be a scheme`:     origins("*"),
		"https://*.example":        origins("https://*.example"),
		"must begin with https://": origins(site, "http://e.example"),
		"the host localhost":       func(c *Config) { c.Address = "192.0.2.1:80" },
		"a host and a port":        func(c *Config) { c.Address = "localhost" },
		"a port from 1 to 65535":   func(c *Config) { c.Address = "localhost:0" },
		"MinKeyBits":               func(c *Config) { c.MinKeyBits = 1024 },
		"Leeway":                   func(c *Config) { c.Leeway = 25 * time.Hour },
		"UserTimeout":              func(c *Config) { c.UserTimeout = -1 },
	} {
		c := good()
		change(&c)
		_, err := New(c)
		require.ErrorContains(t, err, wrong)
	}
	for _, origin := range []string{"https://a.example", "https://a.example:8443", "http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:8080"} {
		c := good()
		c.Origins = []string{origin}
		h, err := New(c)
		require.NoError(t, err, origin)
		require.NoError(t, h.Close())
	}
}
