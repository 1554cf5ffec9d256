//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trustingHub runs a hub that asks nobody and has the PIN, so that nothing but
// its own checks stands between a request and a signature. The application asks
// from the sites.
func trustingHub(t testing.TB, more string, sites ...string) (*hubServer, *application) {
	t.Helper()
	h := newHubServer(t, newCard(t))
	a := newApplication(t, "https://app.example/cb").at(sites[0]+signingPath, h.client)
	h.env = append(h.env, "CARD_PIN="+cardPIN)
	options := fmt.Sprintf("signer pkcs11 %s {\n token %q\n pin {env.CARD_PIN}\n}\norigins %s\nkey_set applications\nconsent never\n%s",
		h.card.Module, cardLabel, strings.Join(sites, " "), more)
	h.start(t, h.sites([]string{fmt.Sprintf("http://:%d", h.port)}, "signing_hub {\n"+options+"\n}",
		fmt.Sprintf("key_set applications {\n source inline `%s`\n issuer %s\n}", a.keySet(t), a.id)))
	return h, a
}

// signBody is what a page sends to have a request signed.
func signBody(t testing.TB, token string) string {
	t.Helper()
	return string(marshal(t, map[string]string{"request": token}))
}

// requireSigned checks an answer with signatures.
func (h *hubServer) requireSigned(t testing.TB, got answer, algorithm string, documents []document) {
	t.Helper()
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	var out signed
	require.NoError(t, json.Unmarshal(got.body, &out))
	out.requireVerifies(t, h.card.roots(t), algorithm, false, documents)
}

// requireSilent checks that an answer tells nothing of whose card it is, and
// that pages can't read it.
func requireSilent(t testing.TB, got answer) {
	t.Helper()
	assert.GreaterOrEqual(t, got.status, 400, "%s", got.body)
	for name := range got.header {
		assert.NotContains(t, name, "Access-Control-")
	}
	requireImpersonal(t, got)
}

func requireImpersonal(t testing.TB, got answer) {
	t.Helper()
	for _, personal := range []string{prescriber, cardHolder, cardLabel, `"certificate`, `"signature`, "MII"} {
		assert.NotContains(t, string(got.body), personal)
	}
}

// However a request comes that isn't from one of the origins, by script and to
// the hub's own name: nothing is signed, and nobody learns anything.
func TestHubRefuses(t *testing.T) {
	const own = "https://sign.example.org"
	h, a := trustingHub(t, "unsigned_requests on", own)
	documents := twoDocuments()
	token := a.mint(t, a.claims(documents, nil))

	var negotiated struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(h.ask(t, http.MethodGet, "/signalr/negotiate?clientProtocol=2.1", "", own).body, &negotiated))
	send := "/signalr/send?" + url.Values{"transport": {"longPolling"}, "clientProtocol": {"2.1"}, "connectionToken": {negotiated.ConnectionToken}}.Encode()
	form := url.Values{"data": {string(marshal(t, map[string]any{
		"H": "signinghub", "M": "requestToSign", "A": []string{unsignedRequest(t, "RS256", documents)}, "I": 0,
	}))}}.Encode()
	type request struct{ method, path, contentType, body string }
	all := []request{
		{http.MethodGet, "/hub/v1/info", "", ""},
		{http.MethodPost, "/hub/v1/certificates", "application/json", "{}"},
		{http.MethodPost, "/hub/v1/sign", "application/json", signBody(t, token)},
		{http.MethodOptions, "/hub/v1/sign", "", ""},
		{http.MethodGet, "/PRS/GetPortNumber", "", ""},
		{http.MethodGet, "/signalr/negotiate", "", ""},
		{http.MethodPost, send, "application/x-www-form-urlencoded", form},
		{http.MethodGet, "/", "", ""},
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
	}{
		{"no origin", func(r *http.Request) { r.Header.Del("Origin") }},
		{"an empty origin", func(r *http.Request) { r.Header.Set("Origin", "") }},
		{"the origin null", func(r *http.Request) { r.Header.Set("Origin", "null") }},
		{"another site", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }},
		{"another scheme", func(r *http.Request) { r.Header.Set("Origin", "http://sign.example.org") }},
		{"another port", func(r *http.Request) { r.Header.Set("Origin", own+":8443") }},
		{"a longer name", func(r *http.Request) { r.Header.Set("Origin", own+".evil.example") }},
		{"a name below", func(r *http.Request) { r.Header.Set("Origin", "https://evil.sign.example.org") }},
		{"a slash", func(r *http.Request) { r.Header.Set("Origin", own+"/") }},
		{"another case", func(r *http.Request) { r.Header.Set("Origin", "https://SIGN.example.org") }},
		{"two origins", func(r *http.Request) { r.Header["Origin"] = []string{own, "https://evil.example"} }},
		{"two origins in a line", func(r *http.Request) { r.Header.Set("Origin", own+", https://evil.example") }},
		{"the hub itself", func(r *http.Request) { r.Header.Set("Origin", h.base) }},
		{"a rebound host", func(r *http.Request) { r.Host = fmt.Sprintf("evil.example:%d", h.port) }},
		{"a rebound host without a port", func(r *http.Request) { r.Host = "evil.example" }},
		{"the host of the site", func(r *http.Request) { r.Host = "sign.example.org" }},
		{"another port of the host", func(r *http.Request) { r.Host = "127.0.0.1:43480" }},
		{"no port", func(r *http.Request) { r.Host = "localhost" }},
		{"another loopback address", func(r *http.Request) { r.Host = fmt.Sprintf("127.0.0.2:%d", h.port) }},
		{"a name that ends in localhost", func(r *http.Request) { r.Host = fmt.Sprintf("evil.localhost:%d", h.port) }},
		{"a dot behind localhost", func(r *http.Request) { r.Host = fmt.Sprintf("localhost.:%d", h.port) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range all {
				req := h.newRequest(t, r.method, r.path, r.body, own)
				req.Header.Set("Content-Type", r.contentType)
				c.change(req)
				got := h.send(t, req)
				assert.Equal(t, http.StatusForbidden, got.status, "%s %s: %s", r.method, r.path, got.body)
				requireSilent(t, got)
				assert.Empty(t, got.header.Get("Cross-Origin-Resource-Policy"), "a page may find out that there is a hub")
			}
		})
	}
	t.Run("bodies that need no preflight", func(t *testing.T) {
		for _, contentType := range []string{"", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json, text/plain"} {
			for _, path := range []string{"/hub/v1/certificates", "/hub/v1/sign"} {
				body := "{}"
				if strings.HasSuffix(path, "sign") {
					body = signBody(t, token)
				}
				req := h.newRequest(t, http.MethodPost, path, body, own)
				req.Header.Set("Content-Type", contentType)
				got := h.send(t, req)
				assert.Equal(t, http.StatusUnsupportedMediaType, got.status, "%q: %s", contentType, got.body)
				requireImpersonal(t, got)
				assert.Empty(t, got.header.Get("Access-Control-Allow-Credentials"))
			}
		}
	})
	t.Run("requests that aren't good", func(t *testing.T) {
		other := *a
		other.base = "https://other.example.org"
		for name, bad := range map[string]string{
			"for another site": other.mint(t, other.claims(documents, nil)),
			"of another":       other.mint(t, a.claims(documents, map[string]any{"iss": "another"})),
			"too late":         a.mint(t, a.claims(documents, map[string]any{"iat": 1e9, "exp": 1e9 + 300})),
			"forged":           token[:len(token)-8] + "AAAAAAAA",
			"no JWT":           unsignedRequest(t, "RS256", documents),
		} {
			got := h.ask(t, http.MethodPost, "/hub/v1/sign", signBody(t, bad), own)
			assert.Equal(t, http.StatusBadRequest, got.status, "%s: %s", name, got.body)
			assert.Contains(t, string(got.body), "request_invalid", name)
			requireImpersonal(t, got)
		}
	})
	require.Zero(t, h.logged(t, "signed"))

	// The same from where it may come, once; and what was signed again.
	first := h.ask(t, http.MethodPost, "/hub/v1/sign", signBody(t, token), own)
	h.requireSigned(t, first, "RS256", documents)
	again := h.ask(t, http.MethodPost, "/hub/v1/sign", signBody(t, token), own)
	require.Equal(t, http.StatusOK, again.status)
	assert.Equal(t, string(first.body), string(again.body))
	require.Equal(t, 1, h.logged(t, "signed"))
	require.Equal(t, 1, h.logged(t, "signatures given again"))
	h.requireDiscreet(t, a)
}

// In a real browser, which sends what it is made to send by a page of another
// site, and by one of the site that may ask.
func TestHubForeignSite(t *testing.T) {
	evil, own := newOtherSite(t), newOtherSite(t)
	h, a := trustingHub(t, "unsigned_requests on", own.URL)
	documents := twoDocuments()
	var negotiated struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(h.ask(t, http.MethodGet, "/signalr/negotiate?clientProtocol=2.1", "", own.URL).body, &negotiated))
	page := fmt.Sprintf(`<!doctype html><link rel="icon" href="data:,"><meta name="referrer" content="unsafe-url"><script>
const hub = %q, body = %q, token = %q, data = %q;
const post = (path, options) => fetch(hub + path, { method: "POST", ...options });
function submit(path, enctype, fields, target = "_self") {
  const form = Object.assign(document.createElement("form"), { method: "post", action: hub + path, enctype, target });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.body.append(form);
  form.submit();
}
</script><body></body>`, h.base, signBody(t, a.mint(t, a.claims(documents, nil))), negotiated.ConnectionToken,
		marshal(t, map[string]any{"H": "signinghub", "M": "requestToSign", "A": []string{unsignedRequest(t, "RS256", documents)}, "I": 0}))
	evil.serve("/{$}", "text/html", page)
	own.serve("/{$}", "text/html", page)
	browser := startChromium(t, evil.URL, own.URL)

	sendPath := `"/signalr/send?transport=longPolling&connectionToken=" + token`
	scripts := []string{
		`post("/hub/v1/sign", { mode: "no-cors", body })`,
		`post("/hub/v1/sign", { mode: "no-cors", credentials: "include", body: new Blob([body], { type: "text/plain" }) })`,
		`post("/hub/v1/certificates", { mode: "no-cors", body: "{}" })`,
		`Promise.resolve(navigator.sendBeacon(hub + "/hub/v1/sign", new Blob([body], { type: "text/plain" })))`,
	}
	// Of an origin that may ask, these are lawful.
	foreign := []string{
		`post("/hub/v1/sign", { headers: { "content-type": "application/json" }, body })`,
		`post(` + sendPath + `, { mode: "no-cors", body: new URLSearchParams({ data }) })`,
		`fetch(hub + "/hub/v1/info")`,
		`fetch(hub + "/PRS/GetPortNumber", { credentials: "include" })`,
		`new Promise((resolve) => { const s = document.createElement("script"); s.onload = s.onerror = resolve; s.src = hub + "/signalr/hubs"; document.body.append(s); })`,
		`new Promise((resolve) => { const s = document.createElement("iframe"); s.onload = s.onerror = resolve; s.src = hub + "/hub/v1/info"; document.body.append(s); })`,
	}
	forms := []string{
		`submit("/hub/v1/sign", "text/plain", { ['{"x":"']: '",' + body.slice(1) })`,
		`submit("/hub/v1/certificates", "application/x-www-form-urlencoded", { a: "b" })`,
		`submit("/hub/v1/certificates", "multipart/form-data", { a: "b" })`,
	}
	foreignForms := []string{`submit(` + sendPath + `, "application/x-www-form-urlencoded", { data })`}

	for _, c := range []struct {
		name, site     string
		scripts, forms []string
	}{
		{"another site", evil.URL, append(scripts, foreign...), append(forms, foreignForms...)},
		{"its own site, as it shouldn't", own.URL, scripts, forms},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := browser.open(t, evil.URL, own.URL) // the user has let both reach the hub
			b.visit(c.site)
			for _, script := range c.scripts {
				before := h.logged(t, "request refused")
				_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`(() => `+script+`.then(() => true, () => false))()`, chromedp.EvalAwaitPromise))
				require.NoError(t, err, script)
				eventually(t, patience, func() (bool, string) {
					return h.logged(t, "request refused") > before, "it has not reached the hub, which would have refused it: " + script
				})
			}
			for _, form := range c.forms {
				b.visit(c.site)
				evaluate[bool](b, `(`+form+`, true)`)
				b.do(chromedp.WaitReady(chromedp.Search(`//*[contains(text(), "origin_not_allowed") or contains(text(), "request_invalid")]`)))
				requireImpersonal(t, answer{body: []byte(b.text("body"))})
			}
		})
	}
	require.Zero(t, h.logged(t, "signed"))
	h.requireDiscreet(t, a)
}

// A hub that others than this computer could reach doesn't load.
func TestHubLoadsOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	h := newHubServer(t, newCard(t))
	options := h.options("origins https://sign.example.org\nunsigned_requests on")
	file := func(address, bind string) string {
		return fmt.Sprintf("{\n auto_https off\n}\n%s {\n %s\n signing_hub {\n%s\n}\n}\n", address, bind, options)
	}
	for _, c := range []struct {
		name, caddyfile string
		ok              bool
	}{
		{"every interface", file(h.base, ""), false},
		{"every interface by its address", file(h.base, "bind 0.0.0.0"), false},
		{"every interface of IPv6", file(h.base, "bind [::]"), false},
		{"one of them", file(h.base, "bind 127.0.0.1 192.0.2.1"), false},
		{"this computer", file(h.base, "bind 127.0.0.1 [::1]"), true},
	} {
		path := h.write(t, "hub.caddyfile", c.caddyfile)
		out := h.caddy(t, "validate", "--config", path, "--adapter", "caddyfile")
		if c.ok {
			assert.Zero(t, out.code, "%s: %s", c.name, out.all())
			continue
		}
		assert.NotZero(t, out.code, c.name)
		assert.Contains(t, out.all(), "signing_hub is for this computer only", c.name)
		assert.Contains(t, out.all(), "add `bind 127.0.0.1 [::1]` to the site", c.name)
	}
	// Nor does one with a card load in a binary without cards.
	if !strings.Contains(h.run(t, "build-info").all(), "CGO_ENABLED=1") {
		path := h.write(t, "hub.caddyfile", file(h.base, "bind 127.0.0.1 [::1]"))
		out := h.run(t, "run", "--config", path, "--adapter", "caddyfile")
		assert.NotZero(t, out.code)
		assert.Contains(t, out.all(), "built without cgo: use ./xcaddy.sh hub")
	}
}

// One thing at a time, and a browser that goes takes its question with it.
func TestHubBusy(t *testing.T) {
	t.Parallel()
	const own = "https://sign.example.org"
	h := newHubServer(t, newCard(t))
	a := newApplication(t, "https://app.example/cb").at(own+signingPath, h.client)
	h.start(t, h.caddyfile("origins "+own+"\nkey_set applications", fmt.Sprintf("key_set applications {\n source inline `%s`\n issuer %s\n}", a.keySet(t), a.id)))
	documents := twoDocuments()
	body := signBody(t, a.mint(t, a.claims(documents, nil)))

	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		resp, err := h.client.Do(h.newRequest(t, http.MethodPost, "/hub/v1/sign", body, own).WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
		left <- err
	}()
	page := h.consentPage(t)
	for path, body := range map[string]string{"/hub/v1/sign": signBody(t, a.mint(t, a.claims(documents, nil))), "/hub/v1/certificates": "{}"} {
		got := h.ask(t, http.MethodPost, path, body, own)
		assert.Equal(t, http.StatusConflict, got.status, "%s", got.body)
		assert.Contains(t, string(got.body), `"busy"`)
		requireImpersonal(t, got)
	}
	info := h.ask(t, http.MethodGet, "/hub/v1/info", "", own)
	assert.Contains(t, string(info.body), `"card":"present"`)
	requireImpersonal(t, info)
	asking := h.visitor(t, page)
	assert.Contains(t, asking, "Sign 2 documents?")

	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	eventually(t, patience, func() (bool, string) {
		text := h.visitor(t, page)
		return strings.Contains(text, "The request is over") || strings.Contains(text, "Refused"), "the page still asks"
	})
	require.Zero(t, h.logged(t, "signed"))

	// The request wasn't signed, so the browser may come back with it.
	answers := make(chan answer, 1)
	go func() { answers <- h.ask(t, http.MethodPost, "/hub/v1/sign", body, own) }()
	page = h.consentPage(t)
	// Other sites can't answer for the user, even if they knew where.
	form := url.Values{"step": {"1"}, "decision": {"approve"}, "pin": {cardPIN}}.Encode()
	for _, origin := range []string{own, "https://evil.example", "null"} {
		assert.Equal(t, http.StatusForbidden, h.submit(t, page, form, origin).status, origin)
	}
	h.answer(t, page, cardPIN)
	h.requireSigned(t, <-answers, "RS256", documents)
	h.requireDiscreet(t, a)
}

// visitor returns what a page of the hub shows.
func (h *hubServer) visitor(t testing.TB, page string) string {
	t.Helper()
	got := h.ask(t, http.MethodGet, strings.TrimPrefix(page, h.base), "", "")
	return string(got.body)
}
