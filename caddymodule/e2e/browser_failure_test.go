//go:build linux

package e2e

import (
	"context"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// One long bad morning: everything between the page and the card goes wrong,
// one after the other, and in the end the documents are signed.
func TestBrowserFailures(t *testing.T) {
	st := newStage(t, nil)
	own := st.hub.origins
	b := st.tab(t)
	documents := twoDocuments()
	request := st.app.askFor(t, "?state=s", documents, nil)
	b.visit(request.RedirectURI)
	b.press("Show the documents")
	b.await("documents")

	b.press("Sign with your smartcard")
	b.fails("hub_not_running", "The signing program isn’t running")

	st.hub.set(func() { st.hub.origins = []string{"https://sign.example.org"} })
	st.hub.start()
	b.press("Try again")
	b.fails("origin_not_allowed", "The signing program doesn’t accept this site")
	assert.Contains(t, b.text("#failure"), originOf(t, st.app.base))

	st.hub.set(func() { st.hub.origins = own })
	b.permit(st.app.base, browser.PermissionSettingDenied)
	before := len(st.hub.called())
	b.press("Try again")
	b.fails("permission_denied", "Your browser blocked this page")
	assert.Len(t, st.hub.called(), before, "the browser let the page reach the hub")
	b.permit(st.app.base, browser.PermissionSettingGranted)

	prescribers := st.hub.card
	st.hub.set(func() { st.hub.card = nil })
	b.press("Try again")
	b.fails("no_card", "No smartcard found")

	st.hub.set(func() { st.hub.card, st.hub.pin = prescribers, wrongPIN })
	b.press("Try again")
	b.fails("pin_incorrect", "The PIN was wrong")
	assert.Contains(t, b.text("#failure"), "2 tries are left before the card is blocked.")
	b.press("Try again")
	b.do(chromedp.WaitVisible(chromedp.Search(`//p[contains(., "One try is left before the card is blocked.")]`)))
	b.press("Try again")
	b.do(chromedp.WaitVisible(chromedp.Search(`//p[contains(., "No try is left.")]`)))
	b.press("Try again")
	b.fails("pin_blocked", "The card is blocked")

	// With another card, to begin with one that isn't theirs.
	for _, c := range []struct {
		detail string
		change func(*x509.Certificate)
	}{
		{"does not belong to the user", func(c *x509.Certificate) { c.Subject.CommonName = "111111111111_OTHER" }},
		{"has expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
		{"not for signing documents", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }},
	} {
		other := st.cards.issue(t, c.change)
		st.hub.set(func() { st.hub.card, st.hub.pin, st.hub.left = other, cardPIN, pinTries })
		b.press("Try again")
		b.fails("refused", "The signature was not accepted")
		assert.Contains(t, b.text("#failure"), c.detail)
	}
	requireRefused(t, st.app.result(t, request.Token), http.StatusNotFound, textPending)

	st.hub.set(func() { st.hub.card, st.hub.cancels = prescribers, true })
	b.press("Try again")
	b.fails("user_cancelled", "You cancelled signing")
	waits := make(chan struct{})
	st.hub.set(func() { st.hub.cancels, st.hub.waits = false, waits })
	b.press("Sign after all")
	b.await("signing")
	b.shot("signing")
	b.press("Cancel")
	b.fails("user_cancelled", "You cancelled signing")
	close(waits)
	st.hub.set(func() { st.hub.waits = nil })

	b.press("Sign after all")
	st.requireReturned(b, request.Token, "s")
	st.app.requireResult(t, request.Token).requireVerifies(t, st.cards.roots(), "RS256", false, documents)
	st.requireDiscreet(t)
}

// Whatever looks at the link before or after its reader harms nobody.
func TestBrowserHistory(t *testing.T) {
	st := newStage(t, nil)
	st.hub.start()
	documents := twoDocuments()

	t.Run("a link scanner, a reload and the back button", func(t *testing.T) {
		b := st.tab(t)
		request := st.app.askFor(t, "?state=s", documents, nil)
		// Mail servers and proxies fetch links, with GET and HEAD and no scripts.
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
			resp := st.app.do(t, method, "/client?token="+request.Token, "", "User-Agent", "LinkScanner/1.0")
			require.Equal(t, http.StatusOK, resp.status)
		}
		b.visit(request.RedirectURI)
		b.await("ready")
		for range 2 {
			b.do(chromedp.Reload())
			b.await("ready")
		}
		requireUntouched(t, st.app, request.Token)
		b.press("Show the documents")
		b.await("documents")
		b.press("Sign with your smartcard")
		st.requireReturned(b, request.Token, "s")
		visits := len(st.back.visits())
		b.do(chromedp.NavigateBack())
		b.await("signed")
		b.shot("state-signed")
		assert.Len(t, st.back.visits(), visits, "back went forward again")
		b.quiet()
		st.app.requireResult(t, request.Token).requireVerifies(t, st.cards.roots(), "RS256", false, documents)
	})
	t.Run("a second browser", func(t *testing.T) {
		first, second, third := st.tab(t), st.tab(t), st.tab(t)
		request := st.app.askFor(t, "", documents, nil)
		second.visit(request.RedirectURI)
		second.await("ready")
		first.visit(request.RedirectURI)
		first.press("Show the documents")
		first.await("documents")
		second.press("Show the documents")
		second.fails("elsewhere", "This request belongs to another browser")
		third.visit(request.RedirectURI)
		third.await("downloaded")
		third.shot("state-downloaded")
		// It knows the token, and the page's calls; it has no cookie.
		requireRefused(t, st.app.upload(t, request.Token, st.hub.card.signAll(t, "RS256", documents).json(t)),
			http.StatusForbidden, "has been opened in another browser")
		first.press("Sign with your smartcard")
		st.requireReturned(first, request.Token)
		third.visit(request.RedirectURI)
		third.await("signed")
		first.quiet()
		third.quiet()
	})
	t.Run("a second tab", func(t *testing.T) {
		b := st.tab(t)
		request := st.app.askFor(t, "", documents, nil)
		b.visit(request.RedirectURI)
		b.await("ready")
		// The same browser without its first page: the cookie is there.
		b.visit(request.RedirectURI + "&again")
		b.press("Show the documents")
		b.await("documents")
		_, err := chromedp.Run(b.ctx, chromedp.WaitEvent(cdppage.JavascriptDialogOpening, nil,
			chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, cdppage.Reload, cdppage.ReloadParams{})
				return err
			})))
		require.NoError(t, err, "the browser warns of a reload that would lose the request")
		_, err = chromedp.Call(b.ctx, cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{Accept: true})
		require.NoError(t, err)
		b.await("downloaded")
	})
	t.Run("too late", func(t *testing.T) {
		b := st.tab(t)
		request := st.app.askFor(t, "", documents, map[string]any{"exp": time.Now().Unix() + 6})
		b.visit(request.RedirectURI)
		b.press("Show the documents")
		b.await("documents")
		b.fails("expired", "This request has expired")
		b.visit(request.RedirectURI)
		b.await("expired")
		b.shot("state-expired")
		requireRefused(t, st.app.result(t, request.Token), http.StatusNotFound, textUnknownToken)
	})
	t.Run("unknown, and the mock where there is none", func(t *testing.T) {
		b := st.tab(t)
		b.visit(st.app.base + "/client?token=ZjQ3YWMxMGItNThjYy00MzcyLWE1NjctMGUwMmIyYzNkNDc5")
		b.await("unknown")
		b.shot("state-unknown")
		request := st.app.askFor(t, "", documents, nil)
		b.visit(request.mockPage())
		b.await("mock_off")
		b.shot("state-mock_off")
		requireUntouched(t, st.app, request.Token)
		requireRefused(t, st.app.do(t, http.MethodPost, "/mock/"+request.Token, "{}"), http.StatusNotFound, "Not Found")
	})
	st.requireDiscreet(t)
}
