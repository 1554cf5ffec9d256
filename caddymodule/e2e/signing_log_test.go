//go:build linux

package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Neither the log, with its filter of tokens, nor the metrics nor the site to
// return to learn a token, a request, a document or a PIN: not from a signature
// and not from what fails, at debug level.
func TestSigningIsDiscreet(t *testing.T) {
	st := newStage(t, nil)
	documents := twoDocuments()
	st.hub.start()

	b := st.tab(t)
	request := st.app.askFor(t, "?state=s", documents, nil)
	b.visit(request.RedirectURI)
	b.press("Show the documents")
	b.await("documents")
	st.hub.set(func() { st.hub.pin = wrongPIN })
	b.press("Sign with your smartcard")
	b.fails("pin_incorrect", "The PIN was wrong")
	st.hub.set(func() { st.hub.pin = cardPIN })
	b.press("Try again")
	st.requireReturned(b, request.Token, "s")
	st.app.requireResult(t, request.Token)

	mocked := st.mockApp.askFor(t, "", documents, nil)
	b.visit(mocked.mockPage())
	b.press("Show the documents")
	b.press("Make a test signature")
	st.requireReturned(b, mocked.Token)
	st.requireDiscreet(t)

	// What is refused, and an address that a browser's extension or a proxy
	// would put together in its own way.
	waiting := st.app.downloaded(t, documents, nil)
	for _, call := range []struct {
		method, path, body, contentType string
	}{
		{http.MethodGet, "/signaturerequest/" + waiting.Token, "", ""},
		{http.MethodPost, "/signaturerequest/" + waiting.Token, "", ""},
		{http.MethodPost, "/signaturerequest?token=" + waiting.Token, st.app.mint(t, st.app.claims(documents, map[string]any{"aud": "elsewhere"})), "text/plain"},
		{http.MethodPost, "/signaturerequest", `{"payload":"` + encoded(documents[0].payload) + `"}`, "application/json"},
		{http.MethodPost, "/signatureresponse/" + waiting.Token, `{"signatures":[],"certificate":"` + cardPIN + `"}`, "application/json"},
		{http.MethodGet, "//client?x=" + waiting.Token, "", ""},
		{http.MethodGet, "/nowhere/" + waiting.Token + "/" + waiting.Token, "", ""},
		{"PROPFIND", "/signatureresponse/" + waiting.Token, "", ""},
	} {
		resp := st.app.do(t, call.method, call.path, call.body, "Content-Type", call.contentType, "Referer", waiting.RedirectURI)
		assert.GreaterOrEqual(t, resp.status, http.StatusBadRequest, "%s %s", call.method, call.path)
	}
	st.requireDiscreet(t)

	// The database goes bad under the running server.
	fresh, mock := st.app.askFor(t, "", documents, nil), st.mockApp.downloaded(t, documents, nil)
	again := st.app.mint(t, st.app.claims(documents, nil))
	st.breakDatabase(t)
	for _, call := range []struct {
		app                             *application
		method, path, body, contentType string
	}{
		{st.app, http.MethodGet, "/client?token=" + fresh.Token, "", ""},
		{st.app, http.MethodGet, "/signaturerequest/" + fresh.Token, "", ""},
		{st.app, http.MethodPost, "/signatureresponse/" + waiting.Token, st.hub.card.signAll(t, "RS256", documents).json(t), "application/json"},
		{st.mockApp, http.MethodPost, "/mock/" + mock.Token, "{}", "application/json"},
		{st.app, http.MethodGet, "/signatureresponse/" + request.Token, "", ""},
		{st.app, http.MethodGet, "/_status", "", ""},
		{st.app, http.MethodPost, "/signaturerequest?state=s", again, "text/plain"},
	} {
		resp := call.app.do(t, call.method, call.path, call.body, "Content-Type", call.contentType, "Referer", waiting.RedirectURI)
		assert.GreaterOrEqual(t, resp.status, http.StatusInternalServerError, "%s %s: %s", call.method, call.path, resp.body)
		t.Logf("%s %s: %d", call.method, strings.SplitN(call.path, "/", 3)[1], resp.status)
	}
	b.visit(fresh.RedirectURI)
	b.await("error")
	b.shot("state-error")
	require.Contains(t, st.logs(t), `"level":"error"`)
	st.requireDiscreet(t)
}

// breakDatabase overwrites the database's files where they are.
func (s *server) breakDatabase(t testing.TB) {
	t.Helper()
	for _, name := range []string{"signpost.db", "signpost.db-wal", "signpost.db-shm"} {
		f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY, 0)
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat([]byte("bad disk"), int(info.Size()/8)))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
}
