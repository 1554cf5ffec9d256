//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The hub dies, once while it asks and once while it signs: the page says so,
// nothing is uploaded, and when the hub is back the user goes on.
func TestHubKill(t *testing.T) {
	st := newHubStage(t, slowCard)
	caddyfile := st.hub.caddyfile(st.hubOptions(t, ""), "")
	st.hub.start(t, caddyfile)
	documents := make([]document, 250)
	for i := range documents {
		documents[i] = document{id: fmt.Sprintf("document-%d", i), payload: signedInfo(fmt.Sprintf("%027d=", i))}
	}
	b := st.tab(t)
	request := st.app.askFor(t, "", documents, nil)
	b.visit(request.RedirectURI)
	b.press("Show the documents")
	b.await("documents")

	b.press("Sign with your smartcard")
	asked := st.hub.consent(b)
	asked.press("Show")
	asked = st.hub.consent(b)
	b.await("signing")
	st.hub.kill()
	b.do(chromedp.WaitVisible(chromedp.CSS(`#main[data-state="failed"]`)))
	b.fails("hub_not_running", "The signing program isn’t running")
	asked.enter(cardPIN)
	asked.press("Sign")
	asked.do(chromedp.WaitVisible(chromedp.CSS("#main-frame-error"))) // the browser's own

	st.hub.start(t, caddyfile)
	b.press("Try again")
	asked = st.hub.consent(b)
	assert.Contains(t, asked.text("h1"), "Show your certificates?", "what it knew of consents is gone with it")
	asked.press("Show")
	asked = st.hub.consent(b)
	asked.enter(cardPIN)
	progress := st.hub.watch(t, asked.address(), 1)
	asked.press("Sign")
	require.NotEmpty(t, <-progress)
	st.hub.kill()
	b.fails("hub_not_running", "The signing program isn’t running")
	requireRefused(t, st.app.result(t, request.Token), http.StatusNotFound, textPending)

	st.hub.start(t, caddyfile)
	b.press("Try again")
	st.hub.consent(b).press("Show")
	asked = st.hub.consent(b)
	asked.enter(cardPIN)
	asked.press("Sign")
	st.requireReturned(b, request.Token)
	st.app.requireResult(t, request.Token).requireVerifies(t, st.hub.card.roots(t), "RS256", false, documents)
	st.hub.requireDiscreet(t, st.app)
}
