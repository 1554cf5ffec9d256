package jwks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/json"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ones := rapid.Custom(func(t *rapid.T) []byte { return bytes.Repeat([]byte{0xff}, rapid.IntRange(1, 600).Draw(t, "bytes")) })
		number := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 1, 600), ones)
		n := new(big.Int).SetBytes(number.Draw(t, "n"))
		n.SetBit(n.Lsh(n, 1), 0, 1)
		base := new(big.Int).SetBytes(number.Draw(t, "base"))
		if rapid.Bool().Draw(t, "largest") {
			base.Sub(n, big.NewInt(1))
		}
		base.Mod(base, n)
		e := rapid.OneOf(rapid.Just(65537), rapid.IntRange(1, maxExponent)).Draw(t, "e")
		want := new(big.Int).Exp(base, big.NewInt(int64(e)), n)
		if got := power(base, e, n); got.Cmp(want) != 0 {
			t.Fatalf("%s, not %s", got, want)
		}
	})
}

// Of the numbers that are equal modulo n only the smallest is a signature.
func TestSignatureBelowModulus(t *testing.T) {
	private := privateKeys()["test-4096"]
	digest := sha512.Sum512([]byte("message"))
	good, err := rsa.SignPKCS1v15(nil, private, crypto.SHA512, digest[:])
	require.NoError(t, err)
	verify := func(signature []byte) bool {
		return verifyPKCS1v15(&private.PublicKey, crypto.SHA512, digest[:], signature)
	}
	assert.True(t, verify(good))
	assert.False(t, verify(good[1:]))
	assert.False(t, verify(append([]byte{0}, good...)))
	assert.False(t, verify(make([]byte, len(good))))
	assert.False(t, verify(private.N.Bytes()))
	assert.False(t, verify(new(big.Int).Add(private.N, big.NewInt(1)).Bytes()))
	assert.False(t, verifyPKCS1v15(&private.PublicKey, crypto.SHA1, digest[:20], good), "an unknown hash")
	assert.False(t, verifyPKCS1v15(&private.PublicKey, crypto.SHA512, digest[:32], good), "a digest of another length")
	tiny := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511), E: 65537}
	assert.False(t, verifyPKCS1v15(tiny, crypto.SHA512, digest[:], make([]byte, 64)), "a key without room for the message")
}

func TestECRoundTrip(t *testing.T) {
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		k, err := NewKey("k", alg, &private.PublicKey)
		require.NoError(t, err)
		text, err := json.Marshal(k)
		require.NoError(t, err)
		back, skipped, err := Parse(text, Limits{})
		require.NoError(t, err)
		require.Empty(t, skipped)
		require.Len(t, back, 1)
		assert.Equal(t, k.Thumbprint, back[0].Thumbprint)
		assert.True(t, private.PublicKey.Equal(back[0].Public))
	}
}
