// Package docs_test keeps the README and the pages of this folder true: their
// Caddyfiles load, their JSON is what those become, their tables have every
// option, their links lead somewhere, and their Go compiles.
package docs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/signpost-gateway/signpost/caddymodule"
)

const readme = "../../README.md"

// Values for the placeholders of secrets in the examples.
var environment = map[string]string{
	"BOOKING_KEY":          "9d6f2c4e-1f0a-4f5b-8b6e-2f4f6d1c7a01",
	"BOOKING_TEST_KEY":     "9d6f2c4e-1f0a-4f5b-8b6e-2f4f6d1c7a02",
	"SIGNPOST_SECRETS_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	"SIGNPOST_DSN":         "postgres://signpost@db.example.org/signpost?sslmode=verify-full",
	"BOOKING_BEARER":       "9d6f2c4e-1f0a-4f5b-8b6e-2f4f6d1c7a04",
	"TWILIO_SID":           "AC00000000000000000000000000000000",
	"TWILIO_TOKEN":         "00000000000000000000000000000000",
	"ACME_TOKEN":           "token",
	"ACME_INBOUND":         "9d6f2c4e-1f0a-4f5b-8b6e-2f4f6d1c7a05",
	"SMTP_USER":            "signpost",
	"SMTP_PASSWORD":        "password",
	"CARD_PASSWORD":        "password",
	"CARD_PIN":             "1234",
	"ACME_RECEIPTS":        "9d6f2c4e-1f0a-4f5b-8b6e-2f4f6d1c7a03",
	"PLATFORM_KEY":         "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----",
}

// Caddy keeps its data and configuration below the home directory: the tests
// get one of their own.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signpost-docs-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		environment[name] = dir
	}
	// A list of revoked tokens must be there when a configuration loads.
	environment["REVOKED_FILE"] = filepath.Join(dir, "revoked.txt")
	if err := os.WriteFile(environment["REVOKED_FILE"], []byte("sub:555086689106\n"), 0o600); err != nil {
		panic(err)
	}
	for _, name := range authorities {
		if err := writeAuthority(filepath.Join(dir, filepath.Base(name))); err != nil {
			panic(err)
		}
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy") // set before the variables above
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // sleeps until it notices
		); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// authorities are the files in the examples whose certificates are trusted. They
// must be there when a configuration loads, so the tests have some in a folder
// of their own.
var authorities = []string{"/etc/signpost/smartcard-ca.pem", "/etc/signpost/server-ca.pem"}

func local(text string) string {
	for _, name := range authorities {
		text = strings.ReplaceAll(text, name, filepath.Join(environment["XDG_DATA_HOME"], filepath.Base(name)))
	}
	return text
}

func writeAuthority(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// pages returns the text of every page by its path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.Greater(t, len(files), 10)
	out := make(map[string]string, len(files)+1)
	for _, file := range append(files, readme) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		out[file] = string(text)
	}
	return out
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks returns a page's blocks of code in a language.
func blocks(page, language string) []string {
	var out []string
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == language {
			out = append(out, m[2])
		}
	}
	return out
}

func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	return config, err
}

func validate(t *testing.T, config []byte) {
	t.Helper()
	var c caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON(config, &c))
	require.NoError(t, caddy.Validate(&c))
}

func TestCaddyfiles(t *testing.T) {
	for name, page := range pages(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			for _, block := range blocks(page, "caddyfile") {
				assert.Equal(t, string(caddyfile.Format([]byte(block))), block, "not as caddy fmt has it")
				config, err := adapt(local(block))
				require.NoError(t, err, block)
				validate(t, config)
			}
		})
	}
}

// providers are the pages without a Caddyfile, and the app that their JSON
// needs.
var providers = map[string]string{
	"notify_provider.md": `{"services": [{"id": "26785a09-ab16-4eb0-8407-a37497a57506", "keys": [{"name": "live", "secret": "{env.BOOKING_KEY}"}]}]}`,
	"jwks_provider.md":   `{"key_sets": [{"name": "platform", "sources": [{"module": "inline", "keys": "{env.PLATFORM_KEY}"}]}]}`,
}

// Each page's JSON is a part of what its Caddyfile becomes.
func TestJSON(t *testing.T) {
	for name, page := range pages(t) {
		for _, block := range blocks(page, "json") {
			t.Run(filepath.Base(name), func(t *testing.T) {
				var want any
				require.NoError(t, json.Unmarshal([]byte(local(block)), &want))
				if app, ok := providers[name]; ok { // which have no Caddyfile
					validate(t, []byte(`{"apps": {
						"signpost": `+app+`,
						"http": {"servers": {"s": {"listen": [":80"], "routes": [{"handle": [`+block+`]}]}}}}}`))
					return
				}
				caddyfiles := blocks(page, "caddyfile")
				require.NotEmpty(t, caddyfiles)
				config, err := adapt(local(caddyfiles[0]))
				require.NoError(t, err)
				var got any
				require.NoError(t, json.Unmarshal(config, &got))
				require.True(t, holds(got, want), "not found in %s", config)
			})
		}
	}
}

// holds reports whether a decoded JSON value has the other one in it.
func holds(whole, part any) bool {
	if reflect.DeepEqual(whole, part) {
		return true
	}
	switch whole := whole.(type) {
	case map[string]any:
		wanted, isMap := part.(map[string]any)
		found := isMap && len(wanted) < len(whole)
		for name, value := range whole {
			if holds(value, part) {
				return true
			}
			if want, ok := wanted[name]; ok && !reflect.DeepEqual(value, want) {
				found = false
			}
		}
		for name := range wanted {
			if _, ok := whole[name]; !ok {
				found = false
			}
		}
		return found
	case []any:
		for _, value := range whole {
			if holds(value, part) {
				return true
			}
		}
	}
	return false
}

var knownOptions = regexp.MustCompile(`has no option "bogus"; it has: ([a-z_, ]+)`)

// The message about an unknown option names all that there are: each of them
// has a row in the tables of its page and of the README.
func TestEveryOptionIsDocumented(t *testing.T) {
	all := pages(t)
	for _, c := range []struct{ page, caddyfile string }{
		{"notify_auth.md", ":80 {\n notify_auth {\n bogus\n }\n}"},
		{"notify_api.md", ":80 {\n notify_api {\n bogus\n }\n}"},
		{"signpost.md", "{\n signpost {\n bogus\n }\n}"},
		{"signpost.md", "{\n signpost {\n service a {\n bogus\n }\n }\n}"},
		{"signpost.md", "{\n signpost {\n service a {\n template 1 sms {\n bogus\n }\n }\n }\n}"},
		{"jwks_auth.md", ":80 {\n jwks_auth {\n bogus\n }\n}"},
		{"jwks_publish.md", ":80 {\n jwks_publish {\n bogus\n }\n}"},
		{"signpost.md", "{\n signpost {\n key_set a {\n bogus\n }\n }\n}"},
		{"key_source_url.md", "{\n signpost {\n key_set a {\n source url https://id.example.org {\n bogus\n }\n }\n }\n}"},
		{"signing_api.md", ":80 {\n signing_api {\n bogus\n }\n}"},
		{"signing_api.md", ":80 {\n signing_api {\n access_token {\n bogus\n }\n }\n}"},
		{"signing_hub.md", ":80 {\n signing_hub {\n bogus\n }\n}"},
		{"signer_pkcs11.md", ":80 {\n signing_hub {\n signer pkcs11 x {\n bogus\n }\n }\n}"},
		{"signer_keyfile.md", ":80 {\n signing_hub {\n signer keyfile x {\n bogus\n }\n }\n}"},
		{"signpost.md", "{\n signpost {\n client a {\n bogus\n }\n }\n}"},
		{"signpost.md", "{\n signpost {\n dispatch {\n bogus\n }\n }\n}"},
		{"signpost.md", "{\n signpost {\n dispatch {\n breaker {\n bogus\n }\n }\n }\n}"},
		{"storage_postgres.md", "{\n signpost {\n storage postgres x {\n bogus\n }\n }\n}"},
		{"storage_sqlite.md", "{\n signpost {\n storage sqlite {\n bogus\n }\n }\n}"},
		{"delivery_webhook.md", "{\n signpost {\n delivery sms webhook {\n bogus\n }\n }\n}"},
		{"delivery_webhook.md", "{\n signpost {\n delivery sms webhook {\n receipts {\n bogus\n }\n }\n }\n}"},
		{"delivery_webhook.md", "{\n signpost {\n delivery sms webhook {\n inbound {\n bogus\n }\n }\n }\n}"},
		{"delivery_smtp.md", "{\n signpost {\n delivery email smtp x {\n bogus\n }\n }\n}"},
		{"signpost.md", "{\n signpost {\n dispatch {\n callbacks {\n bogus\n }\n }\n }\n}"},
	} {
		_, err := adapt(c.caddyfile)
		require.Error(t, err)
		known := knownOptions.FindStringSubmatch(err.Error())
		require.NotNil(t, known, err.Error())
		for option := range strings.SplitSeq(strings.TrimSuffix(known[1], ", at "), ", ") {
			assert.Regexp(t, "(?m)^\\| `"+option+"` \\|", all[c.page], "%s: %s", c.page, option)
			assert.Regexp(t, "`[^`]*\\b"+option+"\\b[^`]*`", all[readme], "README: %s", option)
		}
	}
}

var ours = regexp.MustCompile("signpost|notify|jwks|signing")

// Every module of this project has a page and a line in the README.
func TestEveryModuleIsDocumented(t *testing.T) {
	all := pages(t)
	text := new(strings.Builder)
	for name, page := range all {
		if name != readme {
			text.WriteString(page)
		}
	}
	found := 0
	for _, id := range caddy.Modules() {
		if !ours.MatchString(id) {
			continue
		}
		found++
		assert.Contains(t, text.String(), "Module id: `"+id+"`")
		assert.Contains(t, all[readme], "| `"+id+"` |")
	}
	assert.Greater(t, found, 15)
}

var (
	link    = regexp.MustCompile(`\]\(([^)#: ]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unnamed = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors returns the anchors that a page's headings get on GitHub.
func anchors(page string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		name := unnamed.ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, "#"+strings.ReplaceAll(name, " ", "-"))
	}
	return out
}

func TestLinks(t *testing.T) {
	for name, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			target, anchor := name, m[2]
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(name), m[1])
			}
			text, err := os.ReadFile(target)
			require.NoError(t, err, "%s: %s", name, m[0])
			if anchor != "" {
				assert.Contains(t, anchors(string(text)), anchor, "%s: %s", name, m[0])
			}
		}
	}
}

// The README's program compiles.
func TestGo(t *testing.T) {
	for _, block := range blocks(pages(t)[readme], "go") {
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, []byte(block), 0o600))
		var out bytes.Buffer
		cmd := exec.Command("go", "build", "-o", os.DevNull, file)
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Run(), out.String())
		formatted, err := exec.Command("gofmt", "-l", file).CombinedOutput()
		require.NoError(t, err)
		assert.Empty(t, string(formatted), "not gofmt-ed")
	}
}
