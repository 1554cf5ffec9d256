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
	"math/bits"
	"slices"
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

// moduli are numbers of w words at which a reduction could go wrong: at both
// ends of what w words hold, where the top word is smallest or largest, and
// where the words in between are all ones or zeros.
func moduli(w int) map[string]*big.Int {
	one := big.NewInt(1)
	power := func(bits int) *big.Int { return new(big.Int).Lsh(one, uint(max(0, bits))) }
	word := bits.UintSize
	random := new(big.Int).SetBytes(bytes.Repeat([]byte{0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15}, w*word/64+1))
	random.Mod(random, power((w-1)*word+13))
	all := map[string]*big.Int{
		"just above the lowest":   new(big.Int).Add(power((w-1)*word), one),
		"three above the lowest":  new(big.Int).Add(power((w-1)*word), big.NewInt(3)),
		"the largest":             new(big.Int).Sub(power(w*word), one),
		"just above half":         new(big.Int).Add(power(w*word-1), one),
		"just below half":         new(big.Int).Sub(power(w*word-1), one),
		"one and a half":          new(big.Int).Add(new(big.Int).Add(power((w-1)*word), power((w-1)*word-1)), one),
		"top word two, then ones": new(big.Int).Sub(new(big.Int).Mul(power((w-1)*word), big.NewInt(3)), one),
		"odd number of bits":      new(big.Int).Add(power((w-1)*word+12), random),
	}
	for name, n := range all {
		if n.SetBit(n, 0, 1); len(n.Bits()) != w {
			delete(all, name)
		}
	}
	return all
}

// products are numbers below n^2 at which it could.
func products(n *big.Int) []*big.Int {
	one := big.NewInt(1)
	w, word := len(n.Bits()), bits.UintSize
	square := new(big.Int).Mul(n, n)
	all := []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(n, one), n, new(big.Int).Add(n, one), new(big.Int).Sub(square, one)}
	less := new(big.Int).Sub(n, one)
	all = append(all, new(big.Int).Mul(less, less), new(big.Int).Mul(less, n))
	// Around the words at which numbers are cut, and multiples of n there.
	for _, at := range []int{w - 1, w, w + w/2 - 1, w + w/2, w + w/2 + 1, 2*w - 1} {
		edge := new(big.Int).Lsh(one, uint(max(0, at)*word))
		multiple := new(big.Int).Sub(edge, new(big.Int).Mod(edge, n))
		all = append(all, new(big.Int).Sub(edge, one), edge, new(big.Int).Add(edge, one),
			new(big.Int).Sub(multiple, one), multiple, new(big.Int).Add(multiple, less))
	}
	// Much to fold, and ones below it; the same just before a multiple of n.
	low := new(big.Int).Sub(new(big.Int).Lsh(one, uint((w+w/2)*word)), one)
	top := new(big.Int).Or(new(big.Int).Sub(square, new(big.Int).Lsh(one, uint((w+w/2)*word))), low)
	all = append(all, top, new(big.Int).Sub(new(big.Int).Sub(top, new(big.Int).Mod(top, n)), one))
	return slices.DeleteFunc(all, func(t *big.Int) bool { return t.Sign() < 0 || t.Cmp(square) >= 0 })
}

// maxCorrections is how many times the modulus may be left over. The proof is in
// the comments of near.
const maxCorrections = 2

// requireNear reduces a product and returns how many times n was left over.
func requireNear(t interface{ Fatalf(string, ...any) }, r *reducer, product *big.Int) int64 {
	n, fold, inverse := new(big.Int).Set(r.n), new(big.Int).Set(r.fold), new(big.Int).Set(r.inverse)
	var x big.Int
	r.near(&x, new(big.Int).Set(product))
	left, rest := new(big.Int).DivMod(&x, n, new(big.Int))
	if rest.Cmp(new(big.Int).Mod(product, n)) != 0 {
		t.Fatalf("%x mod %x comes out as %x", product, n, rest)
	}
	if x.Sign() < 0 || left.Cmp(big.NewInt(maxCorrections)) > 0 {
		t.Fatalf("%x mod %x leaves %s times the modulus", product, n, left)
	}
	if r.n.Cmp(n) != 0 || r.fold.Cmp(fold) != 0 || r.inverse.Cmp(inverse) != 0 {
		t.Fatalf("%x mod %x writes to what is constant", product, n)
	}
	return left.Int64()
}

func TestReductionLeavesLittle(t *testing.T) {
	widths := []int{255, 256}
	for w := range 70 {
		widths = append(widths, w+1)
	}
	var worst int64
	count := 0
	for _, w := range widths {
		for name, n := range moduli(w) {
			r := newReducer(n)
			for _, product := range products(n) {
				if left := requireNear(t, r, product); left > worst {
					worst = left
					t.Logf("%d words, %s: %d times the modulus left", w, name, left)
				}
				count++
			}
		}
	}
	require.Positive(t, worst, "there is nothing to correct: the operands are too kind")
	t.Logf("%d reductions, %d corrections at worst, %d by proof", count, worst, maxCorrections)
}

// FuzzReduce compares reduction and power with math/big. The operands are
// stretched, so that few bytes make large ones.
func FuzzReduce(f *testing.F) {
	f.Add([]byte{1}, []byte{0xff}, uint16(512), uint16(512), 65537, true)
	f.Add([]byte{0xff}, []byte{0}, uint16(264), uint16(528), 3, true)
	f.Add([]byte{0x80, 0}, []byte{0xff, 0xff, 0xfe}, uint16(257), uint16(300), maxExponent, false)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{0xff, 0, 0, 0, 0, 0, 0, 0}, uint16(520), uint16(1039), 1, false)
	f.Fuzz(func(t *testing.T, modulus, product []byte, modulusLen, productLen uint16, e int, negate bool) {
		n := stretch(modulus, int(modulusLen)%600)
		n.SetBit(n, 0, 1)
		square := new(big.Int).Mul(n, n)
		p := stretch(product, int(productLen)%1200)
		if negate {
			p.Sub(square, p)
		}
		p.Mod(p, square)
		requireNear(t, newReducer(n), p)

		if e < 1 || e > maxExponent {
			e = minExponent
		}
		base := new(big.Int).Mod(p, n)
		kept := new(big.Int).Set(base)
		want := new(big.Int).Exp(base, big.NewInt(int64(e)), n)
		if got := power(base, e, n); got.Cmp(want) != 0 || base.Cmp(kept) != 0 {
			t.Fatalf("%x^%d mod %x comes out as %x", kept, e, n, got)
		}
	})
}

// stretch makes a number of length bytes by repeating the last byte but one, or
// the only one, in its middle.
func stretch(data []byte, length int) *big.Int {
	if len(data) > 0 && len(data) < length {
		middle := max(0, len(data)-2)
		stretched := append([]byte{}, data[:middle]...)
		stretched = append(stretched, bytes.Repeat(data[middle:middle+1], length-len(data))...)
		data = append(stretched, data[middle:]...)
	}
	return new(big.Int).SetBytes(data[:min(len(data), max(length, 1))])
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
