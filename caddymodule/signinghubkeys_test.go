package caddymodule

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// clientWith is a client block whose only key is a test key under a kid.
func clientWith(t testing.TB, id, kid, key string) string {
	t.Helper()
	public, err := jwks.NewKey(kid, "RS512", issuerOf(t, key).key.Public())
	require.NoError(t, err)
	text, err := json.Marshal(jwks.JWKS{Keys: jwks.Keys{public}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), id+".json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return fmt.Sprintf("client %s {\n keys file %s\n callback https://app.example/cb\n}\n", id, path)
}

// TestSigningHubIssuers: a hub takes a client's key for this client only, and two
// clients of one API may have one kid.
func TestSigningHubIssuers(t *testing.T) {
	port := freePort(t)
	base := fmt.Sprintf("http://127.0.0.1:%d/signing-service", port)
	s := newHubSite(t, base, "consent never")
	load(t, globals("storage memory "+t.Name()+"\n"+clientWith(t, "client-1", "key-1", "test-4096")+clientWith(t, "client-2", "key-1", "attacker-4096"))+
		s.caddyfile()+fmt.Sprintf("http://127.0.0.1:%d {\n bind 127.0.0.1\n handle_path /signing-service/* {\n signing_api {\n base_url %s\n mock on\n publish_keys on\n}\n}\n}\n", port, base))

	api := fmt.Sprintf("127.0.0.1:%d", port)
	resp := raw(t, api, "GET /signing-service"+wellKnownJWKS+" HTTP/1.1\r\nHost: "+api+"\r\nConnection: close\r\n\r\n")
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	require.Equal(t, 2, strings.Count(resp.text, `"kid":"key-1"`), resp.text)
	require.Contains(t, resp.text, `"signpost_iss":"client-1"`)
	require.Contains(t, resp.text, `"signpost_iss":"client-2"`)

	request := func(key, iss string) string {
		issuer := issuerOf(t, key)
		issuer.kid = "key-1"
		return issuer.signatureRequest(t, map[string]any{"aud": base, "iss": iss, "jti": rand.Text()})
	}
	require.Eventually(t, func() bool { return s.sign(t, request("test-4096", "client-1")).StatusCode == http.StatusOK }, 20*time.Second, 50*time.Millisecond)
	requireSigned(t, s.sign(t, request("attacker-4096", "client-2")))
	for _, c := range []struct{ key, iss string }{{"test-4096", "client-2"}, {"attacker-4096", "client-1"}, {"test-4096", "client-3"}} {
		resp := s.sign(t, request(c.key, c.iss))
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, resp.text)
	}
}

// TestSigningHubSeeds: keys of the same address that were read for something
// else, without whose they are, are not the hub's.
func TestSigningHubSeeds(t *testing.T) {
	key, err := jwks.NewKey("test-4096", "RS512", issuerOf(t, "test-4096").key.Public())
	require.NoError(t, err)
	text, err := json.Marshal(jwks.JWKS{Keys: jwks.Keys{key.For("client-2")}})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	t.Cleanup(server.Close)
	base := server.URL + "/signing-service"
	s := newHubSite(t, base, "consent never")
	load(t, globals(fmt.Sprintf("key_set other {\n source url %s%s\n issuer x\n}\n", base, wellKnownJWKS))+s.caddyfile())
	for _, c := range []struct {
		iss  string
		want int
	}{{"client-1", http.StatusBadRequest}, {"client-2", http.StatusOK}} {
		resp := s.sign(t, issuerOf(t, "test-4096").signatureRequest(t, map[string]any{"aud": base, "iss": c.iss}))
		require.Equal(t, c.want, resp.StatusCode, resp.text)
	}
}

// TestSigningHubManyKeys: a hub reads the thousandth key of an API, too.
func TestSigningHubManyKeys(t *testing.T) {
	key, err := jwks.NewKey("test-4096", "RS512", issuerOf(t, "test-4096").key.Public())
	require.NoError(t, err)
	var all jwks.Keys
	for i := range 999 {
		all = append(all, key.For(fmt.Sprint("other-", i)))
	}
	text, err := json.Marshal(jwks.JWKS{Keys: append(all, key.For("client-1"))})
	require.NoError(t, err)
	require.Greater(t, len(text), jwks.MaxURLBytes)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	t.Cleanup(server.Close)
	s := newHubSite(t, server.URL+"/signing-service", "consent never")
	load(t, globals("")+s.caddyfile())
	requireSigned(t, s.sign(t, s.request(t)))
}
