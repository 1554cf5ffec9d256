//go:build linux

package e2e

import (
	"crypto"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// issuerName is the iss of the drills' tokens.
const issuerName = "https://id.example.org"

// signer has a private key and signs tokens with it.
type signer struct {
	kid     string
	private crypto.Signer
}

func newSigner(t testing.TB, kid string, bits int) signer {
	t.Helper()
	private, err := jwks.GeneratePrivateKey("RS512", bits)
	require.NoError(t, err)
	return signer{kid, private}
}

// public is the key as it is published.
func (s signer) public(t testing.TB) any {
	t.Helper()
	key, err := jwks.NewKey(s.kid, "RS512", s.private.Public())
	require.NoError(t, err)
	return key
}

// token makes a token with an id of its own.
func (s signer) token(t testing.TB, jti string) string {
	t.Helper()
	now := time.Now().Unix()
	token, err := jwks.Sign(jwks.SignRequest{Alg: "RS512", Kid: s.kid, Typ: "JWT", Key: s.private, Claims: map[string]any{
		"iss": issuerName, "sub": "user-1", "jti": jti, "iat": now, "exp": now + 3600,
	}})
	require.NoError(t, err)
	return token
}

// keyServer publishes a key set, and misbehaves when told to.
type keyServer struct {
	*httptest.Server
	fetches atomic.Int64
	open    atomic.Int64 // connections

	mu        sync.Mutex
	document  []byte
	misbehave http.HandlerFunc // instead of the document
}

func newKeyServer(t testing.TB, keys ...any) *keyServer {
	t.Helper()
	k := new(keyServer)
	k.publish(t, keys...)
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.fetches.Add(1)
		k.mu.Lock()
		document, misbehave := k.document, k.misbehave
		k.mu.Unlock()
		if misbehave != nil {
			misbehave(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document)
	}))
	k.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			k.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			k.open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	k.Start()
	t.Cleanup(k.Close)
	return k
}

// publish replaces the document.
func (k *keyServer) publish(t testing.TB, keys ...any) {
	t.Helper()
	document, err := json.Marshal(map[string]any{"keys": keys})
	require.NoError(t, err)
	k.mu.Lock()
	k.document = document
	k.mu.Unlock()
}

// behave makes the server answer by h, or as usual when that is nil.
func (k *keyServer) behave(h http.HandlerFunc) {
	k.mu.Lock()
	k.misbehave = h
	k.mu.Unlock()
}

// drip sends a byte a second until the client gives up.
func drip(w http.ResponseWriter, r *http.Request) {
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-pace.C:
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// flood sends a gigabyte.
func flood(w http.ResponseWriter, _ *http.Request) {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = ' '
	}
	for range 1 << 10 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}
