package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// apiSite loads a site with the notification API on a storage of its own.
func apiSite(t *testing.T, signpost, options string) string {
	t.Helper()
	port := freePort(t)
	load(t, globals("storage sqlite "+filepath.Join(t.TempDir(), "s.db")+"\n"+signpost+oneService())+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api {\n%s\n}\n}\n", port, options))
	return fmt.Sprintf("http://127.0.0.1:%d", port)
}

var plainClient = &http.Client{Transport: afterReload{&http.Transport{DisableKeepAlives: true}}, Timeout: 20 * time.Second}

// afterReload tries a request again whose connection was reset: a reload drops
// connections that the old listener's queue held, with any handler. (The
// reload drill compares how many.)
type afterReload struct{ http.RoundTripper }

func (a afterReload) RoundTrip(r *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := a.RoundTripper.RoundTrip(r)
		if err == nil || try == 5 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			return resp, err
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// do sends a signed request; path is what is signed, prefix what comes before.
func do(t testing.TB, base, prefix, method, path, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, base+prefix+path, strings.NewReader(body))
	require.NoError(t, err)
	signed, _, _ := strings.Cut(path, "?")
	req.Header.Set("Authorization", mint(t, method, signed, body))
	resp, err := plainClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b), resp.Header
}

// waitStatus asks until the notification has the status.
func waitStatus(t testing.TB, base, id, want string) {
	t.Helper()
	var last string
	require.Eventually(t, func() bool {
		_, last, _ = do(t, base, "", "GET", "/notifications/"+id, "")
		return strings.Contains(last, `"status":"`+want+`"`)
	}, 20*time.Second, 10*time.Millisecond, "%s", last)
}

func TestNotifyAPI(t *testing.T) {
	base := apiSite(t, "", "base_path /api/endpoint")
	const body = `{"to": "+441234123123", "template": 3}`
	for _, prefix := range []string{"", "/api/endpoint"} {
		status, text, header := do(t, base, prefix, "POST", "/notifications/sms", strings.Replace(body, "}", strings.Repeat(" ", len(prefix))+"}", 1))
		require.Equal(t, 201, status, text)
		require.Equal(t, "application/json", header.Get("Content-Type"))
		var got struct{ Notification map[string]any }
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, "+441234123123", got.Notification["to"])
		require.Equal(t, "created", got.Notification["status"])
		require.Equal(t, "sms", got.Notification["method"])
		require.Equal(t, "log", got.Notification["sender"])
		require.Regexp(t, regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`), got.Notification["createdAt"])
		waitStatus(t, base, fmt.Sprint(got.Notification["id"]), "delivered")
	}
	status, text, _ := do(t, base, "", "GET", "/notifications/1?x=1", "")
	require.Equal(t, 200, status, text)

	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"wrapped", "POST", "/notifications/sms", `{"notification": {"to": "+441234123123", "template": 3}}`, 201, ""},
		{"invalid number", "POST", "/notifications/sms", `{"to":"invalid","template":3}`, 400, `{"result":"error","message":{"to":["Invalid phone number: Must not contain letters or symbols"]}}`},
		{"no template", "POST", "/notifications/sms", `{"to":"07700900111","message":"x"}`, 400, ""},
		{"unknown template", "POST", "/notifications/sms", `{"to":"07700900111","template":99}`, 404, `{"result":"error","message":"No result found"}`},
		{"unknown id", "GET", "/notifications/999", "", 404, `{"result":"error","message":"No result found"}`},
		{"unknown route", "GET", "/nothing", "", 404, ""},
		{"wrong method", "DELETE", "/notifications/1", "", 405, ""},
		{"no JSON", "POST", "/notifications/sms", `x`, 400, ""},
		{"twins", "POST", "/notifications/sms", `{"to":"07700900111","To":"07700900112","template":3}`, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text, header := do(t, base, "", c.method, c.path, c.body)
			require.Equal(t, c.status, status, text)
			if c.want != "" {
				require.JSONEq(t, c.want, text)
			}
			if status >= 400 {
				require.Contains(t, text, `"result":"error"`)
			}
			require.Equal(t, status == 405, header.Get("Allow") != "")
		})
	}
	t.Run("without a token", func(t *testing.T) {
		for path, want := range map[string]int{"/_status": 200, "/api/endpoint/_status": 200, "/nothing": 401, "/notifications/1": 401} {
			resp, err := plainClient.Get(base + path)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, want, resp.StatusCode, path)
		}
	})
	t.Run("idempotent", func(t *testing.T) {
		token := mint(t, "POST", "/notifications/sms", body+"\n")
		var first string
		for i := range 3 {
			req, err := http.NewRequest("POST", base+"/notifications/sms", strings.NewReader(body+"\n"))
			require.NoError(t, err)
			req.Header.Set("Authorization", token)
			resp, err := plainClient.Do(req)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			require.NoError(t, err)
			require.Equal(t, 201, resp.StatusCode)
			if i == 0 {
				first = string(text)
			}
			require.Equal(t, first, string(text))
			require.Equal(t, i > 0, resp.Header.Get("Idempotent-Replayed") == "true")
		}
	})
}

// TestRewrittenAPI: the API routes by what the client sent.
func TestRewrittenAPI(t *testing.T) {
	port := freePort(t)
	load(t, globals("storage memory rewritten\n"+oneService())+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n handle_path /api/endpoint/* {\n notify_api {\n base_path /api/endpoint\n}\n}\n}\n", port))
	status, text, _ := do(t, fmt.Sprintf("http://127.0.0.1:%d", port), "/api/endpoint", "POST", "/notifications/sms", `{"to":"07700900111","template":3}`)
	require.Equal(t, 201, status, text)
}

// gateway is a stand-in for an SMS provider.
type gateway struct {
	*httptest.Server
	mu         sync.Mutex
	references []string
	script     func(n int, w http.ResponseWriter)
}

func newGateway(t *testing.T, script func(n int, w http.ResponseWriter)) *gateway {
	g := &gateway{script: script}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Reference string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		g.mu.Lock()
		g.references = append(g.references, body.Reference)
		n := len(g.references)
		g.mu.Unlock()
		g.script(n, w)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.references...)
}

func TestWebhookAndReceipts(t *testing.T) {
	g := newGateway(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			panic(http.ErrAbortHandler) // the answer is lost
		}
		w.WriteHeader(http.StatusAccepted)
	})
	t.Setenv("SIGNPOST_TEST_RECEIPTS", "receipts-secret-receipts-secret-1")
	base := apiSite(t, fmt.Sprintf("delivery sms webhook {\n name acme\n url %s/send\n receipts {\n secret {env.SIGNPOST_TEST_RECEIPTS}\n}\n}\n", g.URL), "")
	_, text, _ := do(t, base, "", "POST", "/notifications/sms", `{"to":"07700900111","template":3}`)
	require.Contains(t, text, `"sender":"acme"`)
	waitStatus(t, base, "1", "sent")
	refs := g.seen()
	require.Len(t, refs, 2)
	require.Equal(t, refs[0], refs[1], "the retry carries the same reference")

	post := func(secret, body string) int {
		req, err := http.NewRequest("POST", base+"/receipts/acme", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		if secret != "" {
			req.Header.Set("Authorization", "Bearer "+secret)
		}
		resp, err := plainClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	delivered := fmt.Sprintf(`{"reference":%q,"status":"delivered"}`, refs[0])
	require.Equal(t, 401, post("", delivered))
	require.Equal(t, 401, post("wrong", delivered))
	waitStatus(t, base, "1", "sent")
	require.Equal(t, 404, post("receipts-secret-receipts-secret-1", `{"reference":"none","status":"delivered"}`))
	require.Equal(t, 204, post("receipts-secret-receipts-secret-1", delivered))
	waitStatus(t, base, "1", "delivered")
	require.Equal(t, 204, post("receipts-secret-receipts-secret-1", fmt.Sprintf(`{"reference":%q,"status":"sent"}`, refs[0])))
	waitStatus(t, base, "1", "delivered")
}

// TestReload: the storage survives, work goes on, and what was broken stays
// out.
func TestReload(t *testing.T) {
	port := freePort(t)
	dir := t.TempDir()
	site := func(db, extra string) string {
		return globals("storage sqlite "+filepath.Join(dir, db)+"\n"+oneService()+extra) +
			fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port)
	}
	load(t, site("a.db", ""))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	post := func(n int) string {
		_, text, _ := do(t, base, "", "POST", "/notifications/sms", fmt.Sprintf(`{"to":"07700900111","template":1,"personalisation":{"code":%d}}`, n))
		var got struct{ Notification struct{ ID int64 } }
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		return fmt.Sprint(got.Notification.ID)
	}
	require.Equal(t, "1", post(1))
	require.NoError(t, tryLoad(t, site("a.db", "dispatch {\n concurrency 2\n}\n")))
	require.Equal(t, "2", post(2))
	waitStatus(t, base, "1", "delivered")
	// Another database, and back again: the first is closed and reopened.
	require.NoError(t, tryLoad(t, site("b.db", "")))
	require.Equal(t, "1", post(3))
	require.Error(t, tryLoad(t, site("missing\x00/c.db", "")))
	require.Equal(t, "2", post(4))
	require.NoError(t, tryLoad(t, site("a.db", "")))
	require.Equal(t, "3", post(5))
	waitStatus(t, base, "3", "delivered")
}

// TestMemorySurvivesReload: memory is shared by name across configurations.
func TestMemorySurvivesReload(t *testing.T) {
	port := freePort(t)
	site := func(extra string) string {
		return globals("storage memory kept\n"+oneService()+extra) + fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port)
	}
	load(t, site(""))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	status, text, _ := do(t, base, "", "POST", "/notifications/sms", `{"to":"07700900111","template":3}`)
	require.Equal(t, 201, status, text)
	require.NoError(t, tryLoad(t, site("delivery sms log\n")))
	status, text, _ = do(t, base, "", "GET", "/notifications/1", "")
	require.Equal(t, 200, status, text)
}

func TestHealthAndMetrics(t *testing.T) {
	port, admin := freePort(t), freePort(t)
	cfg := globals("storage sqlite "+filepath.Join(t.TempDir(), "s.db")+"\n"+oneService()) +
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n handle /health/* {\n signpost_health\n}\n handle {\n notify_api\n}\n}\n", port)
	cfg = strings.Replace(cfg, "admin off", fmt.Sprintf("admin 127.0.0.1:%d\n\tmetrics", admin), 1)
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	get := func(url string) (int, string) {
		resp, err := plainClient.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	// Counts go on after a reload, and registering again is no panic.
	for i := 1; i <= 2; i++ {
		load(t, cfg)
		status, text := get(base + "/health/live")
		require.Equal(t, 200, status, text)
		status, text = get(base + "/health/ready")
		require.Equal(t, 200, status)
		require.JSONEq(t, `{"status":"ok","storage":"ok"}`, text)
		status, text, _ = do(t, base, "", "POST", "/notifications/sms", fmt.Sprintf(`{"to":"07700900111","template":1,"personalisation":{"code":"%d"}}`, i))
		require.Equal(t, 201, status, text)
		waitStatus(t, base, fmt.Sprint(i), "delivered")
		_, text = get(fmt.Sprintf("http://127.0.0.1:%d/metrics", admin))
		require.Contains(t, text, fmt.Sprintf("caddy_signpost_delivery_attempts_total{channel=\"sms\",provider=\"log\",result=\"delivered\"} %v", countDelivered(t, text)))
		require.Contains(t, text, "caddy_signpost_storage_up 1")
		require.Contains(t, text, `caddy_signpost_queue_notifications{state="queued"} 0`)
		require.NotContains(t, text, serviceID)
	}
	status, text := get(fmt.Sprintf("http://127.0.0.1:%d/signpost/status", admin))
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"storage":"ok"`)
}

// countDelivered reads the counter: other tests of this process count too, so
// that only its presence and growth can be asserted.
var lastDelivered float64

func countDelivered(t *testing.T, metrics string) string {
	t.Helper()
	m := regexp.MustCompile(`caddy_signpost_delivery_attempts_total\{channel="sms",provider="log",result="delivered"\} (\S+)`).FindStringSubmatch(metrics)
	require.NotNil(t, m)
	var v float64
	_, err := fmt.Sscan(m[1], &v)
	require.NoError(t, err)
	require.Greater(t, v, lastDelivered)
	lastDelivered = v
	return m[1]
}

// TestAdminAPI manages services, keys and templates, and uses them.
func TestAdminAPI(t *testing.T) {
	port, admin := freePort(t), freePort(t)
	db := filepath.Join(t.TempDir(), "s.db")
	cfg := strings.Replace(globals("storage sqlite "+db+"\n"+oneService())+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port),
		"admin off", fmt.Sprintf("admin 127.0.0.1:%d", admin), 1)
	load(t, cfg)
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	var all bytes.Buffer
	call := func(method, path, body string) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/signpost/%s", admin, path), strings.NewReader(body))
		require.NoError(t, err)
		resp, err := plainClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		all.Write(b)
		var out map[string]any
		_ = json.Unmarshal(b, &out)
		return resp.StatusCode, out
	}
	status, service := call("POST", "services", `{"name":"Stored"}`)
	require.Equal(t, 201, status)
	id := service["id"].(string)
	status, key := call("POST", "services/"+id+"/keys", `{"name":"first"}`)
	require.Equal(t, 201, status, key)
	secret := key["secret"].(string)
	require.Equal(t, "first-"+id+"-"+secret, key["key"])
	all.Reset()
	status, tpl := call("POST", "services/"+id+"/templates", `{"id":"7","type":"sms","body":"Hi ((name))"}`)
	require.Equal(t, 201, status, tpl)

	send := func() (int, string) {
		body := `{"to":"07700900111","template":7,"personalisation":{"name":"Al"}}`
		token, err := notifyauth.Mint(notifyauth.MintRequest{Service: id, Secret: secret, IssuedAt: clock(), Method: "POST", Path: "/notifications/sms", Body: []byte(body)})
		require.NoError(t, err)
		req, err := http.NewRequest("POST", base+"/notifications/sms", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := plainClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	status, text := send()
	require.Equal(t, 201, status, text)
	require.Contains(t, text, "Hi Al")

	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "services", `{"name":""}`, 400},
		{"POST", "services", `{"name":"x","id":"ABC"}`, 400},
		{"POST", "services", `{"name":"x","id":"` + serviceID + `"}`, 400},
		{"POST", "services", `{"nam":"x"}`, 400},
		{"POST", "services", `{"name":"x"} {}`, 400},
		{"POST", "services/" + id + "/keys", `{"name":"first"}`, 400},
		{"POST", "services/" + id + "/keys", `{"name":"x","type":"root"}`, 400},
		{"POST", "services/" + serviceID + "/keys", `{"name":"x"}`, 400},
		{"POST", "services/00000000-0000-4000-8000-000000000000/keys", `{"name":"x"}`, 404},
		{"POST", "services/" + id + "/templates", `{"id":"8","type":"fax","body":"x"}`, 400},
		{"POST", "services/" + id + "/templates", `{"id":"8","type":"email","body":"x"}`, 400},
		{"POST", "services/" + serviceID + "/templates", `{"id":"1","type":"sms","body":"x"}`, 400},
		{"DELETE", "services/" + id + "/keys/none", "", 404},
		{"GET", "nothing", "", 404},
		{"PUT", "services", "", 405},
		{"POST", "storage/backup", `{"path":"relative"}`, 400},
		{"GET", "services", "", 200},
		{"GET", "services/" + id + "/keys", "", 200},
		{"GET", "services/" + id + "/templates", "", 200},
		{"GET", "services/" + id + "/notifications/1", "", 200},
		{"GET", "services/" + serviceID + "/notifications/1", "", 404},
	} {
		status, out := call(c.method, c.path, c.body)
		require.Equal(t, c.want, status, "%s %s %s: %v", c.method, c.path, c.body, out)
	}
	require.NotContains(t, all.String(), secret)
	require.NotContains(t, all.String(), "7700900111")

	status, _ = call("DELETE", "services/"+id+"/keys/first", "")
	require.Equal(t, 204, status)
	status, text = send()
	require.Equal(t, 403, status, text)
	require.JSONEq(t, `{"error":"Invalid token: signature"}`, text)
}

// TestStorageOpensOnDemand: a configuration whose services are all its own
// touches no database.
func TestStorageOpensOnDemand(t *testing.T) {
	db := filepath.Join(t.TempDir(), "never.db")
	up := newUpstream(t)
	port := freePort(t)
	load(t, globals("storage sqlite "+db+"\n"+oneService())+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_auth\n reverse_proxy %s\n}\n", port, up.Listener.Addr()))
	require.Equal(t, 200, raw(t, fmt.Sprintf("127.0.0.1:%d", port), head(t, "GET", "/a", "", "Connection: close")).StatusCode)
	require.NoFileExists(t, db)
}

// TestValidateTouchesNothing: validating beside a running server opens no
// file.
func TestValidateTouchesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg, err := adaptCaddyfile(t, globals("storage sqlite "+filepath.Join(dir, "s.db")+"\n"+oneService())+"http://127.0.0.1:1 {\n notify_api\n}\n")
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, json.Unmarshal(cfg, &c))
	require.NoError(t, caddy.Validate(&c))
	require.NoDirExists(t, dir)
}
