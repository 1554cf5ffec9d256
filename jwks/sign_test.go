package jwks

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is signed verifies, here and with golang-jwt, with every algorithm.
func TestSign(t *testing.T) {
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			private := signers()["RSA"]
			if k, ok := signers()[alg]; ok {
				private = k
			}
			token, err := Sign(SignRequest{Key: private, Alg: alg, Kid: "k-1", Typ: "at+jwt", Claims: goodClaims(nil)})
			require.NoError(t, err)
			header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
			require.NoError(t, err)
			assert.Equal(t, `{"alg":"`+alg+`","kid":"k-1","typ":"at+jwt"}`, string(header))

			k, err := NewKey("k-1", alg, private.Public())
			require.NoError(t, err)
			v := newVerifier(t, Config{Bindings: []Binding{{Issuer: "client-1", Keys: index(t, k)}}, Policy: Policy{Algorithms: []string{alg}}})
			verified, err := v.Verify(t.Context(), []byte(token))
			require.NoError(t, err)
			assert.Equal(t, "client-1", verified.Issuer)

			_, err = jwt.NewParser(jwt.WithTimeFunc(atVectorTime), jwt.WithValidMethods([]string{alg})).
				Parse(token, func(*jwt.Token) (any, error) { return private.Public(), nil })
			require.NoError(t, err)
		})
	}
}

func TestSignDefaults(t *testing.T) {
	for kind, alg := range map[string]string{"RSA": "RS512", "ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "EdDSA": "EdDSA"} {
		token, err := Sign(SignRequest{Key: signers()[kind], Claims: json.RawMessage(` {"exp": 18000000000000000, "a": 1.50}`)})
		require.NoError(t, err)
		parts := strings.Split(token, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		assert.Equal(t, `{"alg":"`+alg+`"}`, string(header), "neither kid nor typ")
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		assert.Equal(t, `{"exp":18000000000000000,"a":1.50}`, string(claims), "numbers as they were given")
	}
}

func TestSignRefusals(t *testing.T) {
	key := signers()["RSA"]
	for _, c := range []struct {
		name string
		q    SignRequest
		says string
	}{
		{"no key", SignRequest{Claims: map[string]any{}}, "Key is required"},
		{"algorithm", SignRequest{Key: key, Alg: "HS256", Claims: map[string]any{}}, `"HS256" is not one of`},
		{"other kind", SignRequest{Key: key, Alg: "ES256", Claims: map[string]any{}}, "alg ES256 is not for this kind of key"},
		{"other curve", SignRequest{Key: signers()["ES384"], Alg: "ES256", Claims: map[string]any{}}, "alg ES256 is not for this kind of key"},
		{"kid", SignRequest{Key: key, Kid: "a\n", Claims: map[string]any{}}, "printable ASCII"},
		{"no claims", SignRequest{Key: key}, "no verifier would take the claims"},
		{"array", SignRequest{Key: key, Claims: []int{1}}, "the JSON text is no object"},
		{"duplicates", SignRequest{Key: key, Claims: json.RawMessage(`{"a":1,"a":2}`)}, "two members have one name"},
		{"no JSON", SignRequest{Key: key, Claims: math.Inf(1)}, "can't be written as JSON"},
		{"typ", SignRequest{Key: key, Typ: strings.Repeat("x", 3000), Claims: map[string]any{}}, "the header is too long"},
		{"a signer elsewhere", SignRequest{Key: elsewhere{key}, Claims: map[string]any{}}, "can't sign here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token, err := Sign(c.q)
			require.ErrorContains(t, err, c.says)
			assert.Empty(t, token)
		})
	}
}

type elsewhere struct{ crypto.Signer }
