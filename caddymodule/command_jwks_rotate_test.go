package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

func TestJWKSRotate(t *testing.T) {
	dir := t.TempDir()
	set := filepath.Join(dir, "platform.jwks.json")
	mustRun(t, "jwks", "generate", "--kid", "old", "--alg", "EdDSA", "--private", filepath.Join(dir, "old.key.pem"), "--public", set)
	require.NoError(t, os.Chmod(set, 0o640))

	out := mustRun(t, "jwks", "rotate", set, "--kid", "new", "--alg", "ES256")
	private := filepath.Join(dir, "new.key.pem")
	assert.Equal(t, `added    new to `+set+`, which has: old, new
private  `+private+` (only for whoever signs)

Next:
1. Publish `+set+`, if it isn't served from where it is.
2. Wait until all consumers have fetched it: their refresh interval, or the
   max-age that it is published with (10 minutes each, where nothing else is set).
3. Sign with the new private key and the kid new.
4. When the last token that the old key signed has ended:
   caddy signpost jwks rotate `+set+` --retire old
`, out)
	requireMode(t, set, 0o640)
	requireMode(t, private, 0o600)
	assert.Equal(t, []string{"old", "new"}, usableKids(t, set))
	_, err := jwks.ParsePrivateKey(readFile(t, private))
	require.NoError(t, err)
	assert.Equal(t, []string{"new.key.pem", "old.key.pem", "platform.jwks.json"}, names(t, dir), "nothing else is left")

	out = mustRun(t, "jwks", "rotate", set, "--retire", "old")
	assert.Contains(t, out, "removed  old from "+set+", which has: new\n")
	assert.Equal(t, []string{"new"}, usableKids(t, set))
	requireMode(t, set, 0o640)

	before := readFile(t, set)
	for says, args := range map[string][]string{
		`a key with the kid "new" is in the file already`:      {"--kid", "new", "--alg", "EdDSA"},
		`without the key "new" no usable key would be left`:    {"--retire", "new"},
		`no key of the file has the kid "old"; there are: new`: {"--retire", "old"},
		`no key of the file has the kid ""`:                    {"--retire", ""},
		"old.key.pem exists already":                           {"--kid", "old", "--alg", "EdDSA"},
		"none of the others can be":                            {"--kid", "x", "--retire", "new"},
		"can't be the name of a file":                          {"--kid", "a/b", "--alg", "EdDSA"},
	} {
		_, err := runCommand(t, "", append([]string{"jwks", "rotate", set}, args...)...)
		require.ErrorContains(t, err, says)
	}
	assert.Equal(t, string(before), string(readFile(t, set)))
	assert.Equal(t, []string{"new.key.pem", "old.key.pem", "platform.jwks.json"}, names(t, dir))
}

// What isn't understood stays, to the last digit and escape.
func TestJWKSRotateKeepsWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	set := filepath.Join(dir, "set.json")
	writeFile(t, set, "\xef\xbb\xbf"+mixedSet)
	var printed struct {
		Kid  string
		Keys []keyShown
	}
	out := mustRun(t, "jwks", "rotate", set, "--alg", "EdDSA", "--private", filepath.Join(dir, "k"), "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	assert.Len(t, printed.Keys, 5)

	kept := compactJSON(t, string(readFile(t, set)))
	want := strings.TrimSuffix(compactJSON(t, mixedSet), `],"more":{"a":[1.50]}}`)
	assert.True(t, strings.HasPrefix(kept, want+`,{"crv":"Ed25519","kty":"OKP","x":"`), kept)
	assert.True(t, strings.HasSuffix(kept, `"kid":"`+printed.Kid+`","alg":"EdDSA","use":"sig"}],"more":{"a":[1.50]}}`), kept)

	mustRun(t, "jwks", "rotate", set, "--retire", printed.Kid)
	assert.Equal(t, compactJSON(t, mixedSet), compactJSON(t, string(readFile(t, set))))
	// A key that can't be used can be removed, too.
	mustRun(t, "jwks", "rotate", set, "--retire", "shared")
	assert.Equal(t, []string{"good"}, usableKids(t, set))
	assert.NotContains(t, string(readFile(t, set)), "shared")
}

// compactJSON takes out blanks, which no string of the test's set has, and
// nothing else.
func compactJSON(t *testing.T, text string) string {
	t.Helper()
	require.True(t, json.Valid([]byte(text)), text)
	return strings.NewReplacer(" ", "", "\n", "").Replace(text)
}

func TestJWKSRotateRefusals(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, "jwks", "generate", "--kid", "a", "--bits", "2048", "--out", dir)
	for text, says := range map[string]string{
		"hello": "found neither JSON nor PEM; expected a JWK set",
		string(readFile(t, filepath.Join(dir, "a.key.pem"))): `found PEM, expected a JWK set`,
		`{"kty":"OKP"}`:         "found a single JWK, expected a JWK set",
		`{"keys":{}}`:           "keys is not an array",
		`{"keys":[],"keys":[]}`: "two members named keys",
		`{"keys":[]}`:           "",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`: "1 keys of the new set could be used, not 2: the key has no kid",
	} {
		set := filepath.Join(t.TempDir(), "set.json")
		writeFile(t, set, text)
		out, err := runCommand(t, "", "jwks", "rotate", set, "--alg", "EdDSA", "--kid", "new")
		if says == "" {
			require.NoError(t, err)
			assert.NotContains(t, out, "--retire", "there is no old key")
			continue
		}
		require.ErrorContains(t, err, says)
		assert.Equal(t, text, string(readFile(t, set)))
		assert.Equal(t, []string{"set.json"}, names(t, filepath.Dir(set)), "no key is left over")
	}
	_, err := runCommand(t, "", "jwks", "rotate", filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "jwks generate makes the first key of a set")
	_, err = runCommand(t, "", "jwks", "rotate", "-")
	require.ErrorContains(t, err, "the key set must be in a file")
}

// Behind a link, the file that it leads to is replaced, not the link.
func TestJWKSRotateFollowsLinks(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(other, "real.json"), mixedSet)
	link := filepath.Join(dir, "set.json")
	require.NoError(t, os.Symlink(filepath.Join(other, "real.json"), link))
	mustRun(t, "jwks", "rotate", link, "--alg", "EdDSA", "--kid", "new")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSymlink)
	assert.Equal(t, []string{"good", "new"}, usableKids(t, filepath.Join(other, "real.json")))
	assert.Equal(t, []string{"real.json"}, names(t, other))
	assert.Equal(t, []string{"new.key.pem", "set.json"}, names(t, dir))
}

func TestReplaceFile(t *testing.T) {
	t.Chdir(t.TempDir()) // names without a folder, too
	writeFile(t, "f", "one")
	require.NoError(t, replaceFile("f", []byte("one"), []byte("two")))
	assert.Equal(t, "two", string(readFile(t, "f")))
	// Somebody else was faster.
	require.ErrorContains(t, replaceFile("f", []byte("one"), []byte("three")), "was changed by another program meanwhile")
	assert.Equal(t, "two", string(readFile(t, "f")))
	assert.Equal(t, []string{"f"}, names(t, "."))
	require.Error(t, replaceFile("none", nil, nil))
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11": "2026-11", "https://a.example/1": "https://a.example/1", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a\x1b": `"a\x1b"`,
	} {
		assert.Equal(t, want, shellWord(in))
	}
}
