//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Another site that knows a token can neither use it in its visitors' browsers
// nor show them the signing page in a frame.
func TestBrowserForeignSite(t *testing.T) {
	st := newStage(t, nil)
	documents := twoDocuments()
	// No browser has opened it, so that only the origin protects it.
	request := st.app.downloaded(t, documents, nil)
	fresh := st.app.askFor(t, "", documents, nil)
	body := st.hub.card.signAll(t, "RS256", documents).json(t)
	name, value, _ := strings.Cut(body, `"signatures"`) // a form of text/plain sends name=value
	evil := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><meta name="referrer" content="unsafe-url">
<form id="form" method="post" enctype="text/plain" action="%s/signatureresponse/%s"><input name='%s' value='%s'></form><iframe></iframe>`,
			st.app.base, request.Token, name+`"x":"`, `","signatures"`+value)
	}))
	t.Cleanup(evil.Close)

	b := st.tab(t)
	for _, script := range []string{
		`fetch(upload, {method: "POST", mode: "no-cors", credentials: "include", body: document.querySelector("input").value})`,
		`fetch(upload, {method: "POST", headers: {"content-type": "application/json"}, credentials: "include", body: "{}"})`, // ends at its preflight
		`Promise.resolve(navigator.sendBeacon(upload, new Blob(["{}"], {type: "text/plain"})))`,
		`fetch(download, {mode: "no-cors", credentials: "include"})`,
	} {
		b.visit(evil.URL)
		_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](fmt.Sprintf(`((upload, download) => %s.then(() => true, () => false))(%q, %q)`, script,
			st.app.base+"/signatureresponse/"+request.Token, st.app.base+"/signaturerequest/"+fresh.Token), chromedp.EvalAwaitPromise))
		require.NoError(t, err)
	}
	b.visit(evil.URL)
	evaluate[bool](b, `(document.getElementById("form").submit(), true)`)
	b.do(chromedp.WaitVisible(chromedp.Search(`//*[contains(text(), "came from another site")]`)))
	eventually(t, patience, func() (bool, string) {
		refused := strings.Count(st.logs(t), `"code":"origin"`)
		return refused == 4, fmt.Sprintf("%d of 4 tries have reached the API and were refused", refused)
	})
	requireRefused(t, st.app.result(t, request.Token), http.StatusNotFound, textPending)
	requireUntouched(t, st.app, fresh.Token)

	b.visit(evil.URL)
	before := len(b.said())
	evaluate[bool](b, fmt.Sprintf(`(document.querySelector("iframe").src = %q, true)`, fresh.RedirectURI))
	eventually(t, patience, func() (bool, string) {
		said := strings.Join(b.said()[before:], "\n")
		return strings.Contains(said, "frame-ancestors 'none'"), "the console says: " + said
	})
	b.shot("framed")

	// The signer's own browser isn't disturbed by any of that.
	got := st.app.upload(t, request.Token, body)
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	assert.Contains(t, string(got.body), st.back.URL+"/signed?x=1&token="+request.Token)
	st.requireDiscreet(t)
}
