package jwks

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"math/big"
	"math/bits"
)

// digestInfo holds what goes before the digest in an encoded message (RFC
// 8017, section 9.2, note 1).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// fastBits is the size from which math/big is faster than crypto/rsa, which
// has assembly for some smaller ones.
const fastBits = 2049

// verifyFast verifies an RSASSA-PKCS1-v1_5 signature with math/big when that
// is faster, and else is not done.
func verifyFast(k *Key, hash crypto.Hash, signed, signature []byte) (ok, done bool) {
	public, isRSA := k.Public.(*rsa.PublicKey)
	if !isRSA || k.Bits < fastBits || fips140.Enabled() || !hash.Available() {
		return false, false
	}
	h := hash.New()
	h.Write(signed)
	return verifyPKCS1v15(public, hash, h.Sum(nil), signature), true
}

// verifyPKCS1v15 verifies a signature as RFC 8017, section 8.2.2 says. math/big
// takes a quarter of the time of crypto/rsa at 4096 bits; that its time depends
// on its operands doesn't matter, for there is nothing secret among them. The
// encoded message is rebuilt and compared whole, never parsed: parsing is
// where implementations have been forged against (Bleichenbacher, 2006).
func verifyPKCS1v15(public *rsa.PublicKey, hash crypto.Hash, digest, signature []byte) bool {
	prefix, known := digestInfo[hash]
	size := public.Size()
	padding := size - 3 - len(prefix) - len(digest)
	if !known || len(digest) != hash.Size() || padding < 8 || len(signature) != size {
		return false
	}
	s := new(big.Int).SetBytes(signature)
	if s.Cmp(public.N) >= 0 {
		return false
	}
	buffer := make([]byte, 2*size)
	got, want := power(s, public.E, public.N).FillBytes(buffer[:size]), buffer[size:size]
	want = append(want, 0, 1)
	for range padding {
		want = append(want, 0xff)
	}
	want = append(want, 0)
	want = append(want, prefix...)
	want = append(want, digest...)
	return bytes.Equal(got, want)
}

// power returns base^e mod n for a base below n and a positive e. big.Int.Exp
// divides after each multiplication, and division takes most of its time; this
// reduces with two constants instead (Hasenplaugh, Gaubatz, Gopal: "Fast
// modular reduction", 2007).
func power(base *big.Int, e int, n *big.Int) *big.Int {
	r := newReducer(n)
	result := new(big.Int).Set(base)
	var product big.Int
	for bit := bits.Len(uint(e)) - 2; bit >= 0; bit-- {
		product.Mul(result, result)
		r.reduce(result, &product)
		if e>>bit&1 == 1 {
			product.Mul(result, base)
			r.reduce(result, &product)
		}
	}
	return result
}

// reducer computes remainders modulo n. With B = 2^64 (or 2^32), w the words of
// n and h half of them, rounded down, fold is B^(w+h) mod n and inverse is
// B^(w+h+1) / n, rounded down.
type reducer struct {
	n, fold, inverse *big.Int
	w, h             int

	// high, low and quotient are windows on the words of other numbers: they are
	// read, and never written to.
	high, low, quotient, scratch big.Int
}

func newReducer(n *big.Int) *reducer {
	r := &reducer{n: n, w: len(n.Bits())}
	r.h = r.w / 2
	r.fold = new(big.Int).Lsh(big.NewInt(1), uint((r.w+r.h)*bits.UintSize))
	r.inverse = new(big.Int).Lsh(r.fold, bits.UintSize)
	r.inverse.Quo(r.inverse, n)
	r.fold.Rem(r.fold, n)
	return r
}

// reduce sets x to t mod n, for t < n^2, and overwrites t. x and t are
// different numbers.
func (r *reducer) reduce(x, t *big.Int) {
	r.near(x, t)
	for x.Cmp(r.n) >= 0 {
		x.Sub(x, r.n)
	}
}

// near sets x to a number that equals t modulo n, is not negative, and is less
// than 3 * n.
func (r *reducer) near(x, t *big.Int) {
	// Fold what is above B^(w+h) down: about h words remain above n. As the part
	// above is n^2/B^(w+h) at most, and fold less than n, the sum is less than
	// n^3/B^(w+h) + B^(w+h).
	if words := t.Bits(); len(words) > r.w+r.h {
		r.high.SetBits(words[r.w+r.h:])
		r.low.SetBits(words[:r.w+r.h])
		r.scratch.Mul(&r.high, r.fold)
		x.Add(&r.scratch, &r.low)
	} else {
		x.Set(t)
	}
	// Barrett's reduction. The quotient is x/B^(w-1) * inverse / B^(h+2), both
	// divisions rounded down. Roundings make it smaller only, so it is never
	// more than x/n, and less than that by
	//   - less than x/B^(w+h+1) because of inverse, which with v = n/B^w is less
	//     than v^3 + 1/B,
	//   - less than B^(w-1)/n, or 1/(B*v), because of x/B^(w-1),
	//   - less than 1 because of the last.
	// v is from 1/B to 1; between them v^3 + 1/(B*v) is convex, and at both ends
	// 1 + 1/B at most. So it is less than 2 + 2/B, and the true quotient larger
	// by 2 at most.
	if words := x.Bits(); len(words) >= r.w {
		r.high.SetBits(words[r.w-1:])
		r.scratch.Mul(&r.high, r.inverse)
		if words := r.scratch.Bits(); len(words) > r.h+2 {
			r.quotient.SetBits(words[r.h+2:])
			t.Mul(&r.quotient, r.n)
			x.Sub(x, t)
		}
	}
}
