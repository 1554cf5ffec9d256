package page

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const signedInfo = `<SignedInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></CanonicalizationMethod><SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></SignatureMethod><Reference><Transforms><Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></Transform></Transforms><DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></DigestMethod><DigestValue>3YlFQMOrw2Q0dUkytzs50JF7HUo=</DigestValue></Reference></SignedInfo>`

func twoDocuments() []claimDocument {
	return []claimDocument{
		{ID: "a4c2d9c5-1d3f-4f0a-9a57-2b9d7f1a0001", Payload: []byte(signedInfo), Display: "Amoxicillin 500 mg capsules\n28 capsules, one three times a day"},
		{ID: "b", Payload: []byte{0, 1, 2, 0xfe, 0xff}},
	}
}

// TestSigning goes from the page to the callback with a hub.
func TestSigning(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)

	b.open(s.client())
	b.await("ready")
	b.shot("ready")
	assert.Zero(t, s.downloads, "nothing is downloaded before it is asked for")
	assert.Empty(t, hub.called())
	assert.Contains(t, b.text(".lead"), "Pharmacy system asks for your signature on 2 documents.")
	assert.Contains(t, b.text(".facts"), "555086689106")

	// A reload before the download harms nobody.
	b.do(chromedp.Reload())
	b.await("ready")
	b.press("Show the documents")
	b.await("documents")
	b.shot("documents")
	assert.Equal(t, "The 2 documents", evaluate[string](b, `document.activeElement.textContent`), "focus")
	assert.Equal(t, signedInfo, evaluate[string](b, `document.querySelector("pre").textContent`))
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(signedInfo))), b.text("#documents code"))
	assert.Contains(t, b.text("#documents li:nth-child(2) pre"), "00 01 02 fe ff")
	assert.Contains(t, b.text("#documents li:nth-child(2)"), "binary, 5 bytes")
	assert.Contains(t, b.text(".display"), "28 capsules, one three times a day")

	b.press("Sign with your smartcard")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	assert.Equal(t, "x=1&token="+testToken+"&state=a%2Bb", b.text("#callback"))
	assert.Equal(t, []string{"info", "certificates", "sign"}, hub.called())
	var sent map[string]any
	require.NoError(t, json.Unmarshal([]byte(hub.bodies[0]), &sent))
	assert.Equal(t, map[string]any{"request": s.request, "certificateId": "c1"}, sent)
	require.Len(t, s.uploads, 1)
	assert.JSONEq(t, uploaded(t, s.ids), s.uploads[0])
	b.quiet()

	// Back from the application there is nothing to do.
	b.do(chromedp.NavigateBack())
	b.await(StateSigned)
	b.quiet()
}

func TestManyDocuments(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	documents := make([]claimDocument, 250)
	for i := range documents {
		documents[i] = claimDocument{ID: fmt.Sprintf("a4c2d9c5-1d3f-4f0a-9a57-2b9d7f1a%04d", i), Payload: []byte(strings.Replace(signedInfo, "3YlF", fmt.Sprintf("%04d", i), 1))}
	}
	s := newSite(t, hub.config(), documents...)
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	assert.Equal(t, 250, evaluate[int](b, `document.querySelectorAll("#documents details").length`))
	assert.Zero(t, evaluate[int](b, `document.querySelectorAll("#documents details[open]").length`))
	b.shot("documents-250")
	b.press("Show all")
	assert.Equal(t, 250, evaluate[int](b, `document.querySelectorAll("#documents details[open]").length`))
	assert.Equal(t, string(documents[249].Payload), evaluate[string](b, `document.querySelector("#documents li:last-child pre").textContent`))
	b.press("Hide all")
	b.press("Sign with your smartcard")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	require.Len(t, s.uploads, 1)
	assert.JSONEq(t, uploaded(t, s.ids), s.uploads[0])
	b.quiet()
}

// TestSinglePayload: the older kind of request is answered in its own shape.
func TestSinglePayload(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	hub.on("certificates", nil) // a hub that lists none
	s := newSite(t, hub.config(), claimDocument{Payload: []byte(signedInfo)})
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	b.shot("documents-single")
	b.press("Sign with your smartcard")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	require.Len(t, s.uploads, 1)
	signatures := hubAnswer([]string{"whatever the hub calls it"})["signatures"].([]signature)
	assert.JSONEq(t, `{"signature":"`+signatures[0].Signature+`","certificate":"Q0VSVA=="}`, s.uploads[0])
}

func TestMock(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	config := hub.config()
	config.Mock = true
	s := newSite(t, config, twoDocuments()...)

	b.open(s.client() + "&mock=true")
	b.await("ready")
	assert.Contains(t, b.text(".banner"), "Test signature – not legally valid.")
	b.press("Show the documents")
	b.await("documents")
	b.shot("mock")
	b.press("Make a test signature")
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	assert.Equal(t, 1, s.mocked)
	assert.Empty(t, hub.called())
	require.Len(t, s.uploads, 1)
	assert.JSONEq(t, uploaded(t, s.ids), s.uploads[0])
	b.quiet()
}

// TestKeyboard signs without a mouse.
func TestKeyboard(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	b.open(s.client())
	b.await("ready")
	b.tabTo("Show the documents")
	b.do(chromedp.KeyEvent("\r"))
	b.await("documents")
	b.tabTo("Sign with your smartcard")
	b.do(chromedp.KeyEvent("\r"), chromedp.WaitReady(chromedp.CSS("#callback")))
	require.Len(t, s.uploads, 1)
}

// tabTo moves the focus with the keyboard to the element with this text.
func (b *tab) tabTo(text string) {
	b.Helper()
	for range 30 {
		b.do(chromedp.KeyEvent("\t"))
		if evaluate[string](b, `document.activeElement.textContent`) == text {
			// What has the focus can be seen.
			assert.NotEqual(b, "none", evaluate[string](b, `getComputedStyle(document.activeElement).outlineStyle`))
			return
		}
	}
	require.Fail(b, "the keyboard doesn't get to "+text)
}

// TestMarker: markup in every field that is shown stays text.
func TestMarker(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	marker := `"'><img src=x onerror="window.marked=1"><script>window.marked=1;alert(1)</script></pre></title>{{.Token}}`
	s := newSite(t, hub.config(),
		claimDocument{ID: "1" + marker, Payload: []byte(marker), Display: marker},
		claimDocument{ID: "2", Payload: []byte("pay \u202egpj.exe\u202c in\u200bvisible\rover"), Display: "‮"},
	)
	s.view.ClientName, s.view.ClientID, s.view.Subject = marker, "id"+marker, marker
	hub.on("sign", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"signatures": []any{}, "certificate": marker, "failed": []any{map[string]any{"id": marker, "error": marker}}})
	})
	b.open(s.client())
	b.await("ready")
	b.press("Show the documents")
	b.await("documents")
	b.shot("marker")
	assert.Equal(t, marker, evaluate[string](b, `document.querySelector("pre").textContent`))
	assert.Equal(t, "pay U+202Egpj.exeU+202C inU+200BvisibleU+000Dover", evaluate[string](b, `document.querySelectorAll("pre")[1].textContent`),
		"what shows nothing is shown")
	b.press("Sign with your smartcard")
	b.fails("partial", "Not all documents could be signed")
	assert.Contains(t, b.text("#failure"), marker)
	assert.False(t, evaluate[bool](b, `"marked" in window`))
	assert.Zero(t, evaluate[int](b, `document.querySelectorAll("img").length`))
	b.quiet()

	// From the hub, in every text that it can give.
	hub.on("sign", fault(http.StatusInternalServerError, marker, "message", marker))
	b.press("Try again")
	b.fails("hub_error", "The signing program reported a problem")
	assert.Contains(t, b.text("#failure"), marker)
	assert.False(t, evaluate[bool](b, `"marked" in window`))
	assert.Empty(t, s.uploads)
}

// TestPolicyBlocks: the page's policy is in force, should markup ever get in.
func TestPolicyBlocks(t *testing.T) {
	b := openTab(t)
	hub := newHub(t)
	s := newSite(t, hub.config(), twoDocuments()...)
	b.open(s.client())
	b.await("ready")
	assert.Equal(t, "TypeError", evaluate[string](b, `(() => { try { document.body.innerHTML = "<b>x</b>"; return "set" } catch (e) { return e.name } })()`))
	evaluate[bool](b, `(document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:1/x.png" })), true)`)
	assert.Contains(t, strings.Join(b.wrote(), "\n"), "Content Security Policy", "the tests see violations of the policy")
}
