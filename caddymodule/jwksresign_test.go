package caddymodule

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// testTimes are the numbers in the vectors' claims that are times around their
// clock.
var testTimes = regexp.MustCompile(`\b(1799\d{6}|1800\d{6})\b`)

// newResigner returns a function that moves the times of a token's claims and
// signs them again as they were signed. What nobody can have signed stays as it
// is: it is refused for its form.
func newResigner(t testing.TB, shift int64) func(string) string {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	require.NoError(t, json.Unmarshal(jwksTestdata(t, "signing_keys_TEST_ONLY.json"), &set))
	var signers []func(signed []byte) []byte
	for _, raw := range set.Keys {
		key, err := jwks.ParsePrivateKey(raw)
		if err != nil {
			continue // one that can't sign these
		}
		private, ok := key.(*rsa.PrivateKey)
		if !ok {
			continue
		}
		signers = append(signers, func(signed []byte) []byte {
			sum := sha512.Sum512(signed)
			signature, _ := rsa.SignPKCS1v15(nil, private, crypto.SHA512, sum[:])
			return signature
		}, func(signed []byte) []byte {
			sum := sha256.Sum256(signed)
			signature, _ := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
			return signature
		})
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		require.NoError(t, err)
		signers = append(signers, func(signed []byte) []byte {
			mac := hmac.New(sha256.New, der)
			mac.Write(signed)
			return mac.Sum(nil)
		}, func(signed []byte) []byte {
			mac := hmac.New(sha512.New, der)
			mac.Write(signed)
			return mac.Sum(nil)
		})
	}
	require.NotEmpty(t, signers)
	enc := base64.RawURLEncoding.Strict()
	return func(token string) string {
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			return token
		}
		claims, err := enc.DecodeString(parts[1])
		if err != nil {
			return token
		}
		moved := testTimes.ReplaceAllStringFunc(string(claims), func(text string) string {
			n, _ := strconv.ParseInt(text, 10, 64)
			return strconv.FormatInt(n+shift, 10)
		})
		fresh := parts[0] + "." + enc.EncodeToString([]byte(moved))
		for _, sign := range signers {
			if enc.EncodeToString(sign([]byte(parts[0]+"."+parts[1]))) == parts[2] {
				return fresh + "." + enc.EncodeToString(sign([]byte(fresh)))
			}
		}
		return fresh + "." + parts[2]
	}
}
