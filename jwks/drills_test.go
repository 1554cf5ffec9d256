package jwks

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file have whole tokens verified while a key server is in
// trouble.

// signer is a private test key under a kid of the test's.
type signer struct{ kid, key string }

func (s signer) jwk(t testing.TB) string {
	t.Helper()
	k, err := NewKey(s.kid, "RS512", &privateKeys()[s.key].PublicKey)
	require.NoError(t, err)
	text, err := k.MarshalJSON()
	require.NoError(t, err)
	return string(text)
}

func (s signer) token(t testing.TB) []byte {
	t.Helper()
	return mint(t, jwt.SigningMethodRS512, privateKeys()[s.key], s.kid, goodClaims(nil))
}

// forged is a token that nobody signed, with a kid that nobody has.
func forged() []byte {
	part := base64.RawURLEncoding.EncodeToString
	header := fmt.Sprintf(`{"alg":"RS512","kid":%q}`, rand.Text())
	return []byte(part([]byte(header)) + "." + part([]byte(`{"iss":"client-1"}`)) + "." + part(make([]byte, 256)))
}

func verifierOf(t testing.TB, set *Set) *Verifier {
	t.Helper()
	return newVerifier(t, Config{Bindings: []Binding{{"client-1", set}}})
}

// F23: each rotation publishes the new key beside the old one, then signs with
// it, then withdraws the old one. No good token is refused at any time, and no
// withdrawn key is trusted.
func TestDrillRotation(t *testing.T) {
	const rotations = 12
	names := []string{"test-2048", "test-3072", "test-4096"}
	signers := make([]signer, rotations)
	tokens := make([][]byte, rotations)
	for n := range signers {
		signers[n] = signer{fmt.Sprintf("k%d", n), names[n%len(names)]}
		tokens[n] = signers[n].token(t)
	}
	server, clock := newKeyServer(t, signers[0].jwk(t)), &movedClock{}
	set := setOf(t, urlSource(t, URLConfig{URL: server.URL, Refresh: time.Hour, Clock: clock.now}))
	require.NoError(t, set.Start(t.Context()))
	v := verifierOf(t, set)

	var current, verified atomic.Int64
	var seen [4]atomic.Int64
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for i := range seen {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := current.Load()
				_, err := v.Verify(t.Context(), tokens[n])
				assert.NoError(t, err, "key %d", n)
				seen[i].Store(n)
				verified.Add(1)
			}
		})
	}
	for n := 1; n < rotations; n++ {
		server.serve(jwksOf(signers[n-1].jwk(t), signers[n].jwk(t)))
		clock.move(unknownKidEvery)
		current.Store(int64(n))
		for i := range seen {
			require.Eventually(t, func() bool { return seen[i].Load() >= int64(n) }, 10*time.Second, time.Millisecond)
		}
	}
	stop()
	wg.Wait()
	assert.Equal(t, int64(rotations), server.fetches.Load(), "one fetch a rotation")
	for n, token := range tokens {
		_, err := v.Verify(t.Context(), token)
		if n < rotations-2 {
			assert.Equal(t, CodeUnknownKid, CodeOf(err), "key %d was withdrawn: %v", n, err)
		} else {
			assert.NoError(t, err, "key %d", n)
		}
	}
	t.Logf("%d tokens verified", verified.Load())
}

// F24: 1,000 tokens a second with kids that nobody has, for 40 s, while the
// server takes 4 s for an answer and then fails. What others wait for is seen
// by the clock, which stands still while anything is computed.
func TestDrillRandomKids(t *testing.T) {
	good := signer{"k1", "test-2048"}
	body, token := jwksOf(good.jwk(t), jwkOf(t, "k2", 0)), good.token(t)
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		synctest.Test(t, func(t *testing.T) {
			server := &fakeServer{status: 200, body: body}
			set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Refresh: time.Hour, Transport: server}))
			require.NoError(t, set.Start(t.Context()))
			v := verifierOf(t, set)
			server.set(func(f *fakeServer) { f.status, f.hang = status, 4*time.Second })

			const seconds = 40
			begin := time.Now()
			var wg sync.WaitGroup
			for range seconds * 1000 / 10 {
				wg.Go(func() {
					for range 10 {
						asked := time.Now()
						_, err := v.Verify(t.Context(), forged())
						if code := CodeOf(err); code != CodeUnknownKid && code != CodeUnavailable {
							t.Error(err)
						}
						if took := time.Since(asked); took > maxRefreshWait {
							t.Errorf("a forged token holds its request up for %s", took)
						}
					}
				})
				time.Sleep(10 * time.Millisecond)
				asked := time.Now()
				_, err := v.Verify(t.Context(), token)
				if err != nil || time.Since(asked) != 0 {
					t.Fatalf("a good token waits for %s: %v", time.Since(asked), err)
				}
			}
			wg.Wait()
			// One for unknown kids in each interval. An error has the source try
			// again by itself: after 1, 2, 4 s and so on.
			fetches, intervals := server.count()-1, int(time.Since(begin)/unknownKidEvery)+1
			if status == http.StatusOK {
				assert.LessOrEqual(t, fetches, intervals)
			} else {
				assert.LessOrEqual(t, fetches, intervals+7)
			}
			assert.GreaterOrEqual(t, fetches, 2)
		})
	}
}

// F22: away at start, there later, away again, back again.
func TestDrillServerAway(t *testing.T) {
	one, two := signer{"k1", "test-2048"}, signer{"k2", "test-3072"}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	var open atomic.Int64
	serve := func(body string) *httptest.Server {
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		_ = s.Listener.Close()
		s.Listener = listener
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
		}
		s.Start()
		t.Cleanup(s.Close)
		return s
	}
	clock := &movedClock{}
	set := setOf(t, urlSource(t, URLConfig{URL: "http://" + address, Refresh: time.Hour, Clock: clock.now}))
	v := verifierOf(t, set)
	verify := func(s signer, want Code) {
		t.Helper()
		_, err := v.Verify(t.Context(), s.token(t))
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, want, CodeOf(err), "%v", err)
	}
	require.ErrorContains(t, set.Start(t.Context()), "refused")
	verify(one, CodeUnavailable)

	server := serve(one.jwk(t))
	clock.move(unknownKidEvery)
	verify(one, "")

	server.Close()
	clock.move(unknownKidEvery)
	verify(two, CodeUnknownKid)
	verify(one, "")
	assert.Equal(t, StateFailing, set.Status().Sources[0].State)

	serve(jwksOf(one.jwk(t), two.jwk(t)))
	clock.move(unknownKidEvery)
	verify(two, "")
	verify(one, "")

	require.NoError(t, set.Close())
	require.Eventually(t, func() bool { return open.Load() == 0 }, 2*time.Second, time.Millisecond)
}

// dripping serves a byte a second, for ever.
type dripping struct{ drops atomic.Int64 }

func (d *dripping) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: dripBody{d, r.Context()}, Request: r}, nil
}

type dripBody struct {
	*dripping

	ctx context.Context
}

func (d dripBody) Read(b []byte) (int, error) {
	if err := pause(d.ctx, time.Second); err != nil {
		return 0, err
	}
	d.drops.Add(1)
	return copy(b, " "), nil
}

func (dripBody) Close() error { return nil }

// replaceable is a transport that a test replaces.
type replaceable struct {
	atomic.Pointer[http.RoundTripper]
}

func (r *replaceable) use(t http.RoundTripper) { r.Store(&t) }

func (r *replaceable) RoundTrip(req *http.Request) (*http.Response, error) {
	return (*r.Load()).RoundTrip(req)
}

// F22: a byte a second, at start and later.
func TestDrillDrip(t *testing.T) {
	good := signer{"k1", "test-2048"}
	body, token := good.jwk(t), good.token(t)
	synctest.Test(t, func(t *testing.T) {
		drip, transport := &dripping{}, &replaceable{}
		transport.use(drip)
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Refresh: time.Minute, Transport: transport}))
		v := verifierOf(t, set)
		begin := time.Now()
		require.ErrorContains(t, set.Start(t.Context()), "wasn't complete after 5s")
		assert.Equal(t, FetchTimeout, time.Since(begin))
		_, err := v.Verify(t.Context(), token)
		assert.Equal(t, CodeUnavailable, CodeOf(err), "%v", err)

		transport.use(&fakeServer{status: 200, body: body})
		time.Sleep(10 * time.Second)
		_, err = v.Verify(t.Context(), token)
		require.NoError(t, err)

		transport.use(drip)
		for range 3000 { // 5 min
			time.Sleep(100 * time.Millisecond)
			asked := time.Now()
			_, err := v.Verify(t.Context(), token)
			require.NoError(t, err)
			require.Zero(t, time.Since(asked), "a known key waits for no fetch")
		}
		assert.Equal(t, StateFailing, set.Status().Sources[0].State)
		assert.LessOrEqual(t, drip.drops.Load(), int64(5*60), "one fetch at a time")
	})
}

// F22: what a server adds to its set can't keep the good keys from being used,
// and is never used itself.
func TestDrillAddedKeys(t *testing.T) {
	good := signer{"k1", "test-4096"}
	token := good.token(t)
	huge := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 65536/8)))
	secret := []byte("0123456789abcdef0123456789abcdef")
	server, clock := newKeyServer(t, good.jwk(t)), &movedClock{}
	set := startedSet(t, server, clock)
	v := verifierOf(t, set)
	for name, added := range map[string]string{
		"oct":         `{"kty":"oct","kid":"added","alg":"HS512","k":"` + base64.RawURLEncoding.EncodeToString(secret) + `"}`,
		"65,536 bits": `{"kty":"RSA","kid":"added","alg":"RS512","e":"AQAB","n":"` + huge + `"}`,
		"unknown kty": `{"kty":"AKP","kid":"added","alg":"ML-DSA-65","pub":"AAAA"}`,
	} {
		server.serve(jwksOf(added, good.jwk(t)))
		provoke(t, set, clock, 2*time.Second)
		st := set.Status()
		assert.Equal(t, []string{"k1"}, st.KeyIDs, name)
		assert.Equal(t, StateOK, st.Sources[0].State, name)
		require.Len(t, st.Sources[0].Skipped, 1, name)
		assert.Equal(t, "added", st.Sources[0].Skipped[0].Kid, name)

		_, err := v.Verify(t.Context(), token)
		require.NoError(t, err, name)
		for method, key := range map[jwt.SigningMethod]any{jwt.SigningMethodRS512: privateKeys()["attacker-4096"], jwt.SigningMethodHS512: secret} {
			_, err = v.Verify(t.Context(), mint(t, method, key, "added", goodClaims(nil)))
			assert.Contains(t, []Code{CodeUnknownKid, CodeAlgorithm}, CodeOf(err), name)
		}
	}
}
