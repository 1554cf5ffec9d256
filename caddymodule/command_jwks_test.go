package caddymodule

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// runCommand runs `caddy signpost` with these arguments.
func runCommand(t testing.TB, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "signpost", SilenceUsage: true, SilenceErrors: true}
	command().CobraFunc(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err = root.Execute()
	return out.String(), err
}

func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	out, err := runCommand(t, "", args...)
	require.NoError(t, err, out)
	return out
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// usableKids reads a file of keys.
func usableKids(t testing.TB, path string) []string {
	t.Helper()
	keys, _, err := jwks.Parse(readFile(t, path), jwks.Limits{})
	require.NoError(t, err)
	kids := make([]string, 0, len(keys))
	for _, k := range keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

func requireMode(t testing.TB, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, mode, info.Mode().Perm(), path)
}

// names lists a folder.
func names(t testing.TB, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	all := make([]string, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestJWKSGenerate(t *testing.T) {
	dir := t.TempDir()
	out := mustRun(t, "jwks", "generate", "--kid", "2026-11", "--bits", "2048", "--out", dir)
	private, public := filepath.Join(dir, "2026-11.key.pem"), filepath.Join(dir, "2026-11.jwks.json")
	assert.True(t, strings.HasPrefix(out, "kid          2026-11\nprivate key  "+private+" (only for whoever signs)\npublic key   "+public+" (for whoever verifies)\n\n{\n"), out)
	assert.NotContains(t, out, "PRIVATE")
	assert.NotContains(t, out, `"d"`)
	requireMode(t, private, 0o600)
	requireMode(t, public, 0o644)

	block, rest := pem.Decode(readFile(t, private))
	require.NotNil(t, block)
	assert.Equal(t, "PRIVATE KEY", block.Type)
	assert.Empty(t, rest)
	key, err := jwks.ParsePrivateKey(readFile(t, private))
	require.NoError(t, err)
	assert.Equal(t, 2048, key.(*rsa.PrivateKey).N.BitLen())
	keys, skipped, err := jwks.Parse(readFile(t, public), jwks.Limits{})
	require.NoError(t, err)
	require.Empty(t, skipped)
	require.Len(t, keys, 1)
	assert.Equal(t, "2026-11", keys[0].Kid)
	assert.Equal(t, "RS512", keys[0].Alg)
	assert.Equal(t, "sig", keys[0].Use)
	assert.True(t, key.Public().(*rsa.PublicKey).Equal(keys[0].Public))
	printed, _, err := jwks.Parse([]byte(out[strings.IndexByte(out, '{'):]), jwks.Limits{})
	require.NoError(t, err)
	assert.Equal(t, keys[0].Thumbprint, printed[0].Thumbprint)
}

func TestJWKSGenerateDefaultKid(t *testing.T) {
	dir := t.TempDir()
	out := mustRun(t, "jwks", "generate", "--alg", "ES256", "--private", filepath.Join(dir, "k"), "--public", filepath.Join(dir, "p"), "--json")
	var got generated
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(out, `"jwk"`, `"other"`, 1)), &got))
	keys, _, err := jwks.Parse(readFile(t, filepath.Join(dir, "p")), jwks.Limits{})
	require.NoError(t, err)
	assert.Equal(t, keys[0].Thumbprint, keys[0].Kid)
	assert.Equal(t, generated{Kid: keys[0].Kid, Alg: "ES256", Bits: 256, PrivateFile: filepath.Join(dir, "k"), PublicFile: filepath.Join(dir, "p")}, got)
	requireMode(t, filepath.Join(dir, "k"), 0o600)
}

func TestJWKSGenerateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	generate := func(args ...string) error {
		_, err := runCommand(t, "", append([]string{"jwks", "generate", "--alg", "EdDSA", "--kid", "a"}, args...)...)
		return err
	}
	private, public := filepath.Join(dir, "a.key.pem"), filepath.Join(dir, "a.jwks.json")
	writeFile(t, private, "mine")
	require.ErrorContains(t, generate("--out", dir), private+" exists already, and is never overwritten")
	assert.Equal(t, "mine", string(readFile(t, private)))
	assert.Equal(t, []string{"a.key.pem"}, names(t, dir))

	require.NoError(t, os.Rename(private, public))
	require.ErrorContains(t, generate("--out", dir), public+" exists already")
	assert.Equal(t, []string{"a.jwks.json"}, names(t, dir), "no private key is left without its public one")

	// A link that leads nowhere is something, too.
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), link))
	require.ErrorContains(t, generate("--private", link, "--public", filepath.Join(dir, "x")), "exists already")
	same := filepath.Join(dir, "same")
	require.ErrorContains(t, generate("--private", same, "--public", same), "exists already")
	assert.Equal(t, []string{"a.jwks.json", "link"}, names(t, dir))
}

func TestJWKSGenerateRefusals(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		says string
		args []string
	}{
		{`the kid "../a" can't be the name of a file`, []string{"--kid", "../a"}},
		{`the kid "a b" can't be the name of a file`, []string{"--kid", "a b"}},
		{`the kid ".a" would make hidden files`, []string{"--kid", ".a"}},
		{"printable ASCII", []string{"--kid", strings.Repeat("a", 129), "--alg", "EdDSA"}},
		{`"HS256" is not one of`, []string{"--kid", "a", "--alg", "HS256"}},
		{"2048 to 16384", []string{"--kid", "a", "--bits", "1024"}},
		{"no such file", []string{"--kid", "a", "--alg", "EdDSA", "--out", filepath.Join(dir, "none")}},
		{"none of the others can be", []string{"--kid", "a", "--out", dir, "--private", "x"}},
	} {
		args := append([]string{"jwks", "generate"}, c.args...)
		if c.args[len(c.args)-2] != "--out" && c.args[len(c.args)-2] != "--private" {
			args = append(args, "--out", dir)
		}
		_, err := runCommand(t, "", args...)
		require.ErrorContains(t, err, c.says)
	}
	assert.Empty(t, names(t, dir))
	name, err := keyFileName("-abc")
	require.NoError(t, err)
	assert.Equal(t, "_abc", name)
	// Any kid will do where the files have names.
	mustRun(t, "jwks", "generate", "--kid", "../a b", "--alg", "EdDSA", "--private", filepath.Join(dir, "k"), "--public", filepath.Join(dir, "p"))
	assert.Equal(t, []string{"../a b"}, usableKids(t, filepath.Join(dir, "p")))
}

// mixedSet has a usable key, and some that are not.
const mixedSet = `{"issuer":"x","keys":[
 {"kty":"OKP","crv":"Ed25519","kid":"good","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
 {"kty":"oct","kid":"shared","k":"AAAA"},
 {"kty":"PQC","kid":"evil\u001b[2J\ttab","big":1e400,"x":"a\u002fb"},
 7
],"more":{"a":[1.50]}}`

func TestJWKSShow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	writeFile(t, file, mixedSet)
	want := `KID                   KTY  ALG  BITS  USABLE
good                  OKP  any  256   yes
shared                oct  -    -     no: it is a symmetric key: whoever verifies with it can sign as well
"evil\x1b[2J\ttab"    PQC  -    -     no: "its kty is \"PQC\"; RSA, EC and OKP are known"
-                     -    -    -     no: it is not a JWK: jws: the JSON text is no object
`
	want = strings.ReplaceAll(want, "  KTY", "KTY")
	got := mustRun(t, "jwks", "show", file)
	assert.Equal(t, strings.Fields(want), strings.Fields(got), got)
	for _, r := range got {
		assert.True(t, r == '\n' || r >= ' ' && r <= '~', "%q", r)
	}
	fromInput, err := runCommand(t, mixedSet, "jwks", "show", "-")
	require.NoError(t, err)
	assert.Equal(t, got, fromInput)

	var list struct{ Keys []keyShown }
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, "jwks", "show", file, "--json")), &list))
	require.Len(t, list.Keys, 4)
	assert.Equal(t, keyShown{Kid: "good", Kty: "OKP", Bits: 256, Thumbprint: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", Usable: true}, list.Keys[0])
	assert.False(t, list.Keys[1].Usable)
	assert.NotEmpty(t, list.Keys[1].Reason)
}

func TestJWKSShowExitStatus(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, "jwks", "generate", "--kid", "a", "--bits", "2048", "--out", dir)
	out, err := runCommand(t, "", "jwks", "show", filepath.Join(dir, "a.jwks.json"), "--min-bits", "4096")
	require.ErrorContains(t, err, "there is no key to use")
	assert.Contains(t, out, "no: the RSA key has 2048 bits, fewer than 4096")
	out, err = runCommand(t, "", "jwks", "show", filepath.Join(dir, "a.key.pem"))
	require.ErrorContains(t, err, "there is no key to use")
	assert.Contains(t, out, "no: it is a private key")
	for says, args := range map[string][]string{
		"found neither JSON nor PEM":     {"-"},
		"--min-bits 1024: it must be":    {"-", "--min-bits", "1024"},
		"no such file":                   {filepath.Join(dir, "none")},
		"http is for loopback addresses": {"http://id.example.org/jwks.json"},
	} {
		_, err := runCommand(t, "hello", append([]string{"jwks", "show"}, args...)...)
		require.ErrorContains(t, err, says)
	}
	_, err = runCommand(t, strings.Repeat("x", jwks.DefaultMaxBytes+1), "jwks", "show", "-")
	require.ErrorContains(t, err, "standard input is longer than 4 MiB")
}

func TestJWKSShowURL(t *testing.T) {
	body := mixedSet
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/keys", http.StatusFound)
	})
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))

	assert.Contains(t, mustRun(t, "jwks", "show", server.URL+"/keys", "--cacert", authority), "good")
	_, err := runCommand(t, "", "jwks", "show", server.URL+"/moved?token=hidden", "--cacert", authority)
	require.ErrorContains(t, err, "a redirect leads from https to http: refused")
	assert.NotContains(t, err.Error(), "hidden")
	_, err = runCommand(t, "", "jwks", "show", server.URL+"/none", "--cacert", authority)
	require.ErrorContains(t, err, "found status 404, expected 200")
	body = strings.Repeat(" ", jwks.MaxURLBytes+1)
	_, err = runCommand(t, "", "jwks", "show", server.URL+"/keys", "--cacert", authority)
	require.ErrorContains(t, err, "longer than 512 KiB")

	plain := httptest.NewServer(mux)
	defer plain.Close()
	body = mixedSet
	assert.Contains(t, mustRun(t, "jwks", "show", plain.URL+"/keys"), "good")
}
