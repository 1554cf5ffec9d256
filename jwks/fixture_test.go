package jwks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rsaFixtures are keys made once for all tests of key sets.
var rsaFixtures = sync.OnceValue(func() []*rsa.PublicKey {
	keys := make([]*rsa.PublicKey, 3)
	for i := range keys {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = &private.PublicKey
	}
	return keys
})

// jwkOf is the JWK of the n-th fixture under that kid.
func jwkOf(t testing.TB, kid string, n int) string {
	t.Helper()
	k, err := NewKey(kid, "RS512", rsaFixtures()[n])
	require.NoError(t, err)
	text, err := json.Marshal(k)
	require.NoError(t, err)
	return string(text)
}

// jwksOf is a set of JWKs.
func jwksOf(jwks ...string) string { return `{"keys":[` + strings.Join(jwks, ",") + `]}` }

func inlineOf(t testing.TB, text string) *Inline {
	t.Helper()
	s, err := NewInline([]byte(text))
	require.NoError(t, err)
	return s
}

func urlSource(t testing.TB, cfg URLConfig) *URL {
	t.Helper()
	s, err := NewURL(cfg)
	require.NoError(t, err)
	return s
}

func setOf(t testing.TB, sources ...Source) *Set {
	t.Helper()
	s, err := NewSet(SetConfig{Name: "platform", Issuer: "https://id.example.org", Sources: sources})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// requireKey looks a key up.
func requireKey(t testing.TB, s *Set, kid string) *Key {
	t.Helper()
	k, err := s.Key(t.Context(), kid)
	require.NoError(t, err, "kid %q", kid)
	return k
}

func requireNoKey(t testing.TB, s *Set, kid string, want error) {
	t.Helper()
	k, err := s.Key(t.Context(), kid)
	require.ErrorIs(t, err, want, "kid %q", kid)
	require.Nil(t, k)
}

// lines is a log to read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// fakeServer answers fetches without a network, so that time can be faked.
type fakeServer struct {
	mu      sync.Mutex
	body    string
	status  int
	header  http.Header
	fetches []time.Time
	hang    time.Duration // before the answer
}

func (f *fakeServer) set(change func(*fakeServer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.fetches)
}

func (f *fakeServer) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.fetches = append(f.fetches, time.Now())
	status, body, header, hang := f.status, f.body, f.header.Clone(), f.hang
	f.mu.Unlock()
	if hang > 0 {
		if err := pause(req.Context(), hang); err != nil {
			return nil, err
		}
	}
	if status == 0 {
		return nil, fmt.Errorf("connection refused")
	}
	if header == nil {
		header = http.Header{}
	}
	if tag := header.Get("ETag"); tag != "" && req.Header.Get("If-None-Match") == tag {
		status, body = http.StatusNotModified, ""
	}
	return &http.Response{
		StatusCode: status, Header: header, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
