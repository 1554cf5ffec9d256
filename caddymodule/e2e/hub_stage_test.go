//go:build linux

package e2e

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// hubBinary is the caddy that can use smartcards. It is built when the first
// test needs it.
var hubBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SIGNPOST_HUB_CADDY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(builds, "caddy-hub")
	return path, build(path, "1")
})

const (
	cardLabel  = "prescriber card"
	cardHolder = "Prescriber Test"
)

// softCard is a card in SoftHSM, and the authority that issued it.
type softCard struct {
	Module string `json:"module"`
	Config string `json:"softhsm2_conf"`
	CA     string `json:"ca"`
}

// slowCard makes a card whose batches last long enough to be looked at on any
// machine: a second for 250 signatures, and not a fifth of one.
const slowCard = "--bits=4096"

// newCard makes a card by the command.
func newCard(t testing.TB, options ...string) (card softCard) {
	t.Helper()
	path, err := hubBinary()
	require.NoError(t, err)
	dir := t.TempDir()
	out := execute(t, dir, environment(dir, "SIGNPOST_CARD_PIN="+cardPIN), "", path, append([]string{
		"signpost", "hub", "testcard", "--json",
		"--dir", filepath.Join(dir, "card"), "--label", cardLabel, "--user-id", prescriber, "--name", cardHolder,
	}, options...)...)
	require.Zero(t, out.code, out.all())
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &card))
	return card
}

func (c softCard) roots(t testing.TB) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(c.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(b))
	return pool
}

// hubServer is a hub on the user's computer, with a card in its reader and a
// browser that it can open.
type hubServer struct {
	*server

	card   softCard
	port   int
	base   string
	client *http.Client
	seen   int    // addresses that it has opened and that were looked at
	door   string // the file that led to the last of them
}

// newHubServer prepares a hub at a port that isn't running yet.
func newHubServer(t testing.TB, card softCard) *hubServer {
	t.Helper()
	path, err := hubBinary()
	require.NoError(t, err)
	h := &hubServer{server: newServer(t), card: card, port: freePort(t), client: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	t.Cleanup(h.client.CloseIdleConnections)
	h.base = plainURL(h.port)
	// Another program takes the place of the one that servers run.
	h.prefix = []string{"/bin/sh", "-c", `shift; exec "$0" "$@"`, path}
	// Instead of opening a browser's window, the file that is to be opened and where
	// it leads are noted in another.
	bin := filepath.Join(h.dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	h.write(t, "bin/xdg-open", "#!/bin/sh\nprintf '%s %s\\n' \"$*\" \"$(sed -n 's/.*url=\\([^\"]*\\)\".*/\\1/p' \"$1\")\" >>\""+h.openedFile()+"\"\n")
	require.NoError(t, os.Chmod(filepath.Join(bin, "xdg-open"), 0o700)) //nolint:gosec // it is a program
	h.env = append(h.env, "PATH="+bin+":"+os.Getenv("PATH"), "SOFTHSM2_CONF="+card.Config)
	return h
}

func (h *hubServer) openedFile() string { return filepath.Join(h.dir, "opened") }

// caddyfile has a hub at its port, with options, and more of the option
// signpost.
func (h *hubServer) caddyfile(options, signpost string) string {
	return h.sites([]string{h.base}, "signing_hub {\n"+h.options(options)+"\n}", signpost)
}

// options are those of a hub with the card.
func (h *hubServer) options(more string) string {
	return fmt.Sprintf("signer pkcs11 %s {\n token %q\n}\n%s", h.card.Module, cardLabel, more)
}

// sites is a Caddyfile with a site for this computer only.
func (h *hubServer) sites(addresses []string, routes, signpost string) string {
	return fmt.Sprintf(`{
	auto_https off
	skip_install_trust
	persist_config off
	grace_period 1s
	log {
		level DEBUG
	}
	signpost {
		%s
	}
}

%s {
	bind 127.0.0.1 [::1]
	%s
}
`, signpost, strings.Join(addresses, ", "), routes)
}

// ask makes a request as a page of the origin does.
func (h *hubServer) ask(t testing.TB, method, path, body, origin string) answer {
	t.Helper()
	return h.send(t, h.newRequest(t, method, path, body, origin))
}

func (h *hubServer) send(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := h.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, b}
}

func (h *hubServer) newRequest(t testing.TB, method, path, body, origin string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.base+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Origin", origin)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// caddy runs a command of the hub's own binary.
func (h *hubServer) caddy(t testing.TB, args ...string) output {
	t.Helper()
	path, err := hubBinary()
	require.NoError(t, err)
	return execute(t, h.dir, h.env, "", path, args...)
}

// logged counts the lines of the log with a message.
func (h *hubServer) logged(t testing.TB, message string) int {
	t.Helper()
	b, err := os.ReadFile(h.log)
	require.NoError(t, err)
	return strings.Count(string(b), fmt.Sprintf(`"msg":%q`, message))
}

// requireDiscreet checks that the log, at debug level, holds nothing that isn't
// its readers': no PIN, no address of a consent page, and no secret of an
// application.
func (h *hubServer) requireDiscreet(t testing.TB, a *application) {
	t.Helper()
	b, err := os.ReadFile(h.log)
	require.NoError(t, err)
	log := string(b)
	require.Contains(t, log, `"level":"debug"`)
	require.NotContains(t, log, cardPIN)
	require.NotContains(t, log, wrongPIN)
	require.NotContains(t, log, cardHolder)
	for _, opened := range h.opened(t) {
		require.NotContains(t, log, opened[len(opened)-16:])
	}
	if a != nil {
		a.secrets.requireAbsent(t, "the hub's log", log)
	}
}

// opened are the files that the hub has opened, each with the address to which
// it leads.
func (h *hubServer) opened(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(h.openedFile())
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	lines := strings.SplitAfter(string(b), "\n")
	lines = lines[:len(lines)-1] // without an end it is still being written
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	return lines
}

// consentPage waits for the hub to open a page, and returns its address.
func (h *hubServer) consentPage(t testing.TB) (address string) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		all := h.opened(t)
		if len(all) <= h.seen {
			return false, "the hub has not opened a page"
		}
		h.door, address, _ = strings.Cut(all[h.seen], " ")
		return true, ""
	})
	h.seen++
	// The arguments of a browser can be read by all users of the computer.
	require.NotContains(t, h.door, address[len(address)-16:])
	require.Regexp(t, "^"+h.base+"/consent/[A-Z2-7]{40,}$", address)
	return address
}

// consent opens the page that the hub opens, beside the tab that made it ask.
func (h *hubServer) consent(b *tab) *tab {
	b.Helper()
	h.consentPage(b)
	c := b.beside()
	c.visit("file://" + h.door)
	c.shows("asking")
	return c
}

// beside opens another tab of the same browser.
func (b *tab) beside() *tab {
	b.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.Cleanup(cancel)
	require.NoError(b, chromedp.Do(ctx))
	_, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	require.NoError(b, err)
	c := &tab{TB: b.TB, ctx: ctx}
	require.NoError(b, chromedp.Listen(ctx, c.hear))
	c.do(chromedp.EmulateViewport(800, 900))
	return c
}

// shows waits for a state of the hub's page.
func (b *tab) shows(state string) {
	b.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(`main[data-state="` + state + `"]`)))
}

// enter enters the PIN in the hub's page.
func (b *tab) enter(pin string) {
	b.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS("#pin"), pin))
}

// ends waits until the hub's page tells how it ended.
func (b *tab) ends(title string) {
	b.Helper()
	b.shows("ended")
	require.Equal(b, title, b.text("h1"))
}

// hubStage is everything between an application and a card, and nothing of it
// is made up: two signing APIs (for hub/1 and for the protocol of the NHS), a
// hub with a card in SoftHSM, and a browser.
type hubStage struct {
	*server
	*chromium

	hub      *hubServer
	app, nhs *application
	back     *returnSite
	// cli is the client for which the command asks, which waits at listen.
	cli    *application
	listen string
	page   *otherSite // allowed by the hub as well
}

// newHubStage starts all but the hub.
func newHubStage(t testing.TB, cardOptions ...string) *hubStage {
	t.Helper()
	card := newCard(t, cardOptions...)
	st := &hubStage{
		server: newServer(t), hub: newHubServer(t, card), back: newReturnSite(t),
		listen: address(freePort(t)), page: newOtherSite(t),
	}
	app := newApplication(t, st.back.URL+"/signed?x=1")
	cli := newApplication(t, "http://"+st.listen+"/back")
	cli.id, cli.secrets = "command-line-client", app.secrets
	site, nhsSite := fmt.Sprintf("https://localhost:%d", freePort(t)), fmt.Sprintf("https://localhost:%d", freePort(t))
	options := "trust_pool file " + card.CA + "\npublish_keys on\nhub "
	st.start(t, config{
		global:   "auto_https disable_redirects",
		signpost: app.block(t) + cli.block(t),
		sites:    signingSite(site, options+"url "+st.hub.base) + signingSite(nhsSite, options+"nhs"),
	}.String())
	client := st.trusting(t)
	st.app, st.nhs, st.cli = app.at(site+signingPath, client), app.at(nhsSite+signingPath, client), cli.at(site+signingPath, client)
	for _, a := range []*application{st.app, st.nhs} {
		eventually(t, patience, func() (bool, string) {
			resp, err := a.try(http.MethodGet, "/_ping", "")
			return err == nil && resp.status == http.StatusOK, fmt.Sprint(resp.status, err)
		})
	}
	st.chromium = startChromium(t, site, nhsSite, st.back.URL, st.page.URL)
	return st
}

// hubOptions let both signing APIs and the other site ask.
func (st *hubStage) hubOptions(t testing.TB, more string) string {
	t.Helper()
	return fmt.Sprintf("origins %s %s %s\nrequests_from %s %s\ntrust_pool file %s\n%s",
		originOf(t, st.app.base), originOf(t, st.nhs.base), st.page.URL, st.app.base, st.nhs.base, st.rootFile(), more)
}

// rootFile has the authority of the server's own certificates.
func (s *server) rootFile() string {
	return filepath.Join(s.dir, "share", "caddy", "pki", "authorities", "local", "root.crt")
}

// tab opens a tab whose user lets the sites reach the hub.
func (st *hubStage) tab(t testing.TB) *tab {
	t.Helper()
	return st.open(t, st.app.base, st.nhs.base, st.page.URL)
}

// requireReturned waits for the browser at the application's site.
func (st *hubStage) requireReturned(b *tab, token string) {
	b.Helper()
	b.do(chromedp.WaitReady(chromedp.CSS("#back")))
	visits := st.back.visits()
	require.NotEmpty(b, visits)
	require.Equal(b, token, visits[len(visits)-1].URL.Query().Get("token"))
}

// otherSite is a web site whose pages a test writes.
type otherSite struct {
	*httptest.Server
	*http.ServeMux
}

func newOtherSite(t testing.TB) *otherSite {
	t.Helper()
	s := &otherSite{ServeMux: http.NewServeMux()}
	s.Server = httptest.NewTLSServer(s.ServeMux)
	t.Cleanup(s.Close)
	return s
}

// serve serves a document at a path.
func (s *otherSite) serve(path, mediaType, document string) {
	s.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(w, document) // the browser may have gone
	})
}
