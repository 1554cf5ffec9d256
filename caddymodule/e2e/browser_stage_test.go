//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stage is everything that a signature needs: a server with the API twice (for
// test cards and with the mock), an application with a site to return to, a
// hub and a browser.
type stage struct {
	*server
	*chromium

	cards        *authority
	hub          *testHub
	app, mockApp *application // at the two sites
	back         *returnSite
}

// tokenSnippets keep the tokens of signature requests, which are capabilities,
// out of a log: wherever a URL has one, and whatever looks like one. They belong
// into the option log, since URLs stand in more than the access log (errors of
// handlers and, at debug level, rewrites hold them too), and into every log of a
// site that has options of its own.
const tokenSnippets = `(hide_token) {
	{args[0]} regexp "((?:signaturerequest|signatureresponse|mock)/|token=)[^&/?#]+|[0-9A-Za-z%]{48,}" "${1}TOKEN"
}

(hide_tokens) {
	format filter {
		import hide_token request>uri
		import hide_token request>headers>Referer
		import hide_token resp_headers>Location
		import hide_token uri
	}
}

`

// newStage starts all but the hub. change, which may be nil, makes another
// application of it before.
func newStage(t testing.TB, change func(*application)) *stage {
	t.Helper()
	st := &stage{server: newServer(t), cards: newAuthority(t), hub: newTestHub(t), back: newReturnSite(t)}
	app := newApplication(t, st.back.URL+"/signed?x=1")
	if change != nil {
		change(app)
	}
	port, mockPort := freePort(t), freePort(t)
	site, mockSite := fmt.Sprintf("https://localhost:%d", port), fmt.Sprintf("https://localhost:%d", mockPort)
	issuer := newSigner(t, "access-1", 2048)
	st.write(t, "cards.pem", st.cards.pem())
	st.start(t, tokenSnippets+config{
		global: "auto_https disable_redirects\nmetrics\nlog {\n level DEBUG\n import hide_tokens\n}",
		signpost: app.block(t) + fmt.Sprintf("key_set access {\n source inline `%s`\n issuer %s\n}\n",
			keySetOf(t, issuer), issuerName),
		sites: signingSite(site, "trust_pool file cards.pem\npublish_keys on\nhub url "+st.hub.address+"\naccess_token {\n key_set access\n client_claim azp\n}") +
			signingSite(mockSite, "mock on"),
	}.String())
	client := st.trusting(t)
	st.app, st.mockApp = app.at(site+signingPath, client), app.at(mockSite+signingPath, client)
	st.app.bearer = accessToken(t, issuer, map[string]any{"azp": app.id, "sub": app.id})
	app.secrets.add(st.app.bearer, cardPIN, wrongPIN)
	st.hub.set(func() {
		st.hub.card, st.hub.keys, st.hub.origins = st.cards.issue(t, nil), client, []string{site}
	})
	for _, a := range []*application{st.app, st.mockApp} {
		eventually(t, patience, func() (bool, string) {
			resp, err := a.try(http.MethodGet, "/_ping", "")
			return err == nil && resp.status == http.StatusOK, fmt.Sprint(resp.status, err)
		})
	}
	st.chromium = startChromium(t, site, mockSite, st.back.URL)
	return st
}

// tab opens a tab whose user lets the sites reach the hub.
func (st *stage) tab(t testing.TB) *tab {
	t.Helper()
	return st.open(t, st.app.base, st.mockApp.base)
}

// logs is everything that the server has logged.
func (st *stage) logs(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(st.log)
	require.NoError(t, err)
	return string(b)
}

// requireDiscreet checks that nobody has learnt what isn't theirs: not the log
// at debug level, not the metrics, and not the site to return to by a referrer.
func (st *stage) requireDiscreet(t testing.TB) {
	t.Helper()
	log := st.logs(t)
	require.Contains(t, log, `"level":"debug"`)
	require.Contains(t, log, `/client?token=TOKEN`)
	require.Contains(t, log, `/signaturerequest/TOKEN`)
	st.app.secrets.requireAbsent(t, "the log", log)
	st.app.secrets.requireAbsent(t, "the metrics", st.request(t, http.MethodGet, "/metrics", "", "").body)
	for _, r := range st.back.visits() {
		assert.Empty(t, r.Header.Get("Referer"))
		assert.Empty(t, r.Header.Get("Origin"))
	}
}

// returnSite is the application's own site, to which the browser returns.
type returnSite struct {
	*httptest.Server

	mu  sync.Mutex
	got []*http.Request
}

func newReturnSite(t testing.TB) *returnSite {
	t.Helper()
	s := new(returnSite)
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *returnSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.got = append(s.got, r)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><p id="back">Back at the application</p>`)
}

func (s *returnSite) visits() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.got...)
}

// requireReturned waits for the browser and checks what it brings.
func (st *stage) requireReturned(b *tab, token string, state ...string) {
	b.Helper()
	b.do(chromedp.WaitReady(chromedp.CSS("#back")))
	visits := st.back.visits()
	require.NotEmpty(b, visits)
	last := visits[len(visits)-1]
	want := url.Values{"x": {"1"}, "token": {token}}
	if len(state) > 0 {
		want["state"] = state
	}
	require.Equal(b, http.MethodGet, last.Method)
	require.Equal(b, "/signed", last.URL.Path)
	require.Equal(b, want, last.URL.Query())
}

func keySetOf(t testing.TB, s signer) string {
	t.Helper()
	return (&application{signer: s}).keySet(t)
}

// mockPage is the address of the page with the fake signer.
func (a asked) mockPage() string { return a.RedirectURI + "&mock=true" }

// marker is markup that would run wherever it isn't text.
const marker = `"'><img src=x onerror="window.marked=1"><script>window.marked=1;alert(1)</script></pre></title>{{.Token}}{env.HOME}`

// requireUnmarked checks that no marker has run.
func (b *tab) requireUnmarked() {
	b.Helper()
	assert.False(b, evaluate[bool](b, `"marked" in window`), "a marker has run")
	assert.Zero(b, evaluate[int](b, `document.querySelectorAll("img").length`))
	assert.False(b, strings.Contains(evaluate[string](b, `document.documentElement.innerHTML`), "<img src"))
}
