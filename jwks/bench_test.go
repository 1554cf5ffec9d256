package jwks

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"fmt"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// BenchmarkRSA compares the bare verifications in one run.
func BenchmarkRSA(b *testing.B) {
	digest := sha512.Sum512([]byte("message"))
	for _, kid := range []string{"test-2048", "test-3072", "test-4096"} {
		private := privateKeys()[kid]
		signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA512, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		size := strings.TrimPrefix(kid, "test-")
		b.Run("stdlib/"+size, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA512, digest[:], signature) != nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run("fast/"+size, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !verifyPKCS1v15(&private.PublicKey, crypto.SHA512, digest[:], signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkVerify measures whole verifications of RS512 tokens with a key of
// 4096 bits, among several keys.
func BenchmarkVerify(b *testing.B) {
	token := mint4096(b, map[string]any{"aud": "https://example.org/", "jti": "0123456789abcdef"})
	policy := Policy{Audience: []string{"https://example.org/"}, Require: []string{"exp", "sub"}}
	for _, keys := range []int{1, 10, 1000} {
		all := Keys{testKey(b, "test-4096", "RS512")}
		for i := range keys - 1 {
			other := *testKey(b, "attacker-4096", "RS512")
			other.Kid = fmt.Sprint("other-", i)
			all = append(all, &other)
		}
		for name, c := range map[string]Config{
			"first":          {CacheSize: -1},
			"first/standard": {CacheSize: -1, StandardRSA: true},
			"repeated":       {},
		} {
			if keys > 1 && c.StandardRSA {
				continue
			}
			c.Policy, c.Bindings = policy, []Binding{{"client-1", index(b, all...)}}
			v := newVerifier(b, c)
			b.Run(fmt.Sprintf("%s/keys=%d", name, keys), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRefused measures tokens that nobody signed.
func BenchmarkRefused(b *testing.B) {
	v := newVerifier(b, Config{})
	good := mint4096(b, nil)
	forged := append([]byte{}, good...)
	forged[len(forged)-10] ^= 2
	for name, token := range map[string][]byte{
		"signature":   forged,
		"unknown kid": mint(b, jwt.SigningMethodRS512, privateKeys()["test-4096"], "nobody", goodClaims(nil)),
		"alg":         mint(b, jwt.SigningMethodHS256, []byte("secret"), "test-4096", goodClaims(nil)),
		"a MB":        make([]byte, 1<<20),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
