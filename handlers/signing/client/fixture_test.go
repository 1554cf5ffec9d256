package client

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
	"github.com/signpost-gateway/signpost/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	base     = "https://sign.example.test/signing-service"
	user     = "555086689106"
	clientID = "pharmacy"
	comeBack = "http://127.0.0.1:8085/signed?x=1"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// oneClient is a directory with one client.
type oneClient struct{ only signing.Client }

func (o oneClient) Client(_ context.Context, id string) (*signing.Client, error) {
	if id != o.only.ID {
		return nil, signing.ErrUnknownClient
	}
	return &o.only, nil
}

// service is a signing API without a network between, so that time can be
// made to pass.
type service struct {
	t     testing.TB
	api   *signing.API
	roots *x509.CertPool

	mu sync.Mutex
	// answer, when set, may answer in the API's place by returning true.
	answer func(w http.ResponseWriter, r *http.Request) bool
	asked  int
	last   *http.Request
}

// behave answers in the API's place from now on.
func (s *service) behave(answer func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// questions is how many calls of the client came.
func (s *service) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newService(t testing.TB, change ...func(*signing.Config)) *service {
	t.Helper()
	key, err := jwks.NewKey("k1", "RS512", testKey().Public())
	require.NoError(t, err)
	keys, _ := jwks.NewIndex(jwks.Keys{key})
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	mock, err := evidence.NewMock(nil)
	require.NoError(t, err)
	verifier, err := evidence.New(evidence.Config{Mock: mock})
	require.NoError(t, err)
	pages, err := page.New(page.Config{BasePath: "/signing-service", Mock: true})
	require.NoError(t, err)
	c := signing.Config{
		BaseURL: base, Store: store, Evidence: verifier, Mock: mock, Page: pages, MinKeyBits: 2048,
		Clients: oneClient{signing.Client{ID: clientID, Callback: comeBack, Keys: keys}},
	}
	for _, change := range change {
		change(&c)
	}
	s := &service{t: t, roots: mock.Roots()}
	s.api, err = signing.New(c)
	require.NoError(t, err)
	return s
}

// RoundTrip makes the service the network of a client.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.last, s.asked = r, s.asked+1
	answer := s.answer
	s.mu.Unlock()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	if answer == nil || !answer(w, r) {
		s.api.ServeHTTP(w, r)
	}
	return w.Result(), nil
}

func (s *service) client(change ...func(*Config)) *Client {
	s.t.Helper()
	c := Config{BaseURL: base, ClientID: clientID, Key: testKey(), KeyID: "k1", HTTP: &http.Client{Transport: s, Timeout: time.Minute}}
	for _, change := range change {
		change(&c)
	}
	made, err := New(c)
	require.NoError(s.t, err)
	return made
}

// page makes a call of the browser page.
func (s *service) page(method, path, mediaType, body string) string {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, base+path, strings.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	answer, err := io.ReadAll(w.Result().Body)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, w.Code, string(answer))
	return string(answer)
}

func (s *service) open(p *Pending) string {
	return s.page("GET", "/signaturerequest/"+p.Token, "", "")
}

// sign plays the page to its end and returns where the browser goes.
func (s *service) sign(p *Pending) string {
	s.t.Helper()
	signatures := s.page("POST", "/mock/"+p.Token, "", "")
	var answer struct{ RedirectURI string }
	require.NoError(s.t, json.Unmarshal([]byte(s.page("POST", "/signatureresponse/"+p.Token, "application/json", signatures)), &answer))
	return answer.RedirectURI
}

// visit plays the browser that comes back.
func visit(c *Callback, method, address string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	c.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), method, u.RequestURI(), http.NoBody))
	return w
}

func twoDocuments() []evidence.Document {
	return []evidence.Document{{ID: "a.xml", Payload: []byte("<a/>\n")}, {ID: "b", Payload: []byte{0, 1, 255}}}
}
