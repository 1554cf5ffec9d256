package caddymodule

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/jwks"
)

// TestPublishTooManyKeys: the load warns of more keys than hubs read.
func TestPublishTooManyKeys(t *testing.T) {
	var all jwks.Keys
	for i := range signing.MaxPublishedKeys {
		key, err := jwks.NewKey(fmt.Sprint(i), "", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
		require.NoError(t, err)
		all = append(all, key)
	}
	text, err := json.Marshal(jwks.JWKS{Keys: all})
	require.NoError(t, err)
	client := func(id string) string {
		return fmt.Sprintf("client %s {\n keys inline `%s`\n callback https://app.example/cb\n}\n", id, text)
	}
	for _, c := range []struct {
		name, clients, options string
		warns                  bool
	}{
		{"as many as can be", client("a"), "publish_keys on", false},
		{"more", client("a") + client("b"), "publish_keys on", true},
		{"more, not published", client("a") + client("b"), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			file := globals("storage memory "+strings.ReplaceAll(t.Name(), "/", "-")+"\n"+c.clients) +
				fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n signing_api {\n base_url %s\n mock on\n %s\n }\n}\n", freePort(t), signingBase, c.options)
			load(t, strings.Replace(file, "output discard", "output file "+log+" {\n roll_disabled\n}", 1))
			logged, err := os.ReadFile(log)
			require.NoError(t, err)
			require.Contains(t, string(logged), "mock is on")
			require.Equal(t, c.warns, strings.Contains(string(logged), `"keys":2000,"read":1000`))
		})
	}
}
