package notifyauth

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testService = "26785a09-ab16-4eb0-8407-a37497a57506"
	testSecret  = "3d844edf-8d35-48ac-975b-e847b4f122b0" //nolint:gosec // the vendor's public example
	testNow     = 1453680000
)

func clock(seconds int64) func() time.Time {
	// Not at the start of the second: the comparison is in whole ones.
	return func() time.Time { return time.Unix(seconds, 900_000_000) }
}

func key(t testing.TB, name, secret string, options ...KeyOption) *Key {
	t.Helper()
	k, err := NewKey(name, secret, options...)
	require.NoError(t, err)
	return k
}

func oneService(t testing.TB, options ...KeyOption) *Service {
	t.Helper()
	return &Service{ID: testService, Name: "Bookings", Keys: []*Key{key(t, "live", testSecret, options...)}}
}

// verifier makes one with the test service, unless the config has others.
func verifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	if c.Services == nil {
		c.Services = StaticServices(oneService(t))
	}
	if c.Now == nil {
		c.Now = clock(testNow)
	}
	v, err := New(c)
	require.NoError(t, err)
	return v
}

func mint(t testing.TB, m MintRequest) string {
	t.Helper()
	if m.Service == "" {
		m.Service = testService
	}
	if m.Secret == "" {
		m.Secret = testSecret
	}
	if m.IssuedAt.IsZero() {
		m.IssuedAt = time.Unix(testNow, 0)
	}
	token, err := Mint(m)
	require.NoError(t, err)
	return token
}

func post(t testing.TB, path, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+mint(t, MintRequest{Method: "POST", Path: path, Body: []byte(body)}))
	return r
}

func get(t testing.TB, path string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+mint(t, MintRequest{Method: "GET", Path: path}))
	return r
}

// code authenticates and returns the reason of the refusal, "" when accepted.
func code(t testing.TB, v *Verifier, r *http.Request) Code {
	t.Helper()
	_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
	defer release()
	if err == nil {
		return ""
	}
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

// seen is what the handler behind the middleware got.
type seen struct {
	called bool
	header http.Header
	body   string
	length int64
	id     Identity
	r      *http.Request
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	id, _ := FromContext(r.Context())
	*s = seen{called: true, header: r.Header.Clone(), body: string(body), length: r.ContentLength, id: id, r: r}
}

type requestVectors struct {
	Now      int64 `json:"now"`
	Services []struct {
		Iss    string `json:"iss"`
		Secret string `json:"secret"`
	} `json:"services"`
	Cases []requestVector `json:"cases"`
}

type requestVector struct {
	ID      string `json:"id"`
	Note    string `json:"note"`
	Request struct {
		Method        string            `json:"method"`
		Target        string            `json:"target"`
		Headers       map[string]string `json:"headers"`
		Body          *string           `json:"body"`
		Authorization []string          `json:"authorization"`
	} `json:"request"`
	Expect       string `json:"expect"`
	ExpectStatus string `json:"expect_status"`
}

func loadRequests(t testing.TB) requestVectors {
	t.Helper()
	var vectors requestVectors
	load(t, "testdata/notify_requests.json", &vectors)
	require.Len(t, vectors.Cases, 38)
	return vectors
}

type goldenVector struct {
	Name    string                     `json:"name"`
	Service json.RawMessage            `json:"service"`
	Secret  string                     `json:"secret"`
	Now     int64                      `json:"now"`
	Method  string                     `json:"method"`
	Path    string                     `json:"path"`
	Body    string                     `json:"body"`
	Claims  map[string]json.RawMessage `json:"claims"`
	Token   string                     `json:"token"`
}

func (g *goldenVector) dialect() Dialect {
	if _, ok := g.Claims["req"]; ok {
		return Signed
	}
	return V2
}

func (g *goldenVector) service() (id string, number bool) {
	if err := json.Unmarshal(g.Service, &id); err == nil {
		return id, false
	}
	return string(g.Service), true
}

func loadGolden(t testing.TB) []goldenVector {
	t.Helper()
	var vectors struct {
		Cases []goldenVector `json:"cases"`
	}
	load(t, "testdata/notify_golden.json", &vectors)
	require.Len(t, vectors.Cases, 6)
	return vectors.Cases
}

func load(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func (r requestVectors) services(t testing.TB) Services {
	t.Helper()
	services := make([]*Service, 0, len(r.Services))
	for _, s := range r.Services {
		services = append(services, &Service{ID: s.Iss, Keys: []*Key{key(t, "k", s.Secret)}})
	}
	return StaticServices(services...)
}

func background() context.Context { return context.Background() }
