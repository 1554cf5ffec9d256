package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// DefaultKeyBits is the size of the RSA keys that [GeneratePrivateKey] makes,
// in bits of the modulus.
const DefaultKeyBits = 4096

// GeneratePrivateKey makes a private key for an algorithm of [Algorithms]: an
// *rsa.PrivateKey, an *ecdsa.PrivateKey or an ed25519.PrivateKey. bits is the
// size of an RSA key, 2048 to 16384 (default, when 0: 4096); 16384 take
// minutes. The other algorithms have one size only: there, bits must be 0 or
// that size.
func GeneratePrivateKey(alg string, bits int) (crypto.Signer, error) {
	a, ok := algorithms[alg]
	if !ok {
		return nil, fmt.Errorf("jwks: the algorithm %q is not one of %s", clip(alg), algorithmList)
	}
	if a.kty != TypeRSA && bits != 0 && bits != a.bits {
		return nil, fmt.Errorf("jwks: keys of %s have %d bits, not %d", alg, a.bits, bits)
	}
	switch a.kty {
	case TypeRSA:
		return generateRSA(bits)
	case TypeOKP:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	default:
		return ecdsa.GenerateKey(curves[a.bits], rand.Reader)
	}
}

// curves are those of ES256, ES384 and ES512, by the bits of their fields.
var curves = map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}

func generateRSA(bits int) (crypto.Signer, error) {
	if bits == 0 {
		bits = DefaultKeyBits
	}
	if bits < DefaultMinKeyBits || bits > MaxKeyBits {
		return nil, fmt.Errorf("jwks: an RSA key of %d bits: it must have %d to %d", bits, DefaultMinKeyBits, MaxKeyBits)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// EncodePrivateKey writes a private key as PKCS #8 in PEM (RFC 5958, RFC
// 7468), unencrypted.
func EncodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("jwks: a private key of the type %T can't be written", key)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// checkPair refuses a private key that no token may be signed with, by the
// rules of [NewKey].
func checkPair(key crypto.Signer) error {
	k, err := newKey(key.Public())
	if err != nil {
		return err
	}
	if reason := k.unusable(DefaultMinKeyBits); reason != "" {
		return errors.New(reason)
	}
	return nil
}
