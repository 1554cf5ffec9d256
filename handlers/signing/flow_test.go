package signing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

func TestRequestIsAnsweredWithATokenAndThePage(t *testing.T) { // G1
	f := newFixture(t, nil)
	w := f.post(t, f.mint(t, nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var got map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	token := got["token"]
	assert.Equal(t, map[string]string{"token": token, "redirectUri": base + "/client?token=" + token}, got)
	assert.Regexp(t, "^[A-Za-z0-9]{48}$", token)
	text, err := base64.StdEncoding.DecodeString(token)
	require.NoError(t, err)
	id, err := uuid.Parse(string(text))
	require.NoError(t, err)
	assert.EqualValues(t, 4, id.Version())
	assert.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	assert.Equal(t, []Event{{Route: "request", Result: "ok", Status: 200}}, f.events)
}

func TestDownloadGivesTheSameBytesOnce(t *testing.T) { // G8
	f := newFixture(t, nil)
	sent := f.mint(t, nil)
	token := tokenOf(t, f.post(t, sent))

	head := f.call(t, http.MethodHead, "/signaturerequest/"+token, "")
	assert.Equal(t, http.StatusOK, head.Code)
	assert.Empty(t, head.Body.String())

	w := f.download(t, token)
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, sent, w.Body.String())
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	requireRefusal(t, f.download(t, token), 400, "Signature request has already been downloaded")
	assert.Equal(t, http.StatusBadRequest, f.call(t, http.MethodHead, "/signaturerequest/"+token, "").Code)
}

// TestEveryAnswerByState is the whole table of the wire reference.
func TestEveryAnswerByState(t *testing.T) { // G9
	const (
		unknown       = "No signature request for specified token"
		notDownloaded = "Signature request has not been downloaded yet"
		downloaded    = "Signature request has already been downloaded"
	)
	f := newFixture(t, nil)
	upload := goodUpload(t, "RS256", "a", "b")
	stranger := b64(uuid.NewString())

	for _, token := range []string{"_", "a", uuid.NewString(), "abc", "%0A", "ab%0Acd%0A", strings.Repeat("a", 300)} {
		for _, w := range []*httptest.ResponseRecorder{f.download(t, token), f.upload(t, token, upload), f.result(t, token)} {
			requireRefusal(t, w, 400, `Invalid request params: "token" must be a valid base64 string`)
		}
	}
	for _, token := range []string{stranger, "abcd", "ab%2F%2B"} {
		requireRefusal(t, f.download(t, token), 404, unknown)
		requireRefusal(t, f.upload(t, token, upload), 404, unknown)
		requireRefusal(t, f.upload(t, token, "{}"), 404, unknown)
		requireRefusal(t, f.result(t, token), 404, unknown)
	}

	token := f.request(t, nil)
	requireRefusal(t, f.upload(t, token, upload), 400, notDownloaded)
	requireRefusal(t, f.result(t, token), 400, notDownloaded)

	require.Equal(t, http.StatusOK, f.download(t, token).Code)
	requireRefusal(t, f.download(t, token), 400, downloaded)
	requireRefusal(t, f.result(t, token), 404, "Could not find the specified signature response")

	require.Equal(t, http.StatusOK, f.upload(t, token, upload).Code)
	requireRefusal(t, f.download(t, token), 400, downloaded)
	requireRefusal(t, f.upload(t, token, upload), 400, "Signature request has already been signed")
	require.Equal(t, http.StatusOK, f.result(t, token).Code)
}

func TestWholeFlow(t *testing.T) { // G10
	for _, algorithm := range []string{"RS256", "RS1"} {
		t.Run(algorithm, func(t *testing.T) {
			f := newFixture(t, nil)
			token := f.downloaded(t, map[string]any{"algorithm": algorithm})
			upload := goodUpload(t, algorithm, "b", "a")
			w := f.upload(t, token, upload)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.JSONEq(t, `{"token":"`+token+`","redirectUri":"https://app.example/cb?x=1&token=`+token+`"}`, w.Body.String())

			w = f.result(t, token)
			require.Equal(t, http.StatusOK, w.Code)
			assert.JSONEq(t, goodUpload(t, algorithm, "a", "b"), w.Body.String(), "in the order of the request")
			assert.Equal(t, w.Body.String(), f.result(t, token).Body.String(), "repeatable")
			assert.Equal(t, http.StatusOK, f.call(t, http.MethodHead, "/signatureresponse/"+token, "").Code)
			assert.NotContains(t, f.log.String(), token)
		})
	}
}

func TestSinglePayload(t *testing.T) { // G11
	signature := cardSign(t, "RS256", documentText("x"))
	want := toJSON(t, map[string]string{"signature": signature, "certificate": cardCertificate()})
	for name, upload := range map[string]string{
		"its own shape": want,
		"a list":        toJSON(t, map[string]any{"signatures": []any{map[string]string{"id": "0", "signature": signature}}, "certificate": cardCertificate()}),
		"without id":    toJSON(t, map[string]any{"signatures": []any{map[string]string{"signature": signature}}, "certificate": cardCertificate()}),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			token := f.downloaded(t, map[string]any{"payloads": nil, "payload": b64(documentText("x"))})
			w := f.upload(t, token, upload)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.JSONEq(t, want, f.result(t, token).Body.String())
		})
	}
}

func TestState(t *testing.T) {
	f := newFixture(t, nil)
	f.clients["client-1"].Callback = "https://app.example/cb"
	for query, want := range map[string]string{
		"?state=eyJwck51bWJlciI6MX0%3D": "&state=eyJwck51bWJlciI6MX0%3D",
		"?state=":                       "&state=",
		"?other=1":                      "",
		"?state=%0d%0aSet-Cookie%3A+a%26b%3D%23%2B": "&state=%0D%0ASet-Cookie%3A%20a%26b%3D%23%2B",
		"?state=" + strings.Repeat("x", 256):        "&state=" + strings.Repeat("x", 256),
	} {
		w := f.call(t, http.MethodPost, "/signaturerequest"+query, f.mint(t, nil), "Content-Type", "text/plain")
		require.Equal(t, http.StatusOK, w.Code, query)
		token := tokenOf(t, w)
		require.Equal(t, http.StatusOK, f.download(t, token).Code)
		w = f.upload(t, token, goodUpload(t, "RS256", "a", "b"))
		require.Equal(t, http.StatusOK, w.Code)
		var got answer
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		assert.Equal(t, "https://app.example/cb?token="+token+want, got.RedirectURI)
	}
	const prefix = "Invalid request query: "
	for query, want := range map[string]string{
		"?state=" + strings.Repeat("x", 257): `"state" length must be less than or equal to 256 characters long`,
		"?state=a&state=b":                   `"state" must be a string`,
		"?state=%zz":                         `"state" must be encoded as in a URL`,
		"?state=a;b":                         `"state" must be encoded as in a URL`,
		"?state=%ff":                         `"state" must be valid UTF-8`,
	} {
		w := f.call(t, http.MethodPost, "/signaturerequest"+query, f.mint(t, nil), "Content-Type", "text/plain")
		requireRefusal(t, w, 400, prefix+want)
	}
}

func TestDeadlinesAndRetention(t *testing.T) {
	const unknown = "No signature request for specified token"
	upload := goodUpload(t, "RS256", "a", "b")
	t.Run("requested", func(t *testing.T) {
		f := newFixture(t, nil)
		token := f.request(t, nil)
		f.clock.add(600 * time.Second)
		requireRefusal(t, f.download(t, token), 404, unknown)
		requireRefusal(t, f.result(t, token), 404, unknown)
		assert.Contains(t, f.call(t, http.MethodGet, "/client?token="+token, "").Body.String(), "expired")
	})
	t.Run("downloaded", func(t *testing.T) {
		f := newFixture(t, nil)
		token := f.downloaded(t, nil)
		f.clock.add(600*time.Second - time.Microsecond)
		requireRefusal(t, f.upload(t, token, "{}"), 400, `Invalid request payload: "signatures" is required`)
		f.clock.add(time.Microsecond)
		requireRefusal(t, f.upload(t, token, upload), 404, unknown)
		requireRefusal(t, f.result(t, token), 404, unknown)
	})
	t.Run("signed", func(t *testing.T) {
		f := newFixture(t, nil)
		token := f.downloaded(t, nil)
		f.clock.add(599 * time.Second)
		require.Equal(t, http.StatusOK, f.upload(t, token, upload).Code)
		f.clock.add(time.Hour - time.Microsecond)
		require.Equal(t, http.StatusOK, f.result(t, token).Code)
		f.clock.add(time.Microsecond)
		requireRefusal(t, f.result(t, token), 404, unknown)
		requireRefusal(t, f.upload(t, token, upload), 404, unknown)
	})
	t.Run("retention shorter than the deadline", func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Retention = time.Second })
		token := f.downloaded(t, nil)
		require.Equal(t, http.StatusOK, f.upload(t, token, upload).Code)
		require.Equal(t, http.StatusOK, f.result(t, token).Code)
		f.clock.add(time.Second)
		requireRefusal(t, f.result(t, token), 404, unknown)
	})
	t.Run("while verifying", func(t *testing.T) {
		f := newFixture(t, nil)
		token := f.downloaded(t, nil)
		f.config.Clients = slowClients{f.clients, f.clock, time.Hour}
		requireRefusal(t, f.upload(t, token, upload), 404, unknown)
	})
}

// slowClients let time pass.
type slowClients struct {
	clients

	clock *clock
	takes time.Duration
}

func (s slowClients) Client(ctx context.Context, id string) (*Client, error) {
	s.clock.add(s.takes)
	return s.clients.Client(ctx, id)
}

func TestRetrieveOnce(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RetrieveOnce = true })
	token := f.downloaded(t, nil)
	require.Equal(t, http.StatusOK, f.upload(t, token, goodUpload(t, "RS256", "a", "b")).Code)
	require.Equal(t, http.StatusOK, f.call(t, http.MethodHead, "/signatureresponse/"+token, "").Code)
	w := f.result(t, token)
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, goodUpload(t, "RS256", "a", "b"), w.Body.String())
	for range 2 {
		requireRefusal(t, f.result(t, token), 404, "No signature request for specified token")
	}
}

func TestReplay(t *testing.T) {
	f := newFixture(t, nil)
	sent := f.mint(t, nil)
	token := tokenOf(t, f.post(t, sent))
	requireRefusal(t, f.post(t, sent), 400, "JWT payload is not valid. This JWT has been used")
	assert.Equal(t, http.StatusOK, f.download(t, token).Code, "the first one goes on")
	require.Equal(t, http.StatusOK, f.upload(t, token, goodUpload(t, "RS256", "a", "b")).Code)
	requireRefusal(t, f.post(t, sent), 400, "JWT payload is not valid. This JWT has been used")

	f = newFixture(t, func(c *Config) { c.Profile = ProfileDocumented })
	sent = f.mint(t, nil)
	assert.NotEqual(t, tokenOf(t, f.post(t, sent)), tokenOf(t, f.post(t, sent)))
}

// meeting is a store at which all callers have read the request before any of
// them moves it.
type meeting struct {
	Store

	missing *sync.WaitGroup
}

func meet(store Store, callers int) Store {
	m := meeting{store, new(sync.WaitGroup)}
	m.missing.Add(callers)
	return m
}

func (m meeting) SigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error) {
	r, err := m.Store.SigningRequest(ctx, token)
	m.missing.Done()
	m.missing.Wait()
	return r, err
}

func TestOneOfManyUploadsWins(t *testing.T) {
	onSQLite := sqlite.New(sqlite.Config{Path: filepath.Join(t.TempDir(), "test.db")})
	require.NoError(t, onSQLite.Open(t.Context()))
	defer onSQLite.Close()
	for name, store := range map[string]Store{"memory": nil, "sqlite": onSQLite} {
		t.Run(name, func(t *testing.T) { oneUploadWins(t, store) })
	}
}

func oneUploadWins(t *testing.T, store Store) {
	t.Helper()
	f := newFixture(t, func(c *Config) {
		c.Observe, c.Logger = nil, nil
		if store != nil {
			c.Store = store
		}
	})
	token := f.downloaded(t, nil)
	upload := goodUpload(t, "RS256", "a", "b")
	answers := make([]*httptest.ResponseRecorder, 64)
	f.config.Store = meet(f.config.Store, len(answers))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = f.upload(t, token, upload) })
	}
	all.Wait()
	won := 0
	for _, w := range answers {
		if w.Code == http.StatusOK {
			won++
			continue
		}
		requireRefusal(t, w, 400, "Signature request has already been signed")
	}
	assert.Equal(t, 1, won)
}

func TestOneOfManyDownloadsWins(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Observe, c.Logger = nil, nil })
	token := f.request(t, nil)
	answers := make([]*httptest.ResponseRecorder, 64)
	f.config.Store = meet(f.config.Store, len(answers))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = f.download(t, token) })
	}
	all.Wait()
	won := 0
	for _, w := range answers {
		if w.Code == http.StatusOK {
			won++
			continue
		}
		requireRefusal(t, w, 400, "Signature request has already been downloaded")
	}
	assert.Equal(t, 1, won)
}

func TestAClientThatHasBeenEnded(t *testing.T) {
	f := newFixture(t, nil)
	opened, waiting := f.downloaded(t, nil), f.request(t, nil)
	delete(f.clients, "client-1")
	requireRefusal(t, f.upload(t, opened, goodUpload(t, "RS256", "a", "b")), 404, "No signature request for specified token")
	assert.Equal(t, http.StatusNotFound, f.call(t, http.MethodGet, "/client?token="+waiting, "").Code)

	f.clients["client-1"] = &Client{ID: "client-1", Callback: "javascript:alert(1)", Keys: keySet(t)}
	requireRefusal(t, f.upload(t, opened, goodUpload(t, "RS256", "a", "b")), 500, "An internal server error occurred")
}
