package jwks

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// vectorTime is the clock of the vectors.
var vectorTime = time.Unix(1800000000, 0)

func atVectorTime() time.Time { return vectorTime }

func readTestdata(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return data
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

func testKey(tb testing.TB, kid, alg string) *Key {
	tb.Helper()
	k, err := NewKey(kid, alg, &privateKeys()[kid].PublicKey)
	require.NoError(tb, err)
	return k
}

func index(tb testing.TB, keys ...*Key) *Index {
	tb.Helper()
	x, skipped := NewIndex(keys)
	require.Empty(tb, skipped)
	return x
}

// goodClaims are accepted by the default policy at vectorTime; with are added
// to them, and nil ones removed.
func goodClaims(with map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{"iss": "client-1", "sub": "someone", "iat": vectorTime.Unix(), "exp": vectorTime.Unix() + 300}
	maps.Copy(c, with)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// mint signs claims. The header's kid is left out when empty.
func mint(tb testing.TB, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) []byte {
	tb.Helper()
	t := jwt.NewWithClaims(method, claims)
	if kid != "" {
		t.Header["kid"] = kid
	}
	s, err := t.SignedString(key)
	require.NoError(tb, err)
	return []byte(s)
}

// mint4096 signs with the test key of 4096 bits and RS512.
func mint4096(tb testing.TB, with map[string]any) []byte {
	tb.Helper()
	return mint(tb, jwt.SigningMethodRS512, privateKeys()["test-4096"], "test-4096", goodClaims(with))
}

func newVerifier(tb testing.TB, c Config) *Verifier {
	tb.Helper()
	if c.Bindings == nil {
		c.Bindings = []Binding{{Issuer: "client-1", Keys: index(tb, testKey(tb, "test-4096", "RS512"))}}
	}
	if c.Now == nil {
		c.Now = atVectorTime
	}
	v, err := New(c)
	require.NoError(tb, err)
	return v
}
