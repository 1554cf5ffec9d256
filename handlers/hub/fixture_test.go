package hub

import (
	"bytes"
	"cmp"
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
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

const (
	site    = "https://sign.example.test"
	base    = site + "/signing-service"
	subject = "555086689106"
	// secretPIN must be in no log.
	secretPIN = "739164"
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

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

var (
	clientKey  = sync.OnceValue(newKey)
	foreignKey = sync.OnceValue(newKey)
	cardKey    = sync.OnceValue(newKey)
)

// certificateOf makes a certificate of the card's key.
func certificateOf(tb testing.TB, name string, usage x509.KeyUsage, from, to time.Time) Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		Issuer: pkix.Name{CommonName: "Test CA"}, NotBefore: from, NotAfter: to, KeyUsage: usage,
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &cardKey().PublicKey, cardKey())
	require.NoError(tb, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	return Certificate{
		ID: name, Leaf: leaf, Algorithms: []string{RS256, RS1},
		NonRepudiation: usage&x509.KeyUsageContentCommitment != 0,
	}
}

func goodCertificate(tb testing.TB) Certificate {
	return certificateOf(tb, subject+"_TEST", x509.KeyUsageContentCommitment, vectorTime.AddDate(-1, 0, 0), vectorTime.AddDate(1, 0, 0))
}

// testSigner signs in software.
type testSigner struct {
	mu           sync.Mutex
	certificates []Certificate
	absent       bool
	err          error         // of every operation
	failAt       int           // 1 for the first document; 0 for never
	pin          string        // when not empty, it is asked for
	hint         bool          // Status tells of the PIN
	wrongFirst   bool          // another PIN was wrong before
	retries      int           // of the PIN
	hold         chan struct{} // when not nil, Sign waits for it or its context
	holding      chan struct{} // is told that Sign waits
	signed       int           // documents
	calls        int           // of Sign
}

func (s *testSigner) Status(context.Context) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.absent {
		return Status{Card: CardAbsent}, nil
	}
	status := Status{Card: CardPresent, Token: "card", Algorithms: []string{RS256, RS1}}
	if s.pin != "" && s.hint {
		status.PIN = &PINRequest{Token: "card", Retries: s.retries}
	}
	return status, s.err
}

func (s *testSigner) Certificates(context.Context) ([]Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.absent {
		return nil, &Error{Code: CodeNoCard}
	}
	return s.certificates, s.err
}

func (s *testSigner) Sign(ctx context.Context, r SignRequest) ([][]byte, error) {
	s.mu.Lock()
	s.calls++
	hold, pin := s.hold, s.pin
	s.mu.Unlock()
	for wrong := s.wrongFirst; pin != ""; wrong = true {
		s.mu.Lock()
		retries := s.retries
		s.mu.Unlock()
		if retries == 0 {
			return nil, &Error{Code: CodePINBlocked}
		}
		given, err := r.PIN(ctx, PINRequest{Token: "card", Retries: retries, Wrong: wrong})
		if err != nil {
			return nil, err
		}
		if given == pin {
			break
		}
		s.mu.Lock()
		s.retries--
		s.mu.Unlock()
	}
	if hold != nil {
		s.holding <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var all [][]byte
	for i, d := range r.Documents {
		if s.failAt == i+1 {
			return all, &Error{Code: CodeNoCard}
		}
		hash, sum := crypto.SHA256, sha256.Sum256(d)
		digest := sum[:]
		if r.Algorithm == RS1 {
			sum := sha1.Sum(d)
			hash, digest = crypto.SHA1, sum[:]
		}
		signature, err := rsa.SignPKCS1v15(nil, cardKey(), hash, digest)
		if err != nil {
			return all, err
		}
		all = append(all, signature)
		r.Progress(i + 1)
		s.mu.Lock()
		s.signed++
		s.mu.Unlock()
	}
	return all, nil
}

func (s *testSigner) Close() error { return nil }

func (s *testSigner) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *testSigner) count() (calls, signed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.signed
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fixture is a hub at a loopback address.
type fixture struct {
	*Hub
	tb     testing.TB
	server *httptest.Server
	signer *testSigner
	clock  *clock
	log    *buffer
	client *http.Client
}

func clientKeys(tb testing.TB) jwks.KeySource {
	tb.Helper()
	key, err := jwks.NewKey("key-1", "RS512", &clientKey().PublicKey)
	require.NoError(tb, err)
	index, skipped := jwks.NewIndex(jwks.Keys{key})
	require.Empty(tb, skipped)
	return index
}

func newFixture(tb testing.TB, change func(*Config)) *fixture {
	tb.Helper()
	f := &fixture{
		tb: tb, clock: &clock{t: vectorTime}, log: &buffer{},
		signer: &testSigner{certificates: []Certificate{goodCertificate(tb)}, retries: 3, holding: make(chan struct{}, 1)},
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	f.client.Transport = &http.Transport{DisableKeepAlives: true}
	var handler http.Handler
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	c := Config{
		Origins: []string{site, "http://localhost:8080"}, Requests: []RequestKeys{{Keys: clientKeys(tb)}}, Signer: f.signer, Consent: ConsentNever(),
		Address: f.server.Listener.Addr().String(), Now: f.clock.now,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	var err error
	f.Hub, err = New(c)
	require.NoError(tb, err)
	handler = f.Hub
	f.server.Start()
	tb.Cleanup(func() {
		require.NoError(tb, f.Hub.Close())
		f.server.Close()
		assert.NotContains(tb, f.log.String(), secretPIN, "the log")
	})
	return f
}

// answer is that of a request, read whole.
type answer struct {
	*http.Response
	body string
}

func (a *answer) json(tb testing.TB) map[string]any {
	tb.Helper()
	var m map[string]any
	require.NoError(tb, json.Unmarshal([]byte(a.body), &m), a.body)
	return m
}

// call is a request; Origin and Content-Type are those of a page of the site
// unless said otherwise.
type call struct {
	method, path, body string
	header             map[string]string // "-" removes
	host               string
}

func (f *fixture) request(ctx context.Context, c call) *http.Request {
	f.tb.Helper()
	r, err := http.NewRequestWithContext(ctx, cmp.Or(c.method, http.MethodGet), f.server.URL+c.path, strings.NewReader(c.body))
	require.NoError(f.tb, err)
	r.Header.Set("Origin", site)
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		if r.Header.Set(name, value); value == "-" {
			r.Header.Del(name)
		}
	}
	r.Host = c.host
	return r
}

func (f *fixture) do(c call) *answer {
	f.tb.Helper()
	a, err := f.try(f.tb.Context(), c)
	require.NoError(f.tb, err)
	return a
}

func (f *fixture) try(ctx context.Context, c call) (*answer, error) {
	response, err := f.client.Do(f.request(ctx, c))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return &answer{response, string(body)}, err
}

// payloads are two documents.
func payloads() []any {
	return []any{
		map[string]any{"id": "a", "payload": base64.StdEncoding.EncodeToString([]byte("<SignedInfo>a</SignedInfo>"))},
		map[string]any{"id": "b", "payload": base64.StdEncoding.EncodeToString([]byte("<SignedInfo>b</SignedInfo>"))},
	}
}

// goodClaims are those of a good request, with changes; nil removes.
func (f *fixture) goodClaims(changes map[string]any) map[string]any {
	now := f.clock.now().Unix()
	all := map[string]any{
		"iss": "client-1", "sub": subject, "aud": base, "iat": now, "exp": now + 300, "algorithm": RS256, "payloads": payloads(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// token signs a request.
func (f *fixture) token(changes map[string]any) string {
	f.tb.Helper()
	return signToken(f.tb, clientKey(), "key-1", f.goodClaims(changes))
}

func signToken(tb testing.TB, key *rsa.PrivateKey, kid string, claims jwt.MapClaims) string {
	tb.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS512, claims)
	token.Header["kid"] = kid
	signed, err := token.SignedString(key)
	require.NoError(tb, err)
	return signed
}

func signBody(token string) string { return `{"request":"` + token + `"}` }

func (f *fixture) postSign(token string) *answer {
	f.tb.Helper()
	return f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(token)})
}

// requireSigned checks an answer's signatures of payloads().
func requireSigned(tb testing.TB, m map[string]any, algorithm string) {
	tb.Helper()
	der, err := base64.StdEncoding.DecodeString(m["certificate"].(string))
	require.NoError(tb, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	signatures := m["signatures"].([]any)
	require.Len(tb, signatures, 2)
	for i, id := range []string{"a", "b"} {
		s := signatures[i].(map[string]any)
		assert.Equal(tb, id, s["id"])
		raw, err := base64.StdEncoding.DecodeString(s["signature"].(string))
		require.NoError(tb, err)
		requireVerifies(tb, certificate, algorithm, "<SignedInfo>"+id+"</SignedInfo>", raw)
	}
}

func requireVerifies(tb testing.TB, certificate *x509.Certificate, algorithm, document string, signature []byte) {
	tb.Helper()
	public := certificate.PublicKey.(*rsa.PublicKey)
	if algorithm == RS1 {
		sum := sha1.Sum([]byte(document))
		require.NoError(tb, rsa.VerifyPKCS1v15(public, crypto.SHA1, sum[:], signature))
		return
	}
	sum := sha256.Sum256([]byte(document))
	require.NoError(tb, rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature))
}

// nothingLeft checks that nothing was signed and no personal data is in an
// answer.
func (f *fixture) nothingLeft(a *answer) {
	f.tb.Helper()
	calls, signed := f.signer.count()
	assert.Zero(f.tb, calls, "calls of the signer")
	assert.Zero(f.tb, signed)
	assert.NotContains(f.tb, a.body, subject)
	for _, c := range f.signer.certificates {
		assert.NotContains(f.tb, a.body, base64.StdEncoding.EncodeToString(c.Leaf.Raw))
	}
}
