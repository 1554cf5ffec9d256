package caddymodule

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/jwks"
)

func jwksTestdata(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("../jwks/testdata/" + name)
	require.NoError(t, err)
	return content
}

// testIssuer signs tokens with one of the test keys.
type testIssuer struct {
	key crypto.Signer
	kid string
}

// issuerOf has the private key of the vectors' key set with this id.
func issuerOf(t testing.TB, kid string) testIssuer {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	require.NoError(t, json.Unmarshal(jwksTestdata(t, "signing_keys_TEST_ONLY.json"), &set))
	for _, raw := range set.Keys {
		var named struct{ Kid string }
		require.NoError(t, json.Unmarshal(raw, &named))
		if named.Kid == kid {
			key, err := jwks.ParsePrivateKey(raw)
			require.NoError(t, err)
			return testIssuer{key, kid}
		}
	}
	t.Fatalf("there is no test key %q", kid)
	return testIssuer{}
}

// token signs claims on top of good ones; nil removes one.
func (i testIssuer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := clock().Unix()
	all := map[string]any{"iss": "client-1", "sub": "user-1", "aud": "https://api.example.org", "iat": now, "exp": now + 300}
	for name, value := range claims {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	token, err := jwks.Sign(jwks.SignRequest{Alg: "RS512", Kid: i.kid, Typ: "JWT", Claims: all, Key: i.key})
	require.NoError(t, err)
	return token
}

// keyFile writes the vectors' public keys and returns the path.
func keyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, os.WriteFile(path, jwksTestdata(t, "signing_jwks.json"), 0o600))
	return path
}

func clientKeys(t testing.TB) string {
	return fmt.Sprintf("key_set client {\n source file %s\n issuer client-1\n}\n", keyFile(t))
}

// serveSite runs a site on a port of its own and returns its address.
func serveSite(t testing.TB, signpost, site string) string {
	t.Helper()
	port := freePort(t)
	load(t, globals(signpost)+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n%s\n}\n", port, site))
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// get sends a GET with header lines as they are.
func get(t testing.TB, addr, path string, lines ...string) answer {
	t.Helper()
	return raw(t, addr, "GET "+path+" HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n"+strings.Join(append(lines, "\r\n"), "\r\n"))
}

// TestJWKSVectors sends every case of the token vectors to a real listener:
// as they are, to one whose clock stands at their time, and signed anew for the
// present.
func TestJWKSVectors(t *testing.T) {
	var vectors struct {
		Now   int64
		Cases []struct{ ID, Token, Expect, Note, Scope string }
	}
	require.NoError(t, json.Unmarshal(jwksTestdata(t, "signing_jwts.json"), &vectors))
	require.Len(t, vectors.Cases, 66)
	site := `jwks_auth {
		key_set client
		min_key_bits 4096
		audience https://sign.example.test/signing-service
		require iss sub aud exp iat
		types JWT
		max_lifetime 600s
		claim sub header X-Subject
	}
	reverse_proxy `
	now := time.Now().Unix()
	for _, run := range []struct {
		name  string
		now   int64
		token func(string) string
	}{
		{"as they are", vectors.Now, func(token string) string { return token }},
		{"signed anew", now, newResigner(t, now-vectors.Now)},
	} {
		t.Run(run.name, func(t *testing.T) {
			setClock(t, run.now)
			up := newUpstream(t)
			addr := serveSite(t, clientKeys(t), site+up.Listener.Addr().String())
			for _, c := range vectors.Cases {
				token := run.token(c.Token)
				if strings.TrimSpace(token) != token {
					continue // no header's value can end so
				}
				t.Run(c.ID, func(t *testing.T) {
					resp := get(t, addr, "/a", "Authorization: Bearer "+token)
					got := up.take()
					if c.Expect == "accept" || c.Scope == "signing" && !strings.Contains(c.Note, "exp") {
						require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", c.Note, resp.text)
						require.Len(t, got, 1)
						require.NotEmpty(t, got[0].header.Get("X-Subject"))
						require.Empty(t, got[0].header.Get("Authorization"))
						return
					}
					require.Empty(t, got, c.Note)
					// A line break in a header is no HTTP; what looks like two
					// tokens is a faulty request.
					require.Contains(t, []int{http.StatusUnauthorized, http.StatusBadRequest}, resp.StatusCode, "%s: %s", c.Note, resp.text)
					if resp.StatusCode == http.StatusUnauthorized {
						require.Contains(t, resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`)
					}
				})
			}
		})
	}
}

// TestJWKSAuth: what the options do, over a real listener.
func TestJWKSAuth(t *testing.T) {
	issuer := issuerOf(t, "test-4096")
	good := issuer.token(t, nil)
	revoked := filepath.Join(t.TempDir(), "revoked.txt")
	require.NoError(t, os.WriteFile(revoked, []byte("gone\n"), 0o600))
	const bearer = "Authorization: Bearer "
	for _, c := range []struct {
		name, options, path string
		lines               []string
		status              int
		check               func(t *testing.T, resp answer, got []seen)
	}{
		{"good", "", "/", []string{bearer + good}, 200, nil},
		{"none", "", "/", nil, 401, func(t *testing.T, resp answer, _ []seen) {
			require.Equal(t, `Bearer realm="jwks"`, resp.Header.Get("WWW-Authenticate"))
		}},
		{"realm", "realm clinics", "/", nil, 401, func(t *testing.T, resp answer, _ []seen) {
			require.Equal(t, `Bearer realm="clinics"`, resp.Header.Get("WWW-Authenticate"))
		}},
		{"two", "", "/", []string{bearer + good, bearer + good}, 400, nil},
		{"basic", "", "/", []string{"Authorization: Basic YTpi"}, 401, nil},
		{"audience", "audience https://api.example.org", "/", []string{bearer + good}, 200, nil},
		{"other audience", "audience https://other.example.org", "/", []string{bearer + good}, 401, nil},
		{"other algorithm", "algorithms RS256", "/", []string{bearer + good}, 401, nil},
		{"large keys only", "min_key_bits 8192", "/", []string{bearer + good}, 401, nil},
		{"required claim", "require exp roles", "/", []string{bearer + good}, 401, nil},
		{"optional without", "optional\nclaim sub header X-Subject", "/", []string{"X_Subject: admin", "x-subject: admin"}, 200, func(t *testing.T, _ answer, got []seen) {
			require.NotContains(t, fmt.Sprint(got[0].header), "admin")
		}},
		{"optional with a bad one", "optional", "/", []string{bearer + good + "x"}, 401, nil},
		{"claims", "claim sub header X-Subject\nclaim realm.roles header X-Roles\nclaim realm header X-Realm json\nclaim none header X-None", "/",
			[]string{bearer + issuer.token(t, map[string]any{"realm": map[string]any{"roles": []string{"a", "b"}}}), "X-Roles: root", "X-None: root", "Connection: X-Subject"}, 200,
			func(t *testing.T, _ answer, got []seen) {
				require.Equal(t, []string{"user-1"}, got[0].header["X-Subject"])
				require.Equal(t, []string{"a,b"}, got[0].header["X-Roles"])
				require.JSONEq(t, `{"roles":["a","b"]}`, got[0].header.Get("X-Realm"))
				require.Empty(t, got[0].header["X-None"])
			}},
		{"control characters", "claim sub header X-Subject", "/", []string{bearer + issuer.token(t, map[string]any{"sub": "a\r\nX-Role: root"})}, 401, nil},
		{"forwarded", "forward_token on", "/", []string{bearer + good}, 200, func(t *testing.T, _ answer, got []seen) {
			require.Equal(t, "Bearer "+good, got[0].header.Get("Authorization"))
		}},
		{"removed", "", "/", []string{bearer + good}, 200, func(t *testing.T, _ answer, got []seen) {
			require.Empty(t, got[0].header["Authorization"])
		}},
		{"cookie", "token_from cookie session", "/", []string{"Cookie: a=b; session=" + good + "; c=d"}, 200, func(t *testing.T, _ answer, got []seen) {
			require.Equal(t, "a=b; c=d", got[0].header.Get("Cookie"))
		}},
		{"query", "token_from query access_token", "/x?a=b&access_token=" + good + "&c=d", nil, 200, func(t *testing.T, _ answer, got []seen) {
			require.Equal(t, "/x?a=b&c=d", got[0].uri)
		}},
		{"two places", "token_from header Authorization Bearer\ntoken_from cookie session", "/", []string{bearer + good, "Cookie: session=" + good}, 400, nil},
		{"revoked", "revoked file " + revoked, "/", []string{bearer + issuer.token(t, map[string]any{"jti": "gone"})}, 401, nil},
		{"not revoked", "revoked file " + revoked, "/", []string{bearer + good}, 200, nil},
		{"standard library", "rsa_verify stdlib", "/", []string{bearer + good}, 200, nil},
		{"long life", "max_lifetime 1m", "/", []string{bearer + good}, 401, nil},
		{"handled", "errors handle", "/", nil, 401, func(t *testing.T, resp answer, _ []seen) {
			require.Contains(t, resp.text, "handled 401 ")
			require.NotEmpty(t, resp.Header.Get("WWW-Authenticate"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newUpstream(t)
			addr := serveSite(t, clientKeys(t), fmt.Sprintf("jwks_auth {\n%s\n}\nreverse_proxy %s\nhandle_errors {\n respond \"handled {err.status_code} {err.message}\"\n}", c.options, up.Listener.Addr()))
			resp := get(t, addr, c.path, c.lines...)
			got := up.take()
			require.Equal(t, c.status, resp.StatusCode, resp.text)
			if c.status == http.StatusOK {
				require.Len(t, got, 1)
			} else {
				require.Empty(t, got)
			}
			if c.check != nil {
				c.check(t, resp, got)
			}
		})
	}
}

// TestJWKSPreflight: a preflight passes when that is asked for, and nothing
// else does.
func TestJWKSPreflight(t *testing.T) {
	addr := serveSite(t, clientKeys(t), "jwks_auth {\n allow_preflight\n}\nrespond ok")
	options := func(lines string) int {
		return raw(t, addr, "OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+lines+"\r\n").StatusCode
	}
	require.Equal(t, 200, options("Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n"))
	require.Equal(t, 401, options("Origin: https://a.example\r\n"))
	require.Equal(t, 401, get(t, addr, "/", "Origin: https://a.example", "Access-Control-Request-Method: PUT").StatusCode)
}

// TestJWKSClaims: placeholders and the matcher tell the verified claims.
func TestJWKSClaims(t *testing.T) {
	addr := serveSite(t, clientKeys(t), `
	@admin signpost_claim realm.roles root admin
	@verified signpost_claim email_verified true
	jwks_auth {
		optional
	}
	respond @admin "admin {http.auth.user.id} {http.auth.user.realm.roles} {http.auth.user.level}"
	respond @verified "verified"
	respond "user {http.auth.user.id}|{http.auth.user.name}"`)
	issuer := issuerOf(t, "test-4096")
	ask := func(claims map[string]any) string {
		return get(t, addr, "/", "Authorization: Bearer "+issuer.token(t, claims)).text
	}
	require.Equal(t, "admin user-1 admin,dev 3", ask(map[string]any{"realm": map[string]any{"roles": []string{"admin", "dev"}}, "level": 3}))
	require.Equal(t, "verified", ask(map[string]any{"email_verified": true}))
	require.Equal(t, "user user-1|", ask(map[string]any{"email_verified": false}))
	require.Equal(t, "user user-1|Ada", ask(map[string]any{"name": "Ada", "realm": map[string]any{"roles": "administrator"}}))
	require.Equal(t, "user |", get(t, addr, "/").text)
}

// TestJWKSProvider: the provider form lets the stock handler decide, which can
// say nothing but 401.
func TestJWKSProvider(t *testing.T) {
	port := freePort(t)
	cfg, err := adaptCaddyfile(t, globals(clientKeys(t))+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n respond \"{http.auth.user.id} {http.auth.user.aud}\"\n}\n", port))
	require.NoError(t, err)
	const respond = `{"body":`
	require.Contains(t, string(cfg), respond)
	cfg = []byte(strings.Replace(string(cfg), respond, `{"handler":"authentication","providers":{"jwks":{"key_sets":["client"],"audience":["https://api.example.org"]}}},`+respond, 1))
	loadJSON(t, cfg)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	issuer := issuerOf(t, "test-4096")
	require.Equal(t, "user-1 https://api.example.org", get(t, addr, "/", "Authorization: Bearer "+issuer.token(t, nil)).text)
	resp := get(t, addr, "/", "Authorization: Bearer "+issuer.token(t, map[string]any{"aud": "other"}))
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Contains(t, resp.Header.Get("WWW-Authenticate"), "invalid_token")

	bad := strings.Replace(string(cfg), `"key_sets":["client"]`, `"key_sets":["client"],"optional":true`, 1)
	require.ErrorContains(t, caddy.Load([]byte(bad), true), "need the directive jwks_auth")
}

// TestJWKSPublish: a key set is served to others, without what can't be used.
func TestJWKSPublish(t *testing.T) {
	addr := serveSite(t, clientKeys(t), "handle /sub/* {\n jwks_publish client\n}\njwks_publish client\nrespond other")
	resp := get(t, addr, wellKnownJWKS)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Cache-Control"), "max-age=600")
	require.NotContains(t, resp.text, `"oct"`)
	keys, skipped, err := jwks.Parse([]byte(resp.text), jwks.Limits{})
	require.NoError(t, err)
	require.Empty(t, skipped)
	require.Len(t, keys, 5)
	require.Equal(t, http.StatusNotModified, get(t, addr, wellKnownJWKS, "If-None-Match: "+resp.Header.Get("ETag")).StatusCode)
	require.Equal(t, "other", get(t, addr, "/").text)
	require.Equal(t, resp.text, get(t, addr, "/sub"+wellKnownJWKS).text)
}

// TestJWKSUnavailable: without keys the answer is 503, health says so, and
// keys that come end that without a reload.
func TestJWKSUnavailable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	addr := serveSite(t, fmt.Sprintf("key_set client {\n source file %s\n issuer client-1\n}\n", path), "signpost_health /health/*\njwks_auth {\n key_set client\n}\nrespond ok")
	token := "Authorization: Bearer " + issuerOf(t, "test-4096").token(t, nil)
	// The order of directives has jwks_auth before signpost_health.
	resp := get(t, addr, "/", token)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Empty(t, resp.Header.Get("WWW-Authenticate"))
	require.Contains(t, resp.text, "keys_unavailable")
	require.Equal(t, []string{"client"}, appRunning(t).ready(t.Context()).KeySets)

	require.NoError(t, os.WriteFile(path, jwksTestdata(t, "signing_jwks.json"), 0o600))
	require.Eventually(t, func() bool { return get(t, addr, "/", token).StatusCode == http.StatusOK }, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, "ok", appRunning(t).ready(t.Context()).Status)
}

// TestKeySetsAcrossReloads: a key set that a reload doesn't change keeps its
// keys and fetches nothing; one that leaves the configuration leaves nothing
// behind.
func TestKeySetsAcrossReloads(t *testing.T) {
	var fetches int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches++
		_, _ = io.Copy(w, bytes.NewReader(jwksTestdata(t, "signing_jwks.json")))
	}))
	defer server.Close()
	set := "key_set client {\n source url " + server.URL + "\n issuer client-1\n}\n"
	token := "Authorization: Bearer " + issuerOf(t, "test-4096").token(t, nil)
	for i := range 5 {
		addr := serveSite(t, set, fmt.Sprintf("jwks_auth {\n claim sub header X-%d\n}\nrespond ok", i))
		require.Equal(t, http.StatusOK, get(t, addr, "/", token).StatusCode)
	}
	require.Equal(t, 1, fetches)
	// The handler's own key set, twice the same.
	own := "jwks_auth {\n source url " + server.URL + "\n issuer client-1\n}\n"
	addr := serveSite(t, "", "route /a {\n"+own+"respond ok\n}\nroute /b {\n"+own+"respond ok\n}")
	require.Equal(t, http.StatusOK, get(t, addr, "/a", token).StatusCode)
	require.Equal(t, http.StatusOK, get(t, addr, "/b", token).StatusCode)
	require.Equal(t, 2, fetches)
	refs, exist := keySets.References(appKeySet(t).pooled.key)
	require.True(t, exist)
	require.Equal(t, 1, refs)
	require.NoError(t, caddy.Stop())
	keySets.Range(func(key, _ any) bool {
		t.Errorf("the key set %v is still there", key)
		return true
	})
}

func appKeySet(t testing.TB) *KeySet {
	t.Helper()
	for _, k := range appRunning(t).keySets {
		return k
	}
	t.Fatal("no key set")
	return nil
}

// TestJWKSTwice: where a request passes two checks the later one counts, for
// placeholders, matcher and headers alike.
func TestJWKSTwice(t *testing.T) {
	addr := serveSite(t, clientKeys(t), `
	route {
		jwks_auth {
			token_from cookie a
			optional
		}
		jwks_auth {
			token_from cookie b
			optional
			claim sub header X-Subject
		}
		@alice signpost_claim sub alice
		@bob signpost_claim sub bob
		respond @alice "alice {http.auth.user.id} {http.auth.user.sub} {header.X-Subject}"
		respond @bob "bob {http.auth.user.id} {http.auth.user.sub} {header.X-Subject}"
		respond "nobody {http.auth.user.id} {http.auth.user.sub} {header.X-Subject}"
	}`)
	issuer := issuerOf(t, "test-4096")
	alice, bob := issuer.token(t, map[string]any{"sub": "alice"}), issuer.token(t, map[string]any{"sub": "bob"})
	require.Equal(t, "bob bob bob bob", get(t, addr, "/", "Cookie: a="+alice+"; b="+bob).text)
	require.Equal(t, "bob bob bob bob", get(t, addr, "/", "Cookie: b="+bob).text)
	require.Equal(t, "nobody   ", get(t, addr, "/", "Cookie: a="+alice).text)
	require.Equal(t, "nobody   ", get(t, addr, "/").text)
}

// TestKeySetAuthorities: other authorities for the key server count after a
// reload, also when they came under the same name.
func TestKeySetAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(jwksTestdata(t, "signing_jwks.json"))
	}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of failed handshakes
	file := filepath.Join(t.TempDir(), "ca.pem")
	authority := func(der []byte) {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	}
	status := func() int {
		addr := serveSite(t, fmt.Sprintf("key_set client {\n source url %s {\n trust_pool file %s\n }\n issuer client-1\n}\n", server.URL, file), "jwks_auth\nrespond ok")
		return get(t, addr, "/", "Authorization: Bearer "+issuerOf(t, "test-4096").token(t, nil)).StatusCode
	}
	wrong, err := base64.StdEncoding.DecodeString(testAuthority(t))
	require.NoError(t, err)
	authority(wrong)
	require.Equal(t, http.StatusServiceUnavailable, status())
	authority(server.Certificate().Raw)
	require.Equal(t, http.StatusOK, status())
	authority(wrong)
	require.Equal(t, http.StatusServiceUnavailable, status(), "an authority that was taken away is no longer trusted")
}

// TestKeySetKeepsKeys: a reload that changes how often keys are fetched, while
// their server is away, goes on with the keys at hand.
func TestKeySetKeepsKeys(t *testing.T) {
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write(jwksTestdata(t, "signing_jwks.json"))
	}))
	defer server.Close()
	token := "Authorization: Bearer " + issuerOf(t, "test-4096").token(t, nil)
	for _, c := range []struct {
		options string
		status  int
	}{{"refresh 1h", 200}, {"refresh 2h", 200}, {"stale_if_error 3h", 200}} {
		addr := serveSite(t, fmt.Sprintf("key_set client {\n source url %s {\n %s\n }\n issuer client-1\n fail_startup\n}\n", server.URL, c.options), "jwks_auth\nrespond ok")
		require.Equal(t, c.status, get(t, addr, "/", token).StatusCode, c.options)
		away.Store(true)
	}
}

// TestKeySetNames: a handler can't put its own keys in the place of others.
func TestKeySetNames(t *testing.T) {
	cfg, err := adaptCaddyfile(t, globals(clientKeys(t))+"http://127.0.0.1:1 {\n jwks_auth {\n source file /nonexistent\n issuer x\n }\n}\n")
	require.NoError(t, err)
	cfg = []byte(strings.Replace(string(cfg), `"keys":{`, `"keys":{"name":"client",`, 1))
	t.Cleanup(func() { _ = caddy.Stop() })
	require.ErrorContains(t, caddy.Load(cfg, true), `two different key sets have the name "client"`)
	keySets.Range(func(key, _ any) bool {
		t.Errorf("the key set %v is still there", key)
		return true
	})
}

// testAuthority is the certificate of an authority, as base64 DER.
func testAuthority(t testing.TB) string {
	t.Helper()
	key := issuerOf(t, "test-4096").key
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(der)
}
