//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNotifyCommands(t *testing.T) {
	t.Parallel()
	s, ex := startExample(t)
	s.env = append(s.env, "SIGNPOST_URL="+ex.api, "SIGNPOST_SERVICE="+serviceID, "SIGNPOST_SECRET="+secretOne)

	t.Run("send and wait", func(t *testing.T) {
		out := s.ok(t, "signpost", "notify", "send", "--to", "07723 456789", "--template", "1", "-p", "code=1", "--wait")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		assert.Equal(t, "delivered", lines[len(lines)-1])
		assert.Regexp(t, `^notification \d+ to \+?447723456789$`, lines[0])
	})
	t.Run("send an email as JSON", func(t *testing.T) {
		out := s.ok(t, "signpost", "notify", "send", "--to", "ann@example.org", "--template", "2",
			"--personalisation", `{"name":"Ann","day":"Monday"}`, "--wait", "--json")
		var n notification
		require.NoError(t, json.Unmarshal([]byte(out), &n), out)
		assert.Equal(t, "delivered", n.Status)
		assert.Equal(t, "email", n.Method)
	})
	t.Run("status", func(t *testing.T) {
		n := newClient(t, ex.api).send(t, "status")
		newClient(t, ex.api).await(t, n.ID, "delivered")
		out := s.ok(t, "signpost", "notify", "status", fmt.Sprint(n.ID))
		assert.Contains(t, out, "\ndelivered\n")
		out = s.ok(t, "signpost", "notify", "status", "--json", fmt.Sprint(n.ID))
		assert.Contains(t, out, `"message": "Your code is status"`)
	})
	t.Run("base path, authority and key string", func(t *testing.T) {
		root := filepath.Join(s.dir, "share", "caddy", "pki", "authorities", "local", "root.crt")
		s.ok(t, "signpost", "notify", "send", "--url", ex.api+"/api/endpoint", "--cacert", root,
			"--key", "live-"+serviceID+"-"+secretOne, "--to", "07723456789", "--template", "1", "-p", "code=1")
	})
	t.Run("an authority that is not trusted", func(t *testing.T) {
		other := newServer(t)
		other.env = append(other.env, "SIGNPOST_URL="+ex.api, "SIGNPOST_SERVICE="+serviceID, "SIGNPOST_SECRET="+secretOne)
		out := other.run(t, "signpost", "notify", "status", "1")
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "--cacert")
	})
	t.Run("token", func(t *testing.T) {
		n := newClient(t, ex.api).send(t, "token")
		path := fmt.Sprintf("/notifications/%d", n.ID)
		token := strings.TrimSpace(s.ok(t, "signpost", "notify", "token", "--path", path))
		a, err := newClient(t, ex.api).doAs("Bearer "+token, http.MethodGet, path, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, a.status, string(a.body))
	})
	t.Run("openssl alone", func(t *testing.T) {
		script, err := filepath.Abs("testdata/openssl-send.sh")
		require.NoError(t, err)
		out := execute(t, s.dir, append(s.env, "TO=+447723456789", "TEMPLATE=1", "CODE=987"), "", "bash", script)
		require.Zero(t, out.code, out.all())
		n, err := parseNotification([]byte(out.stdout))
		require.NoError(t, err)
		assert.Equal(t, messageStart+"987", n.Message)
		newClient(t, ex.api).await(t, n.ID, "delivered")

		out = execute(t, s.dir, append(s.env, "TO=+447723456789", "TEMPLATE=99"), "", "bash", script)
		assert.NotZero(t, out.code)
		assert.JSONEq(t, `{"result":"error","message":"No result found"}`, out.stdout)
	})
	t.Run("curl over HTTP/2", func(t *testing.T) {
		n := newClient(t, ex.api).send(t, "curl")
		path := fmt.Sprintf("/notifications/%d", n.ID)
		authorization, err := configured.sign(http.MethodGet, path, nil)
		require.NoError(t, err)
		out := execute(t, s.dir, s.env, "", "curl", "-k", "-sS", "--http2", "-w", "\n%{http_version} %{http_code}",
			"-H", "Authorization: "+authorization, ex.api+path)
		require.Zero(t, out.code, out.all())
		assert.True(t, strings.HasSuffix(out.stdout, "\n2 200"), out.stdout)
	})
	t.Run("refusals", func(t *testing.T) {
		out := s.run(t, "signpost", "notify", "send", "--to", "0712", "--template", "1", "-p", "code=1")
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "400")
		assert.Contains(t, out.all(), "Not enough digits")
		out = s.run(t, "signpost", "notify", "status", "999999")
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "No result found")
		out = s.run(t, "signpost", "notify", "status", "1", "--secret", strings.Repeat("0", 36))
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "Invalid token: signature")
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	who := []string{"--service", serviceID, "--secret", secretOne}
	request := []string{"--method", "POST", "--path", "/notifications/sms", "--body", `{"to":"1"}`}
	token := func(more ...string) string {
		args := append([]string{"signpost", "notify", "token"}, append(append(who, request...), more...)...)
		return strings.TrimSpace(s.ok(t, args...))
	}
	now := time.Now()
	good := token()
	at := fmt.Sprint(now.Unix())
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"good", append(append([]string{good}, who...), request...), 0, []string{"The request is accepted."}},
		{"the whole header", append(append([]string{"Bearer " + good}, who...), request...), 0, []string{"The request is accepted."}},
		{"without keys", append([]string{good}, request...), 0, []string{"Nothing is wrong with the request as far as it can be checked without a key."}},
		{
			"expired", append(append([]string{token("--at", fmt.Sprint(now.Add(-45*time.Second).Unix())), "--at", at}, who...), request...), 1,
			[]string{"fails    time", "45 s before the server's clock", "Invalid token: expired"},
		},
		{
			"from the future", append(append([]string{token("--at", fmt.Sprint(now.Add(90*time.Second).Unix())), "--at", at}, who...), request...), 1,
			[]string{"fails    time", "90 s after the server's clock", "Invalid token: expired"},
		},
		{
			"wrong body", append(append(append([]string{good}, who...), request...), "--body", `{"to":"2"}`), 1,
			[]string{"fails    pay", "Invalid token: payload"},
		},
		{
			"wrong path", append(append(append([]string{good}, who...), request...), "--path", "/notifications/email"), 1,
			[]string{"fails    req", "POST /notifications/email", "Invalid token: request"},
		},
		{
			"wrong method", append(append(append([]string{good}, who...), request...), "--method", "PUT"), 1,
			[]string{"fails    req", "Invalid token: request"},
		},
		{
			"wrong secret", append(append(append([]string{good}, who...), request...), "--secret", strings.Repeat("0", 36)), 1,
			[]string{"fails    signature", "Invalid token: signature"},
		},
		{"not a token", append(append([]string{"abc"}, who...), request...), 1, []string{"fails"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := s.run(t, append([]string{"signpost", "notify", "explain"}, tc.args...)...)
			assert.Equal(t, tc.code, out.code, out.all())
			for _, want := range tc.want {
				assert.Contains(t, out.stdout, want)
			}
			assert.NotContains(t, out.all(), secretOne)
		})
	}
	t.Run("for programs", func(t *testing.T) {
		args := append(append([]string{"signpost", "notify", "explain", good, "--json"}, who...), request...)
		var report struct{ Accepted bool }
		require.NoError(t, json.Unmarshal([]byte(s.ok(t, args...)), &report))
		assert.True(t, report.Accepted)
	})
}

const uuidPattern = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`

func TestKeyGenerate(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	one := s.ok(t, "signpost", "key", "generate")
	assert.Regexp(t, `^`+uuidPattern+`\n$`, one)
	assert.NotEqual(t, one, s.ok(t, "signpost", "key", "generate"))

	out := s.ok(t, "signpost", "key", "generate", "--service", "--name", "live")
	m := regexp.MustCompile(`^service  (` + uuidPattern + `)\nsecret   (` + uuidPattern + `)\nkey      (.*)\n$`).FindStringSubmatch(out)
	require.NotNil(t, m, out)
	assert.Equal(t, "live-"+m[1]+"-"+m[2], m[3])

	assert.Regexp(t, `^[A-Za-z0-9+/]{43}=\n$`, s.ok(t, "signpost", "key", "generate", "--secrets-key"))

	var v map[string]string
	require.NoError(t, json.Unmarshal([]byte(s.ok(t, "signpost", "key", "generate", "--service", "--json")), &v))
	assert.Equal(t, "key-"+v["service"]+"-"+v["secret"], v["key"])
}

// The secrets that `key generate` makes can be used as its help says.
func TestGeneratedKeysWork(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	secret := strings.TrimSpace(s.ok(t, "signpost", "key", "generate"))
	s.write(t, "secret", secret+"\n")
	secretsKey := strings.TrimSpace(s.ok(t, "signpost", "key", "generate", "--secrets-key"))
	s.env = append(s.env, "SECRETS_KEY="+secretsKey)
	port := freePort(t)
	s.start(t, fmt.Sprintf(`{
	auto_https off
	default_bind 127.0.0.1
	persist_config off
	signpost {
		storage sqlite signpost.db {
			secrets_key {env.SECRETS_KEY}
		}
		service %s {
			key live {file.%s}
			template 1 sms "Your code is ((code))"
		}
	}
}
http://127.0.0.1:%d {
	notify_api
}
`, serviceID, filepath.Join(s.dir, "secret"), port))
	c := newClient(t, plainURL(port))
	c.secret = secret
	c.send(t, "1")
	assert.NoFileExists(t, filepath.Join(s.dir, "signpost.db.key"))
	shown := s.request(t, http.MethodGet, "/config/", "", "")
	assert.NotContains(t, shown.body, secret)
	assert.NotContains(t, shown.body, secretsKey)
	b, err := os.ReadFile(s.log)
	require.NoError(t, err)
	assert.NotContains(t, string(b), secret)
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, tc := range []struct {
		args string
		want string
	}{
		{"notify send", `required flag(s) "template", "to" not set`},
		{"notify send --to 07723456789 --template 1", "say as whom to sign: --service and --secret, or --key"},
		{"notify send --to 07723456789 --template 1 --service x --secret y -p code", "write name=value or a JSON object"},
		{"notify send --to 07723456789 --template 1 --service x --secret y --url localhost", "it must be such as https://localhost:8443"},
		{"notify send --to 07723456789 --template 1 --service x --secret @/nonexistent", "/nonexistent"},
		{"notify token --service x --secret y --path notifications", "--path must start with a slash"},
		{"notify token --service x --secret y --path / --at yesterday", "it must be seconds since 1970 or a time such as"},
		{"notify token --service x --secret y --path / --dialect v3", "signed"},
		{"notify status", "accepts 1 arg(s), received 0"},
		{"notify explain", "accepts 1 arg(s), received 0"},
		{"key generate --service --secrets-key", "[secrets-key service]"},
		{"key generate now", "unknown command"},
		{"service add", "accepts 1 arg(s), received 0"},
		{"service list", "calling the admin API at " + s.admin},
		{"service key revoke x", "accepts 2 arg(s), received 1"},
		{"storage backup", "accepts 1 arg(s), received 0"},
		{"template put", "accepts between 1 and 2 arg(s), received 0"},
		{"notify send --bogus", "unknown flag: --bogus"},
		{"bogus", "unknown command"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			out := s.run(t, append([]string{"signpost"}, strings.Fields(tc.args)...)...)
			assert.NotZero(t, out.code, out.all())
			assert.Contains(t, out.all(), tc.want)
			assert.NotContains(t, out.all(), "goroutine")
		})
	}
}
