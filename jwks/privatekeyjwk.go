package jwks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// privateMembers are the members of a private JWK, decoded.
type privateMembers struct {
	kty, crv string
	values   map[string][]byte
	foreign  string // a member that says why this is no private key of ours
}

// privateJWK reads the members itself: the parser of public keys refuses
// private ones.
func privateJWK(text []byte) (crypto.Signer, error) {
	m := privateMembers{values: make(map[string][]byte)}
	if err := jws.Object(text, jws.Limits{Depth: jwkDepth, Members: jwkMembers}, m.read); err != nil {
		return nil, fmt.Errorf("found JSON that is no JWK (%w); %s", err, expectedPrivate)
	}
	switch {
	case m.foreign == "keys":
		return nil, errors.New("found a JWK set, expected a single private JWK")
	case m.foreign == "oth":
		return nil, errors.New("the RSA key has more than 2 primes, expected 2")
	case m.kty == "oct":
		return nil, errors.New("found a symmetric key (kty oct); expected RSA, EC or OKP")
	case m.kty != TypeRSA && m.kty != TypeEC && m.kty != TypeOKP:
		return nil, fmt.Errorf("found a JWK whose kty is %q; expected RSA, EC or OKP", clip(m.kty))
	case m.values["d"] == nil:
		return nil, fmt.Errorf("found a public JWK, which can't sign; %s", expectedPrivate)
	}
	switch m.kty {
	case TypeRSA:
		return m.rsa()
	case TypeEC:
		return m.ec()
	default:
		return m.okp()
	}
}

func (m *privateMembers) read(name jws.Text, value jws.Value) error {
	n := name.String()
	switch n {
	case "kty", "crv":
		if value.Kind != jws.KindString {
			return fmt.Errorf("its member %s is no text", n)
		}
		if n == "kty" {
			m.kty = value.Text().String()
		} else {
			m.crv = value.Text().String()
		}
	case "n", "e", "d", "p", "q", "x", "y":
		raw, err := base64.RawURLEncoding.Strict().DecodeString(value.Text().String())
		if value.Kind != jws.KindString || err != nil || len(raw) == 0 {
			return fmt.Errorf("its member %s is no base64url text", n)
		}
		m.values[n] = raw
	case "keys", "oth":
		m.foreign = n
	}
	return nil
}

func (m *privateMembers) number(name string) *big.Int { return new(big.Int).SetBytes(m.values[name]) }

func (m *privateMembers) rsa() (crypto.Signer, error) {
	for _, name := range [...]string{"n", "e", "p", "q"} {
		if m.values[name] == nil {
			return nil, fmt.Errorf("the RSA JWK has no member %s", name)
		}
	}
	n, e := m.number("n"), m.number("e")
	if n.BitLen() > MaxKeyBits {
		return nil, fmt.Errorf("the RSA key has %d bits, more than %d", n.BitLen(), MaxKeyBits)
	}
	for _, name := range [...]string{"d", "p", "q"} {
		// Bounds the work on members that don't belong together.
		if m.number(name).BitLen() > n.BitLen() {
			return nil, fmt.Errorf("its member %s is larger than its modulus n", name)
		}
	}
	if !e.IsInt64() || e.Int64() > maxExponent {
		return nil, errors.New("its exponent e is larger than 2^31")
	}
	k := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())},
		D:         m.number("d"),
		Primes:    []*big.Int{m.number("p"), m.number("q")},
	}
	k.Precompute()
	if k.Validate() != nil {
		return nil, errors.New("the members of the RSA JWK don't belong together")
	}
	return k, nil
}

func (m *privateMembers) ec() (crypto.Signer, error) {
	var curve elliptic.Curve
	for _, c := range curves {
		if c.Params().Name == m.crv {
			curve = c
		}
	}
	if curve == nil {
		return nil, fmt.Errorf("its crv is %q; P-256, P-384 and P-521 are known", clip(m.crv))
	}
	k, err := ecdsa.ParseRawPrivateKey(curve, m.values["d"])
	if err != nil {
		return nil, fmt.Errorf("its d is no private key of %s", m.crv)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil || !bytes.Equal(point[1:], append(m.values["x"], m.values["y"]...)) {
		return nil, errors.New("the members of the EC JWK don't belong together")
	}
	return k, nil
}

func (m *privateMembers) okp() (crypto.Signer, error) {
	if m.crv != "Ed25519" {
		return nil, fmt.Errorf("its crv is %q; of OKP only Ed25519 signs here", clip(m.crv))
	}
	if len(m.values["d"]) != ed25519.SeedSize {
		return nil, fmt.Errorf("its d has %d bytes, not %d", len(m.values["d"]), ed25519.SeedSize)
	}
	k := ed25519.NewKeyFromSeed(m.values["d"])
	if !bytes.Equal(m.values["x"], k[ed25519.SeedSize:]) {
		return nil, errors.New("the members of the OKP JWK don't belong together")
	}
	return k, nil
}
