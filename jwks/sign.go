package jwks

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// SignRequest is a token to be made.
type SignRequest struct {
	// Key signs: of the types that [ParsePrivateKey] returns. Required.
	Key crypto.Signer
	// Alg is an algorithm that the key is for. Default, when empty: RS512 for
	// RSA, the only one otherwise.
	Alg string
	// Kid is the header's kid; 1 to 128 printable ASCII characters. When empty,
	// there is none.
	Kid string
	// Typ is the header's typ, such as JWT or at+jwt. When empty, there is
	// none.
	Typ string
	// Claims becomes the claims by [json.Marshal]; it must make an object.
	// Numeric dates are seconds since 1970. Nothing is added to it.
	Claims any
}

// Sign makes a compact token (RFC 7515, section 7.1). It refuses a key that
// isn't for the algorithm, keys that [NewKey] refuses, and claims and headers
// that a [Verifier] would refuse for their form; it does not judge what the
// claims say, nor how long the token is.
func Sign(q SignRequest) (string, error) {
	if q.Key == nil {
		return "", errors.New("jwks: Key is required: nothing can be signed without a private key")
	}
	alg, err := algorithmFor(q.Key, q.Alg)
	if err != nil {
		return "", err
	}
	if _, err := NewKey(q.Kid, alg, q.Key.Public()); err != nil {
		return "", err
	}
	claims, err := json.Marshal(q.Claims)
	if err != nil {
		return "", fmt.Errorf("jwks: the claims can't be written as JSON: %w", err)
	}
	if _, err := parseClaims(claims); err != nil {
		return "", fmt.Errorf("jwks: no verifier would take the claims: %s", formText(err))
	}
	header := map[string]string{"alg": alg}
	if q.Kid != "" {
		header["kid"] = q.Kid
	}
	if q.Typ != "" {
		header["typ"] = q.Typ
	}
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	if _, err := jws.ParseHeader(head); err != nil {
		return "", fmt.Errorf("jwks: no verifier would take the header: %s", formText(err))
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	signature, err := algorithms[alg].method.Sign(signed, q.Key)
	if err != nil {
		if errors.Is(err, jwt.ErrInvalidKeyType) {
			return "", fmt.Errorf("jwks: a private key of the type %T can't sign here: expected what ParsePrivateKey returns", q.Key)
		}
		return "", fmt.Errorf("jwks: signing with %s failed: %w", alg, err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// algorithmFor checks the algorithm's name, or finds the default for the key.
func algorithmFor(key crypto.Signer, alg string) (string, error) {
	if alg != "" {
		if _, ok := algorithms[alg]; !ok {
			return "", fmt.Errorf("jwks: the algorithm %q is not one of %s", clip(alg), algorithmList)
		}
		return alg, nil
	}
	k, err := newKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("jwks: %w", err)
	}
	if algorithms[DefaultAlgorithm].fits(k) {
		return DefaultAlgorithm, nil
	}
	for name, a := range algorithms {
		if a.fits(k) {
			return name, nil // of the other key types, each has one algorithm
		}
	}
	return "", errors.New("jwks: no algorithm is for this key")
}
