package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const keyString = "live-" + serviceID + "-" + secretOne

// TestNotifyCommands sends and reads by both APIs.
func TestNotifyCommands(t *testing.T) {
	t.Setenv("SIGNPOST_URL", apiSite(t, "", "base_path /api")+"/api")
	t.Setenv("SIGNPOST_KEY", keyString)
	template := storage.TemplateUUID(serviceID, "1").String()

	out, err := runCommand(t, "", "notify", "send", "--to", "07700900123", "--template", "1", "-p", "code=7", "--wait")
	require.NoError(t, err, out)
	require.Equal(t, "notification 1 to +447700900123\ncreated\ndelivered\n", out)

	out, err = runCommand(t, "", "notify", "send", "--dialect", "v2", "--to", "07700900123", "--template", template, "-p", "code=7", "--wait")
	require.NoError(t, err, out)
	found := regexp.MustCompile(`^notification ([0-9a-f-]{36}) to 07700900123\ncreated\n(?:sending\n)?delivered\n$`).FindStringSubmatch(out)
	require.NotNil(t, found, out)

	out, err = runCommand(t, "", "notify", "status", "--dialect", "v2", found[1])
	require.NoError(t, err, out)
	require.Regexp(t, "^notification "+found[1]+" to 07700900123\ndelivered\ncreated   .*Z\nsent      .*Z\ncompleted .*Z\n$", out)
	out, err = runCommand(t, "", "notify", "status", "--dialect", "v2", found[1], "--json")
	require.NoError(t, err, out)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	require.Equal(t, "Your code is 7", got["body"])

	_, err = runCommand(t, "", "notify", "send", "--dialect", "v2", "--to", "07700900123", "--template", "1")
	require.ErrorContains(t, err, "template_id is not a valid UUID")
	_, err = runCommand(t, "", "notify", "send", "--dialect", "v3", "--to", "07700900123", "--template", "1")
	require.ErrorContains(t, err, "use signed or v2")
}

// TestCredentials: a key string is taken wherever a key is given.
func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(keyString+"\n"), 0o600))
	other := "live-" + senderID + "-" + secretOne
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string // an error
	}{
		{name: "key", args: []string{"--key", keyString}},
		{name: "key in a file", args: []string{"--key", "@" + file}},
		{name: "key in the environment", env: map[string]string{"SIGNPOST_KEY": "@" + file}},
		{name: "two parts", args: []string{"--service", serviceID, "--secret", secretOne}},
		{name: "key as a secret", args: []string{"--secret", keyString}},
		{name: "key as a secret in a file", args: []string{"--service", serviceID, "--secret", "@" + file}},
		{name: "key as a secret in the environment", env: map[string]string{"SIGNPOST_SECRET": keyString}},
		{name: "another service's", args: []string{"--service", serviceID, "--secret", other}, want: "a key string of another service (" + senderID + ")"},
		{name: "no key", args: []string{"--key", "live-" + serviceID}, want: "name-serviceid-secret"},
		{name: "nothing", want: "say as whom to sign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"SIGNPOST_SERVICE", "SIGNPOST_SECRET", "SIGNPOST_KEY"} {
				t.Setenv(name, c.env[name])
			}
			const at = "1453680000"
			out, err := runCommand(t, "", append([]string{"notify", "token", "--path", "/notifications/1", "--at", at}, c.args...)...)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err, out)
			require.Equal(t, "xCH4Ie7faXZ2YiQZk-U-_x3YRh2bHXwFaluo4132Lfs", strings.TrimSpace(out[strings.LastIndexByte(out, '.')+1:]))
		})
	}
}

// TestServiceCommands manages templates and settings of a running Caddy.
func TestServiceCommands(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	load(t, strings.Replace(globals("storage memory commands\n"+oneService()), "admin off", "admin "+address, 1))
	run := func(stdin string, args ...string) (string, error) {
		t.Helper()
		return runCommand(t, stdin, append(args, "--address", address)...)
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := run(stdin, args...)
		require.NoError(t, err, out)
		return out
	}
	id := strings.TrimSpace(must("", "service", "add", "Stored"))
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	require.Regexp(t, "(?m)^key +live-"+id+`-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		must("", "service", "key", "add", id, "live"))

	require.Regexp(t, `^template [0-9a-f-]{36} version 1\n$`, must("", "template", "put", id, "Hello"))
	must("", "template", "put", id, "Hello", "--id", "7")
	must("", "template", "put", id, "Hello again", "--id", "7")
	require.Equal(t, "archived 7\n", must("", "template", "archive", id, "7"))
	require.Regexp(t, `(?m)^7 +`+storage.TemplateUUID(id, "7").String()+` +2 +sms +\d{4}-\S+Z +Hello again$`, must("", "template", "list", id))
	_, err := run("", "template", "archive", serviceID, "1")
	require.ErrorContains(t, err, "is in the configuration")
	require.Regexp(t, `(?m)^1 +`+storage.TemplateUUID(serviceID, "1").String()+` +1 +sms +- `, must("", "template", "list", serviceID))

	const settings = `{"trial":true,"guest_list":["07700900123"],"callback":{"url":"https://a.example/","bearer":"the-bearer"}}`
	shown := must(settings, "service", "settings", id, "--file", "-")
	require.NotContains(t, shown, "the-bearer")
	require.Equal(t, shown, must("", "service", "settings", id))
	file := filepath.Join(t.TempDir(), "settings.json")
	require.NoError(t, os.WriteFile(file, []byte(shown), 0o600))
	require.Equal(t, shown, must("", "service", "settings", id, "--file", file))
	require.Equal(t, shown, must("", "service", "settings", id, "--show"))
	for _, c := range []struct{ stdin, file, want string }{
		{`{"trial":`, "-", "standard input is not a JSON document"},
		{`{"trail":true}`, "-", "unknown field"},
		{`{"callback":{"url":"https://b.example/"}}`, "-", "needs a bearer token"},
		{"", file + "x", "no such file"},
	} {
		_, err := run(c.stdin, "service", "settings", id, "--file", c.file)
		require.ErrorContains(t, err, c.want)
	}
	_, err = run(settings, "service", "settings", serviceID, "--file", "-")
	require.ErrorContains(t, err, "is in the configuration")
}
