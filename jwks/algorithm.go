package jwks

import (
	"crypto"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a signature algorithm of RFC 7518 or RFC 8037. HS256 and its
// kin, and none, are not among them, so no configuration can let them in.
type algorithm struct {
	kty    string
	bits   int         // of the curve; 0 for RSA
	pkcs1  crypto.Hash // for RSASSA-PKCS1-v1_5 only
	method jwt.SigningMethod
}

var algorithms = map[string]algorithm{
	"RS256": {kty: TypeRSA, pkcs1: crypto.SHA256, method: jwt.SigningMethodRS256},
	"RS384": {kty: TypeRSA, pkcs1: crypto.SHA384, method: jwt.SigningMethodRS384},
	"RS512": {kty: TypeRSA, pkcs1: crypto.SHA512, method: jwt.SigningMethodRS512},
	"PS256": {kty: TypeRSA, method: strictPSS(jwt.SigningMethodPS256)},
	"PS384": {kty: TypeRSA, method: strictPSS(jwt.SigningMethodPS384)},
	"PS512": {kty: TypeRSA, method: strictPSS(jwt.SigningMethodPS512)},
	"ES256": {kty: TypeEC, bits: 256, method: jwt.SigningMethodES256},
	"ES384": {kty: TypeEC, bits: 384, method: jwt.SigningMethodES384},
	"ES512": {kty: TypeEC, bits: 521, method: jwt.SigningMethodES512},
	"EdDSA": {kty: TypeOKP, bits: 256, method: jwt.SigningMethodEdDSA},
}

var algorithmList = strings.Join(Algorithms(), ", ")

// Algorithms returns the names of all algorithms that a [Policy] may allow,
// sorted.
func Algorithms() []string {
	names := make([]string, 0, len(algorithms))
	for name := range algorithms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// strictPSS asks for the salt that RFC 7518, section 3.5 prescribes, as long
// as the hash; golang-jwt takes any when it verifies.
func strictPSS(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{SigningMethodRSA: m.SigningMethodRSA, Options: m.Options}
}

// fits reports whether the key is of the kind that the algorithm needs.
func (a algorithm) fits(k *Key) bool {
	return a.kty == k.Kty && (a.bits == 0 || a.bits == k.Bits)
}

// verify checks a signature over the signing input.
func (a algorithm) verify(k *Key, signed, signature []byte, stdlib bool) bool {
	if !a.fits(k) {
		return false
	}
	if a.pkcs1 != 0 && !stdlib {
		if ok, done := verifyFast(k, a.pkcs1, signed, signature); done {
			return ok
		}
	}
	return a.method.Verify(string(signed), signature, k.Public) == nil
}
