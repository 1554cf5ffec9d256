package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// parseMembers reads the public members of a JWK: kty, n, e, crv, x and y. This
// is the only file that knows jwx; its errors are not passed on, because they
// may quote what they read.
func parseMembers(members map[string]string) (crypto.PublicKey, error) {
	data, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	parsed, err := jwk.ParseKey(data)
	if err != nil {
		return nil, errors.New("its members are missing or are no base64url")
	}
	switch k := parsed.(type) {
	case jwk.RSAPublicKey:
		return rsaKey(k)
	case jwk.ECDSAPublicKey:
		var public ecdsa.PublicKey
		if err := k.Raw(&public); err != nil {
			return nil, errors.New("its x and y are no point of the curve")
		}
		// jwx takes points that are not on the curve.
		if _, err := public.ECDH(); err != nil {
			return nil, errors.New("its x and y are no point of the curve")
		}
		return &public, nil
	case jwk.OKPPublicKey:
		var public any
		if err := k.Raw(&public); err != nil {
			return nil, errors.New("its x is no key of the curve")
		}
		return public, nil
	default:
		return nil, errors.New("it is not a public key")
	}
}

// rsaKey makes the key itself because jwx cuts exponents off at 64 bits.
func rsaKey(k jwk.RSAPublicKey) (crypto.PublicKey, error) {
	e := new(big.Int).SetBytes(k.E())
	if !e.IsInt64() || e.Int64() > maxExponent {
		return nil, errors.New("its exponent e is larger than 2^31")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N()), E: int(e.Int64())}, nil
}
