package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
	"github.com/signpost-gateway/signpost/jwks"
)

const (
	base     = "https://sign.example.test/signing-service"
	callback = "https://app.example/cb?x=1"
	subject  = "555086689106"
)

// vectorTime is the clock of the vectors.
var vectorTime = time.Unix(1800000000, 0)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// privateKeys are the published test keys, by kid.
var privateKeys = sync.OnceValue(func() map[string]*rsa.PrivateKey {
	data, err := os.ReadFile(filepath.Join("testdata", "signing_keys_TEST_ONLY.json"))
	if err != nil {
		panic(err)
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		panic(err)
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			panic(err)
		}
		return new(big.Int).SetBytes(b)
	}
	all := make(map[string]*rsa.PrivateKey)
	for _, k := range set.Keys {
		private := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: number(k["n"]), E: int(number(k["e"]).Int64())},
			D:         number(k["d"]),
			Primes:    []*big.Int{number(k["p"]), number(k["q"])},
		}
		private.Precompute()
		all[k["kid"]] = private
	}
	return all
})

// card is a smartcard and who issued it.
var card = sync.OnceValue(func() (c struct {
	key   *rsa.PrivateKey
	der   []byte
	roots *x509.CertPool
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	authority, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	c.key, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: vectorTime.AddDate(-1, 0, 0), NotAfter: vectorTime.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &authority.PublicKey, authority)
	must(err)
	root, err := x509.ParseCertificate(der)
	must(err)
	c.roots = x509.NewCertPool()
	c.roots.AddCert(root)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: subject + "_TEST"}, BasicConstraintsValid: true,
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageContentCommitment,
	}
	c.der, err = x509.CreateCertificate(rand.Reader, leaf, root, &c.key.PublicKey, authority)
	must(err)
	return c
})

func cardCertificate() string { return base64.StdEncoding.EncodeToString(card().der) }

// cardSign signs with the smartcard.
func cardSign(tb testing.TB, algorithm string, payload string) string {
	tb.Helper()
	hash, sum := crypto.SHA256, []byte(nil)
	if algorithm == "RS1" {
		s := sha1.Sum([]byte(payload))
		hash, sum = crypto.SHA1, s[:]
	} else {
		s := sha256.Sum256([]byte(payload))
		sum = s[:]
	}
	signature, err := rsa.SignPKCS1v15(nil, card().key, hash, sum)
	require.NoError(tb, err)
	return base64.StdEncoding.EncodeToString(signature)
}

// clients are those of a configuration.
type clients map[string]*Client

func (c clients) Client(_ context.Context, id string) (*Client, error) {
	if found := c[id]; found != nil {
		return found, nil
	}
	return nil, ErrUnknownClient
}

func keySet(tb testing.TB) jwks.KeySource {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "signing_jwks.json"))
	require.NoError(tb, err)
	keys, _, err := jwks.Parse(data, jwks.Limits{})
	require.NoError(tb, err)
	index, _ := jwks.NewIndex(keys)
	return index
}

// keysAreAway is a key set that has not been loaded.
type keysAreAway struct{}

func (keysAreAway) Key(context.Context, string) (*jwks.Key, error) { return nil, jwks.ErrUnavailable }

// fixture is an API and its surroundings.
type fixture struct {
	*API

	clock   *clock
	store   *memory.Store
	clients clients
	log     *bytes.Buffer
	events  []Event
	kid     string // of the key that mint signs with
}

func newFixture(tb testing.TB, change func(*Config)) *fixture {
	tb.Helper()
	f := &fixture{clock: &clock{t: vectorTime}, store: memory.New(), log: new(bytes.Buffer), kid: "test-4096"}
	require.NoError(tb, f.store.Open(tb.Context()))
	tb.Cleanup(func() { _ = f.store.Close() })
	f.clients = clients{
		"client-1": {ID: "client-1", Name: "The Pharmacy", Callback: callback, Keys: keySet(tb)},
		"client-3": {ID: "client-3", Name: "Another", Callback: "https://other.example/", Keys: keySet(tb)},
		"away":     {ID: "away", Callback: callback, Keys: keysAreAway{}},
	}
	verifier, err := evidence.New(evidence.Config{Roots: card().roots, RequireNonRepudiation: true, Now: f.clock.now})
	require.NoError(tb, err)
	pages, err := page.New(page.Config{BasePath: "/signing-service", Now: f.clock.now})
	require.NoError(tb, err)
	c := Config{
		BaseURL: base, Store: f.store, Clients: f.clients, Evidence: verifier, Page: pages, Now: f.clock.now,
		Logger:  slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(e Event) { f.events = append(f.events, e) },
	}
	if change != nil {
		change(&c)
	}
	f.API, err = New(c)
	require.NoError(tb, err)
	return f
}

// withMock turns the mock on.
func withMock(tb testing.TB, now func() time.Time) func(*Config) {
	tb.Helper()
	return func(c *Config) {
		mock, err := evidence.NewMock(now)
		require.NoError(tb, err)
		c.Mock = mock
		c.Evidence, err = evidence.New(evidence.Config{Mock: mock, Now: now})
		require.NoError(tb, err)
		c.Page, err = page.New(page.Config{BasePath: "/signing-service", Mock: true, Now: now})
		require.NoError(tb, err)
	}
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// payloads is the claim for documents with these ids, whose text is made of
// the id.
func payloads(ids ...string) []any {
	all := make([]any, len(ids))
	for i, id := range ids {
		all[i] = map[string]any{"id": id, "payload": b64(documentText(id))}
	}
	return all
}

func documentText(id string) string { return "<SignedInfo>" + id + "</SignedInfo>" }

// goodClaims are accepted at the clock's time; with are added, and nil ones
// removed.
func (f *fixture) goodClaims(with map[string]any) jwt.MapClaims {
	now := f.clock.now().Unix()
	c := jwt.MapClaims{
		"iss": "client-1", "sub": subject, "aud": base, "iat": now, "exp": now + 600, "algorithm": "RS256",
		"payloads": payloads("a", "b"), "jti": rand.Text(),
	}
	maps.Copy(c, with)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// mint signs claims with the fixture's key.
func (f *fixture) mint(tb testing.TB, with map[string]any) string {
	tb.Helper()
	t := jwt.NewWithClaims(jwt.SigningMethodRS512, f.goodClaims(with))
	t.Header["kid"] = f.kid
	s, err := t.SignedString(privateKeys()[f.kid])
	require.NoError(tb, err)
	return s
}

// signJSON signs a header and claims as they are written.
func signJSON(tb testing.TB, kid, header, claims string) string {
	tb.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodRS512.Sign(signed, privateKeys()[kid])
	require.NoError(tb, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// call makes a request; headers are name, value, …
func (f *fixture) call(tb testing.TB, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func (f *fixture) post(tb testing.TB, token string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	return f.call(tb, http.MethodPost, "/signaturerequest", token, append([]string{"Content-Type", "text/plain"}, headers...)...)
}

func (f *fixture) download(tb testing.TB, token string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	return f.call(tb, http.MethodGet, "/signaturerequest/"+token, "", headers...)
}

func (f *fixture) upload(tb testing.TB, token, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	return f.call(tb, http.MethodPost, "/signatureresponse/"+token, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

func (f *fixture) result(tb testing.TB, token string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	return f.call(tb, http.MethodGet, "/signatureresponse/"+token, "", headers...)
}

// request posts a good request and returns its token.
func (f *fixture) request(tb testing.TB, with map[string]any) string {
	tb.Helper()
	w := f.post(tb, f.mint(tb, with))
	require.Equal(tb, http.StatusOK, w.Code, w.Body)
	return tokenOf(tb, w)
}

// downloaded posts and downloads a good request.
func (f *fixture) downloaded(tb testing.TB, with map[string]any) string {
	tb.Helper()
	token := f.request(tb, with)
	require.Equal(tb, http.StatusOK, f.download(tb, token).Code)
	return token
}

func tokenOf(tb testing.TB, w *httptest.ResponseRecorder) string {
	tb.Helper()
	var a answer
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &a))
	return a.Token
}

// goodUpload is what a smartcard gives for documents with these ids.
func goodUpload(tb testing.TB, algorithm string, ids ...string) string {
	tb.Helper()
	all := make([]signature, len(ids))
	for i, id := range ids {
		all[i] = signature{ID: id, Signature: cardSign(tb, algorithm, documentText(id))}
	}
	return toJSON(tb, map[string]any{"signatures": all, "certificate": cardCertificate()})
}

func toJSON(tb testing.TB, v any) string {
	tb.Helper()
	data, err := json.Marshal(v)
	require.NoError(tb, err)
	return string(data)
}

// requireRefusal checks an answer of the service's shape, member by member.
func requireRefusal(tb testing.TB, w *httptest.ResponseRecorder, status int, message string) {
	tb.Helper()
	require.Equal(tb, status, w.Code, w.Body)
	require.JSONEq(tb, toJSON(tb, map[string]any{"statusCode": status, "error": http.StatusText(status), "message": message}), w.Body.String())
	require.Equal(tb, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(tb, "no-store", w.Header().Get("Cache-Control"))
}

func (f *fixture) sweep(tb testing.TB) {
	tb.Helper()
	now := f.clock.now()
	_, err := f.store.Sweep(tb.Context(), storage.SweepRequest{Now: now, ReceiptsSince: now, Limit: 100})
	require.NoError(tb, err)
}
