package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const helloTemplate = "3" // of oneService

// v2Call sends a request with a token of v2 and returns the answer's status, its
// JSON and its headers.
func v2Call(t testing.TB, method, url, body string, headers ...string) (int, map[string]any, http.Header) {
	t.Helper()
	token, err := notifyauth.Mint(notifyauth.MintRequest{Service: serviceID, Secret: secretOne, IssuedAt: clock(), Dialect: notifyauth.V2})
	require.NoError(t, err)
	return plainCall(t, method, url, body, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}

// plainCall sends a request with the headers that are given as names and values.
func plainCall(t testing.TB, method, url, body string, headers ...string) (int, map[string]any, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := plainClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var out map[string]any
	if len(b) > 0 {
		require.NoError(t, json.Unmarshal(b, &out), "%s", b)
	}
	return resp.StatusCode, out, resp.Header
}

func v2Body(recipient, more string) string {
	return fmt.Sprintf(`{"phone_number":%q,"template_id":%q%s}`, recipient, storage.TemplateUUID(serviceID, helloTemplate), more)
}

// v2Wait asks until the notification has the status.
func v2Wait(t testing.TB, base, id, want string) map[string]any {
	t.Helper()
	var last map[string]any
	require.Eventually(t, func() bool {
		_, last, _ = v2Call(t, "GET", base+"/v2/notifications/"+id, "")
		return last["status"] == want
	}, 20*time.Second, 10*time.Millisecond, "%v", last)
	return last
}

func TestV2(t *testing.T) {
	base := apiSite(t, "", "base_path /api/endpoint")
	template := storage.TemplateUUID(serviceID, helloTemplate).String()
	for _, prefix := range []string{"", "/api/endpoint"} {
		root := base + prefix
		status, sent, header := v2Call(t, "POST", root+"/v2/notifications/sms", v2Body("07700 900123", `,"reference":"mine"`))
		require.Equal(t, 201, status, sent)
		require.Equal(t, "application/json", header.Get("Content-Type"))
		id := sent["id"].(string)
		require.Equal(t, root+"/v2/notifications/"+id, sent["uri"])
		require.Equal(t, "mine", sent["reference"])
		require.Equal(t, map[string]any{"body": "Hello", "from_number": nil}, sent["content"])
		require.Equal(t, map[string]any{
			"id": template, "version": 1.0, "uri": root + "/services/" + serviceID + "/templates/" + template,
		}, sent["template"])
		got := v2Wait(t, root, id, "delivered")
		require.Equal(t, "07700 900123", got["phone_number"])
		require.NotEmpty(t, got["completed_at"])
		require.Equal(t, root+"/v2/template/"+template+"/version/1", got["template"].(map[string]any)["uri"])

		status, list, _ := v2Call(t, "GET", root+"/v2/notifications?reference=mine", "")
		require.Equal(t, 200, status, list)
		require.Equal(t, id, list["notifications"].([]any)[0].(map[string]any)["id"])
		require.Equal(t, root+"/v2/notifications?reference=mine", list["links"].(map[string]any)["current"])
	}
	status, list, _ := v2Call(t, "GET", base+"/v2/templates", "")
	require.Equal(t, 200, status, list)
	require.Len(t, list["templates"], 2)

	t.Run("without a token", func(t *testing.T) {
		for _, c := range []struct {
			method, path string
			status       int
			kind         string
		}{
			{"GET", "/v2/notifications", 401, "AuthError"},
			{"GET", "/v2/nothing", 404, "NotFound"},
			{"GET", "/v2", 404, "NotFound"},
			{"DELETE", "/v2/notifications", 405, "MethodNotAllowed"},
			{"GET", "/api/endpoint/v2/nothing", 404, "NotFound"},
			{"GET", "/api/endpoint/v2/notifications/sms", 405, "MethodNotAllowed"},
		} {
			status, got, header := plainCall(t, c.method, base+c.path, "")
			require.Equal(t, c.status, status, "%s: %v", c.path, got)
			require.InDelta(t, c.status, got["status_code"], 0, c.path)
			require.Equal(t, c.kind, got["errors"].([]any)[0].(map[string]any)["error"], c.path)
			require.Equal(t, status == 405, header.Get("Allow") != "")
		}
	})
	t.Run("description", func(t *testing.T) {
		for _, prefix := range []string{"", "/api/endpoint"} {
			status, got, _ := plainCall(t, "GET", base+prefix+"/openapi.json", "")
			require.Equal(t, 200, status)
			require.Contains(t, got, "openapi")
			require.Contains(t, fmt.Sprint(got["servers"]), base+prefix)
		}
	})
	t.Run("idempotent", func(t *testing.T) {
		body := v2Body("07700900124", "")
		status, first, header := v2Call(t, "POST", base+"/v2/notifications/sms", body, "Idempotency-Key", "k1")
		require.Equal(t, 201, status, first)
		require.Empty(t, header.Get("Idempotent-Replayed"))
		status, second, header := v2Call(t, "POST", base+"/v2/notifications/sms", body, "Idempotency-Key", "k1")
		require.Equal(t, 201, status, second)
		require.Equal(t, "true", header.Get("Idempotent-Replayed"))
		require.Equal(t, first, second)
		status, _, _ = v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900125", ""), "Idempotency-Key", "k1")
		require.Equal(t, 422, status)
	})
	t.Run("errors", func(t *testing.T) {
		status, got, _ := v2Call(t, "POST", base+"/v2/notifications/sms", `{"phone_number":"07890x32109","template":"x"}`)
		require.Equal(t, 400, status)
		require.Len(t, got["errors"], 3)
		status, got, _ = plainCall(t, "GET", base+"/v2/notifications", "", "Authorization", mint(t, "GET", "/v2/notifications", ""))
		require.Equal(t, 200, status, "what else a token signs does not matter: %v", got)
	})
	t.Run("signed dialect", func(t *testing.T) {
		// The tokens of v2 are none there.
		status, got, _ := v2Call(t, "GET", base+"/notifications", "")
		require.Equal(t, 403, status, got)
		require.Contains(t, got, "error")
	})
}

func TestV2NotIdempotent(t *testing.T) {
	base := apiSite(t, "", "idempotent off")
	var ids []any
	for range 2 {
		status, sent, _ := v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", ""), "Idempotency-Key", "k1")
		require.Equal(t, 201, status, sent)
		ids = append(ids, sent["id"])
	}
	require.NotEqual(t, ids[0], ids[1])
}

// TestDialectV2: the routes of the signed dialect take tokens of v2, for the
// clients of the years between.
func TestDialectV2(t *testing.T) {
	base := apiSite(t, "", "dialect v2\nbase_path /api")
	status, got, _ := v2Call(t, "POST", base+"/api/notifications/sms", `{"to":"07700900123","template":3}`)
	require.Equal(t, 201, status, got)
	n := got["notification"].(map[string]any)
	require.Equal(t, "+447700900123", n["to"])
	status, got, _ = v2Call(t, "GET", fmt.Sprintf("%s/notifications/%v", base, n["id"]), "")
	require.Equal(t, 200, status, got)
	status, got, _ = plainCall(t, "GET", base+"/notifications", "")
	require.Equal(t, 401, status)
	require.Equal(t, map[string]any{
		"result": "error", "message": map[string]any{"token": []any{"Unauthorized: authentication token must be provided"}},
	}, got)
	status, got, _ = v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", ""))
	require.Equal(t, 201, status, got)
}

// TestOrigin: addresses in answers are those that the client uses, as far as
// Caddy believes the proxies between.
func TestOrigin(t *testing.T) {
	site := func(servers, options string) string {
		port := freePort(t)
		cfg := strings.Replace(globals("storage memory origin\n"+oneService()), "{\n", "{\n"+servers, 1)
		load(t, cfg+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api {\n%s\n}\n}\n", port, options))
		return fmt.Sprintf("http://127.0.0.1:%d", port)
	}
	current := func(base string, headers ...string) any {
		status, got, _ := v2Call(t, "GET", base+"/v2/notifications", "", headers...)
		require.Equal(t, 200, status, got)
		return got["links"].(map[string]any)["current"]
	}
	proxied := []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "notify.example.org"}
	const trusting = "servers {\n trusted_proxies static 127.0.0.1\n}\n"

	base := site("", "")
	assert.Equal(t, base+"/v2/notifications", current(base, proxied...), "nobody is believed by default")
	base = site(trusting, "")
	assert.Equal(t, base+"/v2/notifications", current(base))
	assert.Equal(t, "https://notify.example.org/v2/notifications", current(base, proxied...))
	assert.Equal(t, "https://outer.example.org/v2/notifications", current(base, "X-Forwarded-Proto", "https, http", "X-Forwarded-Host", "outer.example.org, inner"))
	assert.Equal(t, base+"/v2/notifications", current(base, "X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "a/b"))
	base = site(trusting, "origin https://sms.example.org")
	assert.Equal(t, "https://sms.example.org/v2/notifications", current(base, proxied...))
}

// TestServiceOptions: senders, guest list and trial of the configuration reach
// the API.
func TestServiceOptions(t *testing.T) {
	options := strings.TrimSuffix(oneService(), "}\n") + `
		key team {env.SIGNPOST_TEST_TEAM} team
		template 2 email {
			subject Hello
			body "# Hello"
		}
		sms_sender ` + senderID + ` Booking
		sms_sender ` + secretOne + ` +447700900456 default
		reply_to ` + senderID + ` desk@example.org
		email_from booking@example.org
		guest_list "+44 7700 900123" team@example.org
	}
`
	t.Setenv("SIGNPOST_TEST_TEAM", "team-"+serviceID+"-"+senderID) // as people paste it
	port := freePort(t)
	load(t, globals("storage sqlite "+filepath.Join(t.TempDir(), "s.db")+"\n"+options)+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)

	status, sent, _ := v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", ""))
	require.Equal(t, 201, status, sent)
	require.Equal(t, "+447700900456", sent["content"].(map[string]any)["from_number"])
	status, sent, _ = v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", `,"sms_sender_id":"`+senderID+`"`))
	require.Equal(t, 201, status, sent)
	require.Equal(t, "Booking", sent["content"].(map[string]any)["from_number"])
	status, sent, _ = v2Call(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", `,"sms_sender_id":"`+serviceID+`"`))
	require.Equal(t, 400, status, sent)
	status, sent, _ = v2Call(t, "POST", base+"/v2/notifications/email",
		fmt.Sprintf(`{"email_address":"a@example.com","template_id":%q,"email_reply_to_id":%q}`, storage.TemplateUUID(serviceID, "2"), senderID))
	require.Equal(t, 201, status, sent)
	require.Equal(t, "booking@example.org", sent["content"].(map[string]any)["from_email"])

	token, err := notifyauth.Mint(notifyauth.MintRequest{Service: serviceID, Secret: senderID, IssuedAt: clock(), Dialect: notifyauth.V2})
	require.NoError(t, err)
	status, sent, _ = plainCall(t, "POST", base+"/v2/notifications/sms", v2Body("07700900123", ""), "Authorization", "Bearer "+token)
	require.Equal(t, 201, status, sent)
	status, sent, _ = plainCall(t, "POST", base+"/v2/notifications/sms", v2Body("07700900124", ""), "Authorization", "Bearer "+token)
	require.Equal(t, 400, status, sent)
	require.Contains(t, fmt.Sprint(sent), "Can’t send to this recipient using a team-only API key")
}

// TestEmailFrom: emails are from the first provider's address when the service
// has none.
func TestEmailFrom(t *testing.T) {
	t.Setenv("SIGNPOST_TEST_FROM", "relay@example.org")
	base := apiSite(t, "delivery email log\ndelivery email smtp 127.0.0.1:1 {\n tls off\n from {env.SIGNPOST_TEST_FROM}\n}\n", "")
	require.Equal(t, "relay@example.org", appRunning(t).outlets.emailFrom)
	status, _, _ := plainCall(t, "GET", base+"/_status", "")
	require.Equal(t, 200, status)
}

// TestInbound: what a provider has received is its service's to read.
func TestInbound(t *testing.T) {
	const secret, next = "inbound-secret-inbound-secret-one", "inbound-secret-inbound-secret-two"
	t.Setenv("SIGNPOST_TEST_INBOUND", secret)
	t.Setenv("SIGNPOST_TEST_INBOUND_NEXT", next)
	port := freePort(t)
	load(t, globals("storage sqlite "+filepath.Join(t.TempDir(), "s.db")+`
		delivery sms webhook {
			name acme
			url https://sms.example.org/send
			inbound {
				secret {env.SIGNPOST_TEST_INBOUND}
				secret {env.SIGNPOST_TEST_INBOUND_NEXT}
				from_field msg.sender
			}
		}
`+strings.TrimSuffix(oneService(), "}\n")+" inbound_number +447700900456\n}\n")+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api {\n base_path /api\n}\n}\n", port))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	post := func(path, secret, body string) int {
		headers := []string{"Content-Type", "application/json"}
		if secret != "" {
			headers = append(headers, "Authorization", "Bearer "+secret)
		}
		status, _, _ := plainCall(t, "POST", base+path, body, headers...)
		return status
	}
	const first = `{"msg":{"sender":"447700900111"},"to":"447700900456","message":"STOP","reference":"r1"}`
	require.Equal(t, 401, post("/inbound/acme", "", first))
	require.Equal(t, 401, post("/inbound/acme", "wrong", first))
	require.Equal(t, 204, post("/inbound/acme", secret, first))
	require.Equal(t, 204, post("/api/inbound/acme", next, first), "a twin is taken, and kept once")
	require.Equal(t, 404, post("/inbound/acme", secret, strings.Replace(first, "900456", "900457", 1)))
	require.Equal(t, 403, post("/inbound/other", secret, first), "no such provider: the API's own answer")
	require.Equal(t, 403, post("/receipts/acme", secret, first), "it has no receipts")

	status, got, _ := v2Call(t, "GET", base+"/v2/received-text-messages", "")
	require.Equal(t, 200, status, got)
	messages := got["received_text_messages"].([]any)
	require.Len(t, messages, 1)
	m := messages[0].(map[string]any)
	require.Equal(t, "STOP", m["content"])
	require.Equal(t, serviceID, m["service_id"])
}

// TestSettings manages the settings of a stored service, whose callback is
// called from then on.
func TestSettings(t *testing.T) {
	called := make(chan string, 10)
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		called <- r.Header.Get("Authorization") + " " + string(body)
	}))
	t.Cleanup(service.Close)
	port, admin := freePort(t), freePort(t)
	load(t, strings.Replace(globals("storage sqlite "+filepath.Join(t.TempDir(), "s.db")+"\n"+oneService())+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port),
		"admin off", fmt.Sprintf("admin 127.0.0.1:%d", admin), 1))
	base, manage := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d/signpost/services", admin)

	_, made, _ := plainCall(t, "POST", manage, `{"name":"Stored"}`)
	path := manage + "/" + made["id"].(string)
	_, key, _ := plainCall(t, "POST", path+"/keys", `{"name":"live"}`)
	status, tpl, _ := plainCall(t, "POST", path+"/templates", `{"type":"sms","body":"Hi"}`)
	require.Equal(t, 201, status, tpl)
	require.Equal(t, tpl["id"], tpl["uuid"])

	status, got, _ := plainCall(t, "GET", path+"/settings", "")
	require.Equal(t, 200, status)
	require.Equal(t, map[string]any{"service": made["id"], "origin": "storage"}, got)
	status, got, _ = plainCall(t, "PUT", path+"/settings", fmt.Sprintf(
		`{"email_from":"a@example.org","callback":{"url":%q,"bearer":"the-bearer"}}`, service.URL))
	require.Equal(t, 200, status, got)
	want := map[string]any{
		"service": made["id"], "origin": "storage", "email_from": "a@example.org", "callback": map[string]any{"url": service.URL},
	}
	require.Equal(t, want, got, "the bearer token is not shown")
	shown, err := json.Marshal(got)
	require.NoError(t, err)
	status, got, _ = plainCall(t, "PUT", path+"/settings", string(shown))
	require.Equal(t, 200, status, "what was shown can be put: %v", got)
	require.Equal(t, want, got)
	for body, want := range map[string]int{
		`{"email_from":"nobody"}`:              400,
		`{"emailfrom":"a@example.org"}`:        400,
		`{"service":"` + serviceID + `"}`:      400,
		`{"callback":{"url":"http://x.test"}}`: 400,
	} {
		status, _, _ := plainCall(t, "PUT", path+"/settings", body)
		require.Equal(t, want, status, body)
	}
	status, _, _ = plainCall(t, "PUT", manage+"/"+serviceID+"/settings", `{}`)
	require.Equal(t, 400, status, "a service of the configuration")

	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: made["id"].(string), Secret: key["secret"].(string), IssuedAt: clock(), Dialect: notifyauth.V2,
	})
	require.NoError(t, err)
	send := func() (int, map[string]any) {
		status, sent, _ := plainCall(t, "POST", base+"/v2/notifications/sms",
			fmt.Sprintf(`{"phone_number":"07700900123","template_id":%q,"reference":"r"}`, tpl["id"]), "Authorization", "Bearer "+token)
		return status, sent
	}
	status, sent := send()
	require.Equal(t, 201, status, sent)
	select {
	case call := <-called:
		require.True(t, strings.HasPrefix(call, `Bearer the-bearer {`), call)
		require.Contains(t, call, sent["id"])
		require.Contains(t, call, `"to":"07700900123"`)
	case <-time.After(20 * time.Second):
		t.Fatal("the callback did not come")
	}

	status, _, _ = plainCall(t, "DELETE", path+"/templates/"+tpl["id"].(string), "")
	require.Equal(t, 204, status)
	status, _, _ = plainCall(t, "DELETE", path+"/templates/none", "")
	require.Equal(t, 404, status)
	status, sent = send()
	require.Equal(t, 400, status)
	require.Contains(t, fmt.Sprint(sent), "Template has been deleted")
}
