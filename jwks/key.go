package jwks

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Sizes of RSA keys, in bits of the modulus, and their public exponents, both
// ends included.
const (
	DefaultMinKeyBits = 2048
	MaxKeyBits        = 16384
	minExponent       = 65537
	maxExponent       = 1<<31 - 1
)

// Key types (RFC 7518, section 6.1; RFC 8037, section 2).
const (
	TypeRSA = "RSA"
	TypeEC  = "EC"
	TypeOKP = "OKP"
)

// Key is a public key that can verify signatures. It is made by [Parse] and
// [NewKey], checked, and never changed afterwards.
type Key struct {
	Kid string // empty when it has none
	Kty string // TypeRSA, TypeEC or TypeOKP
	Alg string // the only algorithm that it is for; empty when it doesn't say
	Use string // "sig" or empty
	// Issuer is the "iss" of the tokens that the key verifies, where its source
	// tells issuers apart ([URLConfig]); empty when that is left to its set.
	Issuer string
	// Bits is the size of the modulus, or of the curve's field.
	Bits int
	// Public is an *rsa.PublicKey, an *ecdsa.PublicKey or an
	// ed25519.PublicKey.
	Public crypto.PublicKey
	// Thumbprint is the SHA-256 JWK thumbprint (RFC 7638) in base64url. It
	// stands for the key's bytes, not for its kid or alg.
	Thumbprint string
}

// Keys is a list of keys.
type Keys []*Key

// IssuerMember is the private member of a JWK (RFC 7517, section 4) that says
// whose tokens the key verifies. Those who don't know it leave it alone.
const IssuerMember = "signpost_iss"

// For returns the key as one of that issuer, which MarshalJSON says in
// [IssuerMember]. A key without an id gets its thumbprint as one: among those of
// others it couldn't be found.
func (k *Key) For(issuer string) *Key {
	bound := *k
	bound.Issuer = issuer
	if bound.Kid == "" {
		bound.Kid = k.Thumbprint
	}
	return &bound
}

// NewKey makes a Key of a public key that is an *rsa.PublicKey, an
// *ecdsa.PublicKey (P-256, P-384, P-521) or an ed25519.PublicKey. kid and alg
// may be empty. It applies the rules of [Parse], with the default limits.
func NewKey(kid, alg string, public crypto.PublicKey) (*Key, error) {
	k, err := newKey(public)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	k.Kid, k.Alg = kid, alg
	if kid != "" && !validKid(kid) {
		return nil, errors.New("jwks: " + reasonKid)
	}
	if reason := k.unusable(DefaultMinKeyBits); reason != "" {
		return nil, errors.New("jwks: " + reason)
	}
	return k, nil
}

// newKey fills in what follows from the key's bytes.
func newKey(public crypto.PublicKey) (*Key, error) {
	k := &Key{Public: public}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if p == nil || p.N == nil {
			return nil, errors.New("the RSA key has no modulus")
		}
		k.Kty, k.Bits = TypeRSA, p.N.BitLen()
	case *ecdsa.PublicKey:
		if p == nil || p.Curve == nil {
			return nil, errors.New("the EC key has no curve")
		}
		// ECDH refuses points that are not on the curve.
		if _, err := p.ECDH(); err != nil {
			return nil, errors.New("the EC key is no point of P-256, P-384 or P-521")
		}
		k.Kty, k.Bits = TypeEC, p.Curve.Params().BitSize
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the Ed25519 key has %d bytes, not %d", len(p), ed25519.PublicKeySize)
		}
		k.Kty, k.Bits = TypeOKP, 256
	default:
		return nil, fmt.Errorf("a key of the type %T can't be used: expected RSA, EC (P-256, P-384, P-521) or Ed25519", public)
	}
	members, err := json.Marshal(k.public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(members)
	k.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	return k, nil
}

// Verify reports whether signature is that of this key over the signed bytes.
// alg is one of [Algorithms], and the key's own where it says one. Whoever
// calls it decides which algorithms and sizes of keys are good.
func (k *Key) Verify(alg string, signed, signature []byte) bool {
	a, known := algorithms[alg]
	return known && a.fits(k) && (k.Alg == "" || k.Alg == alg) && a.verify(k, signed, signature, false)
}

// unusable says why the key can't be used, or nothing.
func (k *Key) unusable(minBits int) string {
	if p, ok := k.Public.(*rsa.PublicKey); ok {
		if reason := unusableRSA(p, minBits); reason != "" {
			return reason
		}
	}
	if k.Alg == "" {
		return ""
	}
	a, ok := algorithms[k.Alg]
	switch {
	case !ok:
		return fmt.Sprintf("alg %q is not one of %s", clip(k.Alg), algorithmList)
	case !a.fits(k):
		return fmt.Sprintf("alg %s is not for this kind of key", k.Alg)
	}
	return ""
}

func unusableRSA(p *rsa.PublicKey, minBits int) string {
	switch bits := p.N.BitLen(); {
	case bits < minBits:
		return fmt.Sprintf("the RSA key has %d bits, fewer than %d", bits, minBits)
	case bits > MaxKeyBits:
		return fmt.Sprintf("the RSA key has %d bits, more than %d", bits, MaxKeyBits)
	case p.N.Bit(0) == 0:
		return "the modulus n of the RSA key is even"
	case p.E < minExponent, p.E > maxExponent:
		return fmt.Sprintf("the exponent e of the RSA key is outside %d to 2^31", minExponent)
	case p.E%2 == 0:
		return "the exponent e of the RSA key is even"
	case vulnerableROCA(p.N):
		return "the RSA key was made by a faulty chip and can be broken (ROCA, CVE-2017-15361)"
	}
	return ""
}

// publicMembers are the members of a JWK that a thumbprint covers, in its order
// (RFC 7638, section 3.2; RFC 8037, section 2).
type publicMembers struct {
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

func (k *Key) public() publicMembers {
	m := publicMembers{Kty: k.Kty}
	switch p := k.Public.(type) {
	case *rsa.PublicKey:
		m.N = base64.RawURLEncoding.EncodeToString(p.N.Bytes())
		m.E = base64.RawURLEncoding.EncodeToString(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		m.Crv = p.Curve.Params().Name
		if point, err := p.Bytes(); err == nil {
			half := len(point) / 2
			m.X = base64.RawURLEncoding.EncodeToString(point[1 : 1+half])
			m.Y = base64.RawURLEncoding.EncodeToString(point[1+half:])
		}
	case ed25519.PublicKey:
		m.Crv = "Ed25519"
		m.X = base64.RawURLEncoding.EncodeToString(p)
	}
	return m
}

// MarshalJSON writes the key as a public JWK, use included, and its issuer if it
// has one.
func (k *Key) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		publicMembers

		Kid string `json:"kid,omitempty"`
		Alg string `json:"alg,omitempty"`
		Use string `json:"use"`

		Issuer string `json:"signpost_iss,omitempty"` // IssuerMember
	}{k.public(), k.Kid, k.Alg, "sig", k.Issuer})
}

// KeySource finds the keys of one issuer. It must be safe for concurrent use.
type KeySource interface {
	// Key returns the key for a token that names this kid. An empty kid asks
	// for the only key of the set. A set whose only key has no kid gives it
	// for every kid. The error is, or wraps, ErrUnknownKid or ErrUnavailable.
	//
	// It is called for every token whose form is right, forged ones included,
	// before the signature is verified.
	Key(ctx context.Context, kid string) (*Key, error)
}
