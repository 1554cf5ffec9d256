package jwks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file run against a real key server.

// keyServer serves what a test puts into it, and counts.
type keyServer struct {
	*httptest.Server

	handler atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int64
	open    atomic.Int64 // connections
}

func newKeyServer(t testing.TB, body string) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.serve(body)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		(*s.handler.Load())(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) handle(h http.HandlerFunc) { s.handler.Store(&h) }

func (s *keyServer) serve(body string) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	})
}

// movedClock is the real time and what a test adds to it.
type movedClock struct{ ahead atomic.Int64 }

func (c *movedClock) now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *movedClock) move(by time.Duration) { c.ahead.Add(int64(by)) }

// startedSet has k1 from the server.
func startedSet(t testing.TB, s *keyServer, clock *movedClock) *Set {
	t.Helper()
	set := setOf(t, urlSource(t, URLConfig{URL: s.URL, Refresh: time.Hour, Clock: clock.now}))
	require.NoError(t, set.Start(t.Context()))
	requireKey(t, set, "k1")
	return set
}

// provoke makes the set fetch again, and waits for the end of that fetch or of
// the patience of the caller.
func provoke(t testing.TB, set *Set, clock *movedClock, patience time.Duration) {
	t.Helper()
	clock.move(unknownKidEvery)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := set.Key(ctx, "nobody's")
	require.Error(t, err)
}

func TestRotationUnderLoad(t *testing.T) {
	jwk := func(n int) string { return jwkOf(t, fmt.Sprintf("k%d", n), n%3) }
	server, clock := newKeyServer(t, jwk(1)), &movedClock{}
	set := startedSet(t, server, clock)

	// A client uses the newest key; a rotation follows when all have used it.
	var current, lookups atomic.Int64
	current.Store(1)
	var used [8]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range used {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := current.Load()
				_, err := set.Key(t.Context(), fmt.Sprintf("k%d", n))
				assert.NoError(t, err, "k%d", n)
				used[i].Store(n)
				lookups.Add(1)
				runtime.Gosched()
			}
		})
	}
	for n := 2; n <= 20; n++ {
		server.serve(jwksOf(jwk(n-1), jwk(n)))
		clock.move(unknownKidEvery)
		current.Store(int64(n))
		for i := range used {
			for used[i].Load() < int64(n) {
				runtime.Gosched()
			}
		}
	}
	close(stop)
	wg.Wait()
	assert.Equal(t, []string{"k19", "k20"}, set.Status().KeyIDs)
	assert.Equal(t, int64(20), server.fetches.Load())
	t.Logf("%d look-ups, %d fetches", lookups.Load(), server.fetches.Load())
}

func TestStormOfRandomKids(t *testing.T) {
	server, clock := newKeyServer(t, jwkOf(t, "k1", 0)), &movedClock{}
	// A second key, so that no token without a fitting id is accepted.
	server.serve(jwksOf(jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)))
	set := startedSet(t, server, clock)
	before := server.fetches.Load()

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 200 {
				_, err := set.Key(t.Context(), rand.Text())
				assert.ErrorIs(t, err, ErrUnknownKid)
			}
		})
	}
	p99 := lookupP99(t, set)
	wg.Wait()
	assert.LessOrEqual(t, server.fetches.Load()-before, int64(1), "fetches in one interval")
	assert.Less(t, p99, 50*time.Millisecond)
	t.Logf("p99 of looking a known key up: %s", p99)
}

// lookupP99 looks a known key up many times. The very slowest is the machine's.
func lookupP99(t testing.TB, set *Set) time.Duration {
	t.Helper()
	took := make([]time.Duration, 10_000)
	for i := range took {
		begin := time.Now()
		requireKey(t, set, "k1")
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func TestKeyServerInTrouble(t *testing.T) {
	elsewhere := newKeyServer(t, jwkOf(t, "k9", 2))
	tests := []struct {
		name, want string
		handler    http.HandlerFunc
	}{
		{"1 GB", "longer than 512 KiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			writeForEver(w, 1<<30)
		}},
		{"1 GB, length unknown", "longer than 512 KiB", func(w http.ResponseWriter, _ *http.Request) { writeForEver(w, 1<<30) }},
		{"cut off", "unexpected EOF", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"keys":[`))
		}},
		{"connection dropped", "EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"another scheme", "a redirect leads from http to https", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusFound)
		}},
		{"another host", "another host or port", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		}},
		{"for ever", "more than 3 redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}},
		{"error", "found status 503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"not asked for", "found status 206", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPartialContent) }},
		{"a page", "HTML", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<!doctype html>")) }},
		{"long header", "headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", string(bytes.Repeat([]byte("x"), 100<<10)))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, clock := newKeyServer(t, jwkOf(t, "k1", 0)), &movedClock{}
			set := startedSet(t, server, clock)
			server.handle(tt.handler)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			provoke(t, set, clock, 2*time.Second)
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "bytes allocated")
			st := set.Status().Sources[0]
			assert.Equal(t, StateFailing, st.State)
			assert.Contains(t, st.Error, tt.want)
			requireKey(t, set, "k1")
			require.NoError(t, set.Close())
			requireNoConnections(t, server)
		})
	}
	assert.Zero(t, elsewhere.fetches.Load())
}

func writeForEver(w http.ResponseWriter, total int) {
	block := bytes.Repeat([]byte(" "), 64<<10)
	for range total / len(block) {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// requireNoConnections waits for the server to notice that its clients left.
func requireNoConnections(t testing.TB, s *keyServer) {
	t.Helper()
	require.Eventually(t, func() bool { return s.open.Load() == 0 }, 2*time.Second, time.Millisecond, "connections left at the server")
}

func TestDrippingKeyServer(t *testing.T) {
	server, clock := newKeyServer(t, jwkOf(t, "k1", 0)), &movedClock{}
	set := startedSet(t, server, clock)
	dripping := make(chan struct{})
	server.handle(func(w http.ResponseWriter, r *http.Request) {
		close(dripping)
		for {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			if pause(r.Context(), time.Second) != nil {
				return
			}
		}
	})
	go provoke(t, set, clock, 200*time.Millisecond)
	<-dripping
	p99 := lookupP99(t, set)
	assert.Less(t, p99, 50*time.Millisecond)

	begin := time.Now()
	require.NoError(t, set.Close())
	assert.Less(t, time.Since(begin), 2*time.Second, "Close cuts the fetch off")
	requireNoConnections(t, server)
}

func TestRedirectsAtHome(t *testing.T) {
	server, clock := newKeyServer(t, jwkOf(t, "k1", 0)), &movedClock{}
	set := startedSet(t, server, clock)
	body := jwkOf(t, "k2", 1)
	server.handle(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) <= maxRedirects {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write([]byte(body))
	})
	clock.move(unknownKidEvery)
	requireKey(t, set, "k2")
	assert.Equal(t, int64(1+1+maxRedirects), server.fetches.Load())
	requireNoConnections(t, server) // between fetches
}

// Bad company in a document leaves its good keys alone.
func TestBadCompany(t *testing.T) {
	modulus := make([]byte, 65536/8)
	for i := range modulus {
		modulus[i] = 0xff
	}
	huge := base64.RawURLEncoding.EncodeToString(new(big.Int).SetBytes(modulus).Bytes())
	tests := map[string]string{
		"oct key":         `{"kty":"oct","kid":"bad","alg":"HS512","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`,
		"65,536-bit key":  `{"kty":"RSA","kid":"bad","alg":"RS512","e":"AQAB","n":"` + huge + `"}`,
		"unknown kty":     `{"kty":"PQC","kid":"bad","alg":"ML-DSA-65","pub":"AAAA"}`,
		"kty of no text":  `{"kty":7,"kid":"bad"}`,
		"another k1":      jwkOf(t, "bad", 2) + "," + jwkOf(t, "bad", 1),
		"encryption only": `{"kty":"RSA","kid":"bad","use":"enc","e":"AQAB","n":"` + huge + `"}`,
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			server, clock := newKeyServer(t, jwkOf(t, "k1", 0)), &movedClock{}
			set := startedSet(t, server, clock)
			server.serve(jwksOf(bad, jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)))
			clock.move(unknownKidEvery)
			begin := time.Now()
			requireKey(t, set, "k2")
			assert.Less(t, time.Since(begin), time.Second)
			requireKey(t, set, "k1")
			requireNoKey(t, set, "bad", ErrUnknownKid)
			st := set.Status().Sources[0]
			assert.Equal(t, StateOK, st.State)
			assert.NotEmpty(t, st.Skipped)
		})
	}
}

func TestAtMost100KeysOfAServer(t *testing.T) {
	jwks := make([]string, 0, 150)
	for n := range 150 {
		jwks = append(jwks, jwkOf(t, fmt.Sprintf("k%d", n), n%3))
	}
	server := newKeyServer(t, jwksOf(jwks...))
	set := startedSet(t, server, &movedClock{})
	st := set.Status()
	assert.Len(t, st.KeyIDs, 100)
	assert.Contains(t, fmt.Sprint(st.Sources[0].Skipped), "the limit is 100")

	file := inlineOf(t, jwksOf(jwks...))
	assert.Len(t, file.Snapshot().Keys, 150)
}

func TestHTTPS(t *testing.T) {
	body := jwkOf(t, "k1", 0)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(body))
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()

	set := setOf(t, urlSource(t, URLConfig{URL: server.URL}))
	require.ErrorContains(t, set.Start(t.Context()), "certificate")
	requireNoKey(t, set, "k1", ErrUnavailable)

	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	set = setOf(t, urlSource(t, URLConfig{URL: server.URL, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}))
	require.NoError(t, set.Start(t.Context()))
	requireKey(t, set, "k1")
}

func TestLoopbackOnly(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"10.0.0.1:80": false, "169.254.169.254:80": false, "nonsense": false,
	} {
		err := loopbackControl(t.Context(), "tcp", address, nil)
		assert.Equal(t, ok, err == nil, address)
	}
}

// Sets that come and go leave nothing at the key server.
func TestReloadsLeaveNoConnection(t *testing.T) {
	server := newKeyServer(t, jwkOf(t, "k1", 0))
	for range 60 {
		set := setOf(t, urlSource(t, URLConfig{URL: server.URL}))
		require.NoError(t, set.Start(t.Context()))
		require.NoError(t, set.Close())
	}
	requireNoConnections(t, server)
	assert.Equal(t, int64(60), server.fetches.Load())
}

func BenchmarkSetKey(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		jwks := make([]string, 0, n)
		for i := range n {
			jwks = append(jwks, jwkOf(b, fmt.Sprintf("k%d", i), i%3))
		}
		set := setOf(b, inlineOf(b, jwksOf(jwks...)))
		kid := fmt.Sprintf("k%d", n/2)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := set.Key(b.Context(), kid); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	clash := setOf(b, inlineOf(b, jwksOf(jwkOf(b, "k1", 0), jwkOf(b, "k2", 1))))
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = clash.Key(b.Context(), "unknown")
		}
	})
}
