//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A person signs in a real browser: from the application to the signatures, in
// both dialects, with both algorithms, with the hub and with the mock.
func TestBrowserSigns(t *testing.T) {
	st := newStage(t, nil)
	st.hub.start()
	two := twoDocuments()
	many := make([]document, 250)
	for i := range many {
		many[i] = document{id: fmt.Sprintf("5f1b3a0e-9c1d-4a55-8d3e-%012d", i), payload: signedInfo(fmt.Sprintf("%027d=", i))}
	}
	for _, c := range []struct {
		name, algorithm string
		single, mock    bool
		documents       []document
		query           string
		state           []string
	}{
		{name: "hub D2 RS256", algorithm: "RS256", documents: two, query: "?state=eyJwck51bWJlciI6N30%3D", state: []string{"eyJwck51bWJlciI6N30="}},
		{name: "hub D2 RS1", algorithm: "RS1", documents: two},
		{name: "hub D1 RS256", algorithm: "RS256", single: true, documents: two[:1], query: "?state=", state: []string{""}},
		{name: "hub D1 RS1", algorithm: "RS1", single: true, documents: two[:1]},
		{name: "hub 250 documents", algorithm: "RS256", documents: many, query: "?state=a+b%2Bc%26d", state: []string{"a b+c&d"}},
		{name: "mock D2 RS256", algorithm: "RS256", mock: true, documents: two, query: "?state=%3Cb%3E", state: []string{"<b>"}},
		{name: "mock D2 RS1", algorithm: "RS1", mock: true, documents: two},
		{name: "mock D1 RS1", algorithm: "RS1", single: true, mock: true, documents: two[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := st.tab(t)
			app, more, button := st.app, map[string]any{"algorithm": c.algorithm}, "Sign with your smartcard"
			if c.mock {
				app, button = st.mockApp, "Make a test signature"
			}
			if c.single {
				single(more, c.documents[0])
			}
			request := app.askFor(t, c.query, c.documents, more)
			address, roots := request.RedirectURI, st.cards.roots()
			if c.mock {
				address, roots = request.mockPage(), nil
			}

			b.visit(address)
			b.await("ready")
			b.shot("ready-" + strings.Fields(c.name)[0])
			assert.Contains(t, b.text(".lead"), "Pharmacy system asks for your signature on")
			assert.Contains(t, b.text(".facts"), prescriber)
			requireUntouched(t, app, request.Token)
			b.press("Show the documents")
			b.await("documents")
			b.shot("documents-" + strings.Fields(c.name)[0])
			requireShown(b, c.documents)
			b.press(button)
			st.requireReturned(b, request.Token, c.state...)
			b.shot("returned")
			b.quiet()

			out := app.requireResult(t, request.Token)
			certificate := out.requireVerifies(t, roots, c.algorithm, c.single, c.documents)
			if c.mock {
				assert.Contains(t, certificate.Subject.String(), "MOCK - NOT A REAL SIGNATURE")
				assert.Contains(t, certificate.Issuer.String(), "MOCK - NOT A REAL SIGNATURE")
			}
			assert.Equal(t, out, app.requireResult(t, request.Token), "it can be read again")
		})
	}
	st.requireDiscreet(t)
}

// requireUntouched checks that looking at the page has taken nothing.
func requireUntouched(t testing.TB, app *application, token string) {
	t.Helper()
	requireRefused(t, app.result(t, token), http.StatusBadRequest, "Signature request has not been downloaded yet")
}

// requireShown checks that the page shows every document, whole.
func requireShown(b *tab, documents []document) {
	b.Helper()
	require.Equal(b, len(documents), evaluate[int](b, `document.querySelectorAll("#documents pre").length`))
	for i, d := range documents {
		if i > 0 && i < len(documents)-1 {
			continue // all are made alike
		}
		shown := evaluate[string](b, fmt.Sprintf(`document.querySelectorAll("#documents pre")[%d].textContent`, i))
		if bytes.IndexByte(d.payload, 0) < 0 {
			assert.Equal(b, string(d.payload), shown)
		} else {
			assert.Contains(b, shown, fmt.Sprintf("% x", d.payload))
		}
		assert.Contains(b, evaluate[string](b, `document.querySelector("#documents").textContent`), fmt.Sprintf("%x", sha256.Sum256(d.payload)))
	}
	if documents[0].display != "" {
		assert.Contains(b, b.text("#documents"), documents[0].display)
	}
}

// Markup in everything that the page shows is text, in a real browser with a
// real server.
func TestBrowserRunsNoMarker(t *testing.T) {
	st := newStage(t, func(a *application) { a.id, a.name = "id"+marker, "name"+marker })
	documents := []document{
		{id: "1" + marker, payload: []byte("payload" + marker), display: "display" + marker},
		{id: "2", payload: []byte(marker), display: marker},
	}
	b := st.tab(t)
	request := st.mockApp.askFor(t, "?state=%22%27%3E%3Cscript%3Ewindow.marked%3D1%3Balert(1)%3C/script%3E", documents, map[string]any{"sub": "sub" + marker})
	b.visit(request.mockPage())
	b.await("ready")
	b.shot("marker-ready")
	for _, what := range []string{"id", "name", "sub"} {
		assert.Contains(t, b.text("main"), what+marker)
	}
	b.requireUnmarked()
	b.press("Show the documents")
	b.await("documents")
	b.shot("marker-documents")
	shown := evaluate[string](b, `document.querySelector("#documents").textContent`)
	for _, what := range []string{"1", "payload", "display"} {
		assert.Contains(t, shown, what+marker)
	}
	b.requireUnmarked()
	b.press("Make a test signature")
	st.requireReturned(b, request.Token, `"'><script>window.marked=1;alert(1)</script>`)
	b.quiet()
	st.mockApp.requireResult(t, request.Token).requireVerifies(t, nil, "RS256", false, documents)

	// In the address itself, where nothing is known of it.
	for _, query := range []string{"?token=", "?mock=true&token=", "?error=", "?token=x&state="} {
		b.visit(st.mockApp.base + "/client" + query + `%22%27%3E%3Cimg%20src%3Dx%20onerror%3D%22window.marked%3D1%22%3E`)
		b.await("unknown")
		b.requireUnmarked()
	}
	st.requireDiscreet(t)
}
