package page

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHubFailures: each is told apart from the others, and after each one the
// request can still be signed.
func TestHubFailures(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	good := map[string]func(http.ResponseWriter, *http.Request){}
	for operation, answer := range hub.answers {
		good[operation] = answer
	}
	s := newSite(t, hub.config(), twoDocuments()...)
	answer := func(v any) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, v) }
	}
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	label := "Sign with your smartcard"
	for _, c := range []struct {
		name            string
		operation       string
		answer          func(http.ResponseWriter, *http.Request)
		code, title, in string
	}{
		{"absent", "info", answer(map[string]any{"version": "1", "card": "absent"}), "no_card", "No smartcard found", "Insert your smartcard"},
		{"info algorithms", "info", answer(map[string]any{"version": "1", "card": "present", "algorithms": []string{"ES256"}}), "unsupported_algorithm", "The card can’t sign in this way", "RS256"},
		{"info is text", "info", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, "hub_error", "The signing program reported a problem", "can’t be read"},
		{"info is null", "info", answer(nil), "hub_error", "The signing program reported a problem", "can’t be read"},
		{"no certificates", "certificates", answer(map[string]any{"certificates": []any{}}), "no_certificate", "No signing certificate on the card", "right card"},
		{"certificates' algorithms", "certificates", answer(map[string]any{"certificates": []any{map[string]any{"id": "1", "algorithms": []string{"RS1"}}}}), "unsupported_algorithm", "The card can’t sign in this way", "RS256"},
		{"origin, said openly", "certificates", fault(http.StatusForbidden, "origin_not_allowed"), "origin_not_allowed", "The signing program doesn’t accept this site", shared.site.URL},
		{"no card", "sign", fault(http.StatusBadRequest, "no_card"), "no_card", "No smartcard found", "The hub says: no_card"},
		{"no certificate", "sign", fault(http.StatusBadRequest, "no_certificate"), "no_certificate", "No signing certificate on the card", ""},
		{"two tries", "sign", fault(http.StatusForbidden, "pin_incorrect", "retriesLeft", 2), "pin_incorrect", "The PIN was wrong", "2 tries are left before the card is blocked."},
		{"one try", "sign", fault(http.StatusForbidden, "pin_incorrect", "retriesLeft", 1), "pin_incorrect", "The PIN was wrong", "One try is left before the card is blocked."},
		{"blocked", "sign", fault(423, "pin_blocked"), "pin_blocked", "The card is blocked", "unblock"},
		{"algorithm", "sign", fault(http.StatusBadRequest, "unsupported_algorithm"), "unsupported_algorithm", "The card can’t sign in this way", ""},
		{"busy", "sign", fault(http.StatusConflict, "busy"), "busy", "The signing program is busy", "another tab or window"},
		{"invalid", "sign", fault(http.StatusBadRequest, "request_invalid"), "request_invalid", "The signing program refused the request", "The hub says"},
		{"internal", "sign", fault(http.StatusInternalServerError, "internal"), "hub_error", "The signing program reported a problem", "The hub says"},
		{"inherited name", "sign", fault(http.StatusInternalServerError, "constructor"), "hub_error", "The signing program reported a problem", ""},
		{"one failed", "sign", answer(map[string]any{"signatures": hubAnswer(s.ids[:1])["signatures"], "failed": []any{map[string]any{"id": "b", "error": "internal"}}, "certificate": "Q0VSVA=="}), "partial", "Not all documents could be signed", "b: internal"},
		{"one missing", "sign", answer(hubAnswer(s.ids[:1])), "partial", "Not all documents could be signed", "1 of 2 documents were signed."},
		{"another id", "sign", answer(hubAnswer([]string{"b", "c"})), "partial", "Not all documents could be signed", "1 of 2"},
		{"one twice", "sign", answer(hubAnswer([]string{"b", "b"})), "partial", "Not all documents could be signed", "1 of 2"},
		{"one empty", "sign", answer(map[string]any{"signatures": []signature{{s.ids[0], ""}, {"b", "YQ=="}}, "certificate": "Q0VSVA=="}), "hub_error", "The signing program reported a problem", "empty signature"},
		{"no certificate in the answer", "sign", answer(map[string]any{"signatures": hubAnswer(s.ids)["signatures"]}), "hub_error", "The signing program reported a problem", "no certificate"},
		{"user cancelled", "sign", fault(http.StatusBadRequest, "user_cancelled"), "user_cancelled", "You cancelled signing", "Nothing has been signed."},
	} {
		hub.on(c.operation, c.answer)
		b.press(label)
		b.await("failed")
		assert.Equal(t, c.code, b.attribute("#main", "data-failure"), c.name)
		b.fails(c.code, c.title)
		assert.Contains(t, b.text("#failure"), c.in, c.name)
		hub.on(c.operation, good[c.operation])
		label = "Try again"
	}
	assert.Empty(t, s.uploads)
	b.press("Sign after all")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	assert.Len(t, s.uploads, 1)
}

// TestHubOutOfReach: three reasons that look the same to a page, and three helps.
func TestHubOutOfReach(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")

	b.permit(browser.PermissionSettingDenied)
	b.press("Sign with your smartcard")
	b.fails("permission_denied", "Your browser blocked this page")
	assert.Empty(t, hub.called())

	b.permit(browser.PermissionSettingGranted)
	hub.mu.Lock()
	hub.origin = "https://sign.example.org"
	hub.mu.Unlock()
	b.press("Try again")
	b.fails("origin_not_allowed", "The signing program doesn’t accept this site")
	assert.Contains(t, b.text("#failure"), shared.site.URL)

	hub.mu.Lock()
	hub.origin = ""
	hub.mu.Unlock()
	hub.on("sign", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusOK)
		panic(http.ErrAbortHandler) // it dies
	})
	b.press("Try again")
	b.fails("hub_error", "The signing program reported a problem")
	assert.Contains(t, b.text("#failure"), "The connection broke.")

	hub.CloseClientConnections()
	hub.Server.Close()
	b.press("Try again")
	b.fails("hub_not_running", "The signing program isn’t running")
	assert.Empty(t, s.uploads)
}

// TestCancel ends what the hub does.
func TestCancel(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	started, ended := make(chan struct{}), make(chan struct{})
	hub.on("sign", func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	b.press("Sign with your smartcard")
	b.wait(started)
	b.shot("signing")
	assert.Contains(t, b.text("#status[role=status]"), "enter your PIN there")
	assert.Equal(t, "true", b.attribute("#main", "aria-busy"))
	b.press("Cancel")
	b.wait(ended)
	b.fails("user_cancelled", "You cancelled signing")
	assert.Empty(t, s.uploads)
}

// TestPermissionUnanswered: a browser without a window closes the question at
// once, which a user can do too.
func TestPermissionUnanswered(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	b.permit(browser.PermissionSettingPrompt)
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	b.press("Sign with your smartcard")
	b.fails("hub_not_running", "The signing program isn’t running")
	assert.Contains(t, b.text("#failure"), "try again and choose Allow")
	assert.Empty(t, hub.called())

	b.permit(browser.PermissionSettingGranted)
	b.press("Try again")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
}

func (b *tab) wait(event <-chan struct{}) {
	b.Helper()
	select {
	case <-event:
	case <-b.ctx.Done():
		require.NoError(b, b.ctx.Err())
	}
}

// TestChoice: of several certificates the user takes one; that of the person
// for whom the request is comes first to hand.
func TestChoice(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	marker := `<img src=x onerror="window.marked=1">`
	hub.on("certificates", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"certificates": []any{
			map[string]any{"id": "c1", "certificate": certificate(t, "111111111111_"+marker), "algorithms": []string{"RS256"}},
			map[string]any{"id": "c2", "certificate": certificate(t, "555086689106_ÅSA EXAMPLE")},
			map[string]any{"id": "c3", "certificate": "bm8gY2VydGlmaWNhdGU="},
			map[string]any{"id": "c4", "certificate": "", "algorithms": []string{"RS1"}},
		}})
	})
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	b.press("Sign with your smartcard")
	b.await("choosing")
	b.shot("choosing")
	choice := b.text("#choice")
	assert.Contains(t, choice, "111111111111_"+marker)
	assert.Contains(t, choice, "555086689106_ÅSA EXAMPLE")
	assert.Contains(t, choice, "issued by Test CA, valid until 2 March 2031")
	assert.Contains(t, choice, "Certificate 3")
	assert.NotContains(t, choice, "Certificate 4")
	assert.Equal(t, "c2", evaluate[string](b, `document.activeElement.value`))
	b.press("Cancel")
	b.fails("user_cancelled", "You cancelled signing")

	b.press("Sign after all")
	b.await("choosing")
	b.do(chromedp.Click(chromedp.CSS(`label[for="certificate-0"]`)))
	b.press("Sign with this certificate")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	var sent struct {
		CertificateID string `json:"certificateId"`
	}
	require.Len(t, hub.bodies, 1)
	require.NoError(t, json.Unmarshal([]byte(hub.bodies[0]), &sent))
	assert.Equal(t, "c1", sent.CertificateID)
	b.quiet()
}

func certificate(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"nhs"}, CommonName: name},
		NotBefore: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), NotAfter: time.Date(2031, 3, 2, 12, 0, 0, 0, time.UTC),
	}
	issuer := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Test CA"}}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, key)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(der)
}

func hangUp(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }

func says(status int, message string) func(http.ResponseWriter) bool {
	return func(w http.ResponseWriter) bool { return refuse(w, status, message) }
}

// TestOpeningFailures: what can go wrong with the download.
func TestOpeningFailures(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	for _, c := range []struct {
		answer      func(http.ResponseWriter) bool
		code, title string
		again       bool
	}{
		{hangUp, "unreachable", "The signing service can’t be reached", true},
		{says(http.StatusServiceUnavailable, "An internal server error occurred"), "server_error", "The signing service can’t answer right now", true},
		{says(http.StatusTooManyRequests, "slow down"), "server_error", "The signing service can’t answer right now", true},
		{func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true }, "server_error", "The signing service can’t answer right now", true},
		{says(http.StatusNotFound, "No signature request for specified token"), "expired", "This request has expired", false},
		{says(http.StatusBadRequest, "Signature request has already been downloaded"), "used", "This request has already been opened", false},
		{says(http.StatusForbidden, "Forbidden"), "elsewhere", "This request belongs to another browser", false},
		{func(w http.ResponseWriter) bool { _, _ = io.WriteString(w, "a.b.c"); return true }, "unreadable", "The documents can’t be shown", false},
		{func(w http.ResponseWriter) bool { _, _ = io.WriteString(w, "a.e30.c"); return true }, "unreadable", "The documents can’t be shown", false},
	} {
		s := newSite(t, hub.config(), twoDocuments()...)
		s.onDownload = c.answer
		b.open(s.client())
		b.press("Show the documents")
		b.fails(c.code, c.title)
		if !c.again {
			assert.Zero(t, evaluate[int](b, `[...document.querySelectorAll("main button")].filter((e) => e.checkVisibility()).length`), c.code)
			continue
		}
		sites.mu.Lock()
		s.onDownload = nil
		sites.mu.Unlock()
		b.press("Try again")
		b.await("documents")
		evaluate[bool](b, `(window.onbeforeunload = null, true)`)
	}
}

// TestSendingFailures: what can go wrong with the upload, and what has not to
// be done again then.
func TestSendingFailures(t *testing.T) {
	b := openTab(t)
	for _, c := range []struct {
		answer             func(http.ResponseWriter) bool
		code, title, again string
		signed             int // times, in the end
		text               string
	}{
		{hangUp, "unreachable", "The signing service can’t be reached", "Send again", 1, "you don’t have to sign again"},
		{says(http.StatusServiceUnavailable, "away"), "server_error", "The signing service can’t answer right now", "Send again", 1, "you don’t have to sign again"},
		{says(http.StatusBadRequest, `Invalid request payload: the certificate has expired`), "refused", "The signature was not accepted", "Try again", 2, "the certificate has expired"},
		{says(http.StatusNotFound, "No signature request for specified token"), "expired", "This request has expired", "", 1, ""},
		{says(http.StatusBadRequest, "Signature request has already been signed"), "signed", "This request has already been signed", "", 1, ""},
		{says(http.StatusForbidden, "Forbidden"), "elsewhere", "This request belongs to another browser", "", 1, ""},
		{func(w http.ResponseWriter) bool {
			writeJSON(w, http.StatusOK, map[string]any{"redirectUri": "javascript:window.marked=1"})
			return true
		}, "signed", "This request has already been signed", "", 1, ""},
	} {
		hub := newHub(t)
		s := newSite(t, hub.config(), twoDocuments()...)
		s.onUpload = c.answer
		b.open(s.client())
		b.press("Show the documents")
		b.await("documents")
		b.press("Sign with your smartcard")
		b.fails(c.code, c.title)
		assert.Contains(t, b.text("#failure"), c.text)
		if c.again != "" {
			sites.mu.Lock()
			s.onUpload = nil
			sites.mu.Unlock()
			b.press(c.again)
			b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
			require.Len(t, s.uploads, 1)
		}
		assert.Len(t, hub.bodies, c.signed, c.code)
		assert.False(t, evaluate[bool](b, `"marked" in window`))
	}
}

// TestExpiry: the time runs out while the page is open.
func TestExpiry(t *testing.T) {
	b := openTab(t)
	s := newSite(t, newHub(t).config(), twoDocuments()...)
	s.page.now = func() time.Time { return s.view.Deadline.Add(-time.Millisecond) }
	b.open(s.client())
	b.fails("expired", "This request has expired")
	assert.Zero(t, s.downloads)
	b.quiet()
}

// TestReloadAfterDownload: the browser warns, and the page says what happened.
func TestReloadAfterDownload(t *testing.T) {
	b := openTab(t)
	s := newSite(t, newHub(t).config(), twoDocuments()...)
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	_, err := chromedp.Run(b.ctx, chromedp.WaitEvent(page.JavascriptDialogOpening, nil,
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, page.Reload, page.ReloadParams{})
			return err
		})))
	require.NoError(t, err)
	_, err = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	require.NoError(t, err)
	b.await(StateDownloaded)
	assert.Equal(t, 1, s.downloads)
}

// TestNotices: the states in which there is nothing to do.
func TestNotices(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	for state, n := range notices {
		if state == StateReady {
			continue
		}
		s := newSite(t, hub.config(), twoDocuments()...)
		s.view.State = state
		b.open(s.client())
		b.await(state)
		assert.Equal(t, n.Title, b.text("h1"))
		b.shot("state-" + state)
	}
}
