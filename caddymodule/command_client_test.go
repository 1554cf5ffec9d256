package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClientCommands adds, lists and removes clients of a running Caddy.
func TestClientCommands(t *testing.T) {
	admin := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", admin)
	load(t, strings.Replace(globals(signingClient(t)), "admin off", "admin "+address, 1))
	run := func(stdin string, args ...string) (string, error) {
		t.Helper()
		return runCommand(t, stdin, append([]string{"client", args[0], "--address", address}, args[1:]...)...)
	}
	const callback = "https://app.example/signed?x=1"

	// A private key among the keys stays here.
	_, err := run(string(readFile(t, privateKeyFile(t, "test-4096"))), "add", "--keys", "-", "--callback", callback)
	require.ErrorContains(t, err, "private key")

	out, err := run(publicPEM(t, "test-4096"), "add", "--keys", "-", "--callback", callback, "--name", "Ward 7", "--kid", "ward-7")
	require.NoError(t, err, out)
	fields := strings.Fields(out)
	require.Equal(t, []string{"client", "kid", "ward-7"}, []string{fields[0], fields[2], fields[3]})
	require.Len(t, fields[1], 32)

	folder := t.TempDir()
	mustRun(t, "jwks", "generate", "--kid", "small", "--bits", "2048", "--out", folder)
	out, err = run("", "add", "--keys", filepath.Join(folder, "small.jwks.json"), "--callback", callback, "--json")
	require.NoError(t, err, out)
	note, document, _ := strings.Cut(out, "\n")
	require.Contains(t, note, "refuses keys of less than 4096 bits, such as this one of 2048")
	var added struct {
		ID     string
		KeyIDs []string `json:"key_ids"`
	}
	require.NoError(t, json.Unmarshal([]byte(document), &added))
	require.Equal(t, []string{"small"}, added.KeyIDs)

	out, err = run("", "list")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	assert.Contains(t, lines[1], "client-1")
	assert.Contains(t, lines[1], "configuration")
	assert.Contains(t, out, "Ward 7")
	assert.Contains(t, out, callback)
	out, err = run("", "list", "--json")
	require.NoError(t, err)
	assert.NotContains(t, out, `"n"`)

	_, curve := newPair(t, "ed")
	for says, args := range map[string][]string{
		"required flag(s) \"callback\", \"keys\"":   {"add"},
		"must begin with https://":                  {"add", "--keys", keyFileOf(t, "ok"), "--callback", "http://app.example/"},
		"--keys: open":                              {"add", "--keys", "none", "--callback", callback},
		"--keys: jwks":                              {"add", "--keys", "-", "--callback", callback},
		`the key \"ed\" is not one for RS512`:       {"add", "--keys", curve, "--callback", callback},
		"holds a control character":                 {"add", "--keys", keyFileOf(t, "ok"), "--callback", callback, "--name", "a\nb"},
		"--kid is for one key that has no id of it": {"add", "--keys", filepath.Join(folder, "small.jwks.json"), "--kid", "x", "--callback", callback},
		"printable ASCII":                           {"add", "--keys", keyFileOf(t, "ok"), "--kid", "é", "--callback", callback},
		"remove it there":                           {"remove", "client-1"},
		"not found":                                 {"remove", strings.Repeat("a", 32)},
		"accepts 1 arg(s)":                          {"remove"},
	} {
		_, err := run("hello", args...)
		require.ErrorContains(t, err, says)
	}
	out, err = run("", "remove", added.ID)
	require.NoError(t, err)
	require.Equal(t, "removed "+added.ID+"\n", out)
	out, err = run("", "list")
	require.NoError(t, err)
	require.NotContains(t, out, added.ID)
}

// keyFileOf writes a public key without an id.
func keyFileOf(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, publicPEM(t, "test-4096"))
	return path
}

// TestClientAdmin calls the routes themselves.
func TestClientAdmin(t *testing.T) {
	admin := freePort(t)
	load(t, strings.Replace(globals(signingClient(t)), "admin off", fmt.Sprintf("admin 127.0.0.1:%d", admin), 1))
	const callback = `"callback":"https://app.example/cb"`
	text, err := json.Marshal(publicPEM(t, "test-4096"))
	require.NoError(t, err)
	keys := string(jwksTestdata(t, "signing_jwks.json"))
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "", `{` + callback + `,"keys":` + string(text) + `}`, 201, `"key_ids":["`},
		{"POST", "", `{` + callback + `,"keys":` + keys + `}`, 400, "can't be used"},
		{"POST", "", `{` + callback + `}`, 400, "the client needs keys"},
		{"POST", "", `{` + callback + `,"keys":""}`, 400, "the client needs keys"},
		{"POST", "", `{` + callback + `,"keys":null}`, 400, "the client needs keys"},
		{"POST", "", `{` + callback + `,"keys":7}`, 400, "the keys: "},
		{"POST", "", `{"keys":` + string(text) + `}`, 400, "the callback"},
		{"POST", "", `{` + callback + `,"id":"mine","keys":` + string(text) + `}`, 400, "unknown field"},
		{"POST", "", `[]`, 400, "not the JSON object"},
		{"GET", "", "", 200, `"id":"client-1"`},
		{"PUT", "", "", 405, ""},
		{"GET", "/client-1", "", 405, ""},
		{"DELETE", "/client-1", "", 400, "remove it there"},
		{"DELETE", "/%2e%2e%2fx", "", 404, ""},
		{"DELETE", "/" + strings.Repeat("b", 32), "", 404, ""},
	} {
		req, err := http.NewRequest(c.method, fmt.Sprintf("http://127.0.0.1:%d/signpost/clients%s", admin, c.path), strings.NewReader(c.body))
		require.NoError(t, err)
		resp, err := plainClient.Do(req)
		require.NoError(t, err)
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, c.status, resp.StatusCode, "%s %s %s: %s", c.method, c.path, c.body, answer)
		require.Contains(t, string(answer), c.says)
	}
}
