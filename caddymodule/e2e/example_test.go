//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// example is Caddyfile.example with free ports instead of its own.
type example struct {
	caddyfile                    string
	api, legacy, tokens, signing string // URLs
}

func exampleFile(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../../Caddyfile.example")
	require.NoError(t, err)
	return path
}

func newExample(t testing.TB) example {
	t.Helper()
	b, err := os.ReadFile(exampleFile(t))
	require.NoError(t, err)
	text := string(b)
	swap := make([]string, 0, 12)
	url := make(map[int]string)
	for _, old := range []int{8080, 8443, 8444, 8445, 8446, 8447} {
		require.Contains(t, text, fmt.Sprint(old))
		port := freePort(t)
		swap = append(swap, fmt.Sprint(old), fmt.Sprint(port))
		url[old] = fmt.Sprintf("https://localhost:%d", port)
	}
	return example{strings.NewReplacer(swap...).Replace(text), url[8443], url[8444], url[8446], url[8447] + "/signing-service"}
}

// startExample runs the example and waits until it has its certificates.
func startExample(t testing.TB) (*server, example) {
	t.Helper()
	ex := newExample(t)
	s := startServer(t, ex.caddyfile)
	for _, base := range []string{ex.api, ex.legacy, ex.tokens} {
		c := newClient(t, base)
		eventually(t, patience, func() (bool, string) {
			a, err := c.doAs("", http.MethodGet, "/_status", nil)
			return err == nil && a.status < 500, fmt.Sprint(base, ": ", a.status, " ", err)
		})
	}
	return s, ex
}

func TestExampleIsCanonicalAndValid(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	path := exampleFile(t)
	out := s.run(t, "fmt", "--diff", path)
	assert.Zero(t, out.code, out.all())
	for line := range strings.Lines(out.stdout) {
		assert.False(t, strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+"), "caddy fmt wants: %s", line)
	}
	adapted := s.ok(t, "adapt", "--config", path, "--adapter", "caddyfile")
	assert.Contains(t, adapted, `"notify_api"`)
	assert.Contains(t, s.run(t, "validate", "--config", path, "--adapter", "caddyfile").all(), "Valid configuration")
	assert.NoDirExists(t, filepath.Join(s.dir, "data"), "validate made a database")
}

func TestExampleRuns(t *testing.T) {
	t.Parallel()
	s, ex := startExample(t)

	t.Run("status without a token", func(t *testing.T) {
		a, err := newClient(t, ex.api).doAs("", http.MethodGet, "/_status", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, a.status, string(a.body))
	})
	t.Run("health before there are keys", func(t *testing.T) {
		a, err := newClient(t, ex.api).doAs("", http.MethodGet, "/health/ready", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		assert.JSONEq(t, `{"status":"unavailable","storage":"ok","key_sets":["client demo","demo"]}`, string(a.body))
		// As xcaddy.sh does before it starts the server.
		folder := filepath.Join(s.dir, "data")
		s.ok(t, "signpost", "jwks", "generate", "--kid", "demo",
			"--private", filepath.Join(folder, "demo.key.pem"), "--public", filepath.Join(folder, "demo.jwks.json"))
		eventually(t, patience, func() (bool, string) {
			a, err := newClient(t, ex.api).doAs("", http.MethodGet, "/health/ready", nil)
			return err == nil && a.status == http.StatusOK, fmt.Sprint(a.status, " ", err)
		})
	})
	t.Run("health", func(t *testing.T) {
		for _, path := range []string{"/health/live", "/health/ready"} {
			a, err := newClient(t, ex.api).doAs("", http.MethodGet, path, nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, a.status, "%s: %s", path, a.body)
		}
	})
	t.Run("tokens of a key set", func(t *testing.T) {
		c := newClient(t, ex.tokens)
		token := strings.TrimSpace(s.ok(t, "signpost", "jwt", "sign", "--key", filepath.Join(s.dir, "data", "demo.key.pem"),
			"--kid", "demo", "--iss", "https://id.example.org", "--aud", ex.tokens, "--sub", "somebody"))
		a, err := c.doAs("Bearer "+token, http.MethodGet, "/bookings/7", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, a.status, string(a.body))
		assert.Contains(t, string(a.body), "Hello, somebody: GET /bookings/7")
		a, err = c.doAs("", http.MethodGet, "/bookings/7", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, a.status)
	})
	t.Run("signing API, whose tokens are not logged", func(t *testing.T) {
		c := newClient(t, ex.signing)
		jwt := strings.TrimSpace(s.ok(t, "signpost", "jwt", "sign", "--key", filepath.Join(s.dir, "data", "demo.key.pem"),
			"--kid", "demo", "--iss", "demo", "--aud", ex.signing, "--sub", "555086689106",
			"--claim", "algorithm=RS256", "--claim", "payload=b25l"))
		resp, err := c.http.Post(ex.signing+"/signaturerequest", "text/plain", strings.NewReader(jwt))
		require.NoError(t, err)
		defer resp.Body.Close()
		var made struct{ Token, RedirectURI string }
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&made))
		require.Len(t, made.Token, 48)
		for _, path := range []string{"/client?mock=true&token=", "/signaturerequest/", "/signatureresponse/", "/mock/"} {
			a, err := c.doAs("", http.MethodGet, path+made.Token, nil)
			require.NoError(t, err)
			assert.NotEqual(t, http.StatusInternalServerError, a.status, path)
		}
		var log []byte
		eventually(t, patience, func() (bool, string) {
			log, err = os.ReadFile(s.log)
			return err == nil && bytes.Contains(log, []byte("/signing-service/mock/TOKEN")), "the last request is not in the log"
		})
		assert.Contains(t, string(log), "/signing-service/client?mock=true&token=TOKEN")
		assert.NotContains(t, string(log), made.Token)
	})
	t.Run("notification over TLS", func(t *testing.T) {
		c := newClient(t, ex.api)
		n := c.send(t, "12345")
		assert.Equal(t, messageStart+"12345", n.Message)
		n = c.await(t, n.ID, "delivered")
		assert.Equal(t, "log", n.Sender)
		c.base += "/api/endpoint"
		assert.Equal(t, n, c.get(t, n.ID))
	})
	t.Run("existing service", func(t *testing.T) {
		c := newClient(t, ex.legacy)
		a := c.must(t, http.StatusOK, http.MethodGet, "/bookings/7", nil)
		assert.Contains(t, string(a.body), "Hello, "+serviceID+": GET /bookings/7")
		a = c.must(t, http.StatusOK, http.MethodPost, "/bookings", []byte(`{"day":"Monday"}`))
		assert.Contains(t, string(a.body), "Hello, "+serviceID+": POST /bookings")
		a, err := c.doAs("", http.MethodGet, "/bookings/7", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, a.status)
		assert.JSONEq(t, `{"error":"Unauthorized, authentication token must be provided"}`, string(a.body))
	})
	t.Run("validate beside the running server", func(t *testing.T) {
		path := filepath.Join(s.dir, "Caddyfile")
		assert.Contains(t, s.run(t, "validate", "--config", path, "--adapter", "caddyfile").all(), "Valid configuration")
		newClient(t, ex.api).send(t, "67890")
	})
	t.Run("a second server on the same database", func(t *testing.T) {
		second := newServer(t)
		second.dir = s.dir // where the database is
		path := second.write(t, "Caddyfile.second", newExample(t).caddyfile)
		out := second.run(t, "run", "--config", path, "--adapter", "caddyfile")
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "the database is in use by", "it must say why")
		newClient(t, ex.api).send(t, "24680")
	})
	t.Run("logs hold no secrets, numbers or texts", func(t *testing.T) {
		b, err := os.ReadFile(s.log)
		require.NoError(t, err)
		for _, secret := range []string{secretOne, "7723456789", "12345\""} {
			assert.False(t, bytes.Contains(b, []byte(secret)), "the log holds %s", secret)
		}
	})
	t.Run("a clean end", func(t *testing.T) {
		s.stop(t)
		requireIntact(t, filepath.Join(s.dir, "data", "signpost.db"))
		info, err := os.Stat(filepath.Join(s.dir, "data", "signpost.db"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
}
