package jwks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signers are one key of each kind.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	all := map[string]crypto.Signer{"RSA": privateKeys()["test-4096"]}
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA"} {
		key, err := GeneratePrivateKey(alg, 0)
		if err != nil {
			panic(err)
		}
		all[alg] = key
	}
	return all
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// privateJWKOf writes a private JWK, with some members changed; nil ones are
// removed.
func privateJWKOf(tb testing.TB, key crypto.Signer, with map[string]any) []byte {
	tb.Helper()
	k, err := NewKey("", "", key.Public())
	require.NoError(tb, err)
	text, err := json.Marshal(k)
	require.NoError(tb, err)
	var m map[string]any
	require.NoError(tb, json.Unmarshal(text, &m))
	switch p := key.(type) {
	case *rsa.PrivateKey:
		m["d"], m["p"], m["q"] = b64(p.D.Bytes()), b64(p.Primes[0].Bytes()), b64(p.Primes[1].Bytes())
	case *ecdsa.PrivateKey:
		d, err := p.Bytes()
		require.NoError(tb, err)
		m["d"] = b64(d)
	case ed25519.PrivateKey:
		m["d"] = b64(p.Seed())
	}
	for name, value := range with {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	text, err = json.Marshal(m)
	require.NoError(tb, err)
	return text
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// equals compares private keys as the standard library does.
func equals(t *testing.T, want, got crypto.Signer) {
	t.Helper()
	require.IsType(t, want, got)
	require.True(t, want.(interface{ Equal(crypto.PrivateKey) bool }).Equal(got))
}

func TestGeneratePrivateKey(t *testing.T) {
	for alg, want := range map[string]struct {
		kty  string
		bits int
	}{
		"ES256": {TypeEC, 256}, "ES384": {TypeEC, 384}, "ES512": {TypeEC, 521}, "EdDSA": {TypeOKP, 256}, "PS256": {TypeRSA, 2048},
	} {
		bits := want.bits
		if alg == "EdDSA" {
			bits = 0
		}
		private, err := GeneratePrivateKey(alg, bits)
		require.NoError(t, err, alg)
		k, err := NewKey("k", alg, private.Public())
		require.NoError(t, err, alg)
		assert.Equal(t, want.kty, k.Kty, alg)
		assert.Equal(t, want.bits, k.Bits, alg)
	}
	for _, c := range []struct {
		alg  string
		bits int
		says string
	}{
		{"HS256", 0, `the algorithm "HS256" is not one of ES256, `},
		{"", 0, "is not one of"},
		{"RS512", 2047, "an RSA key of 2047 bits: it must have 2048 to 16384"},
		{"RS512", -1, "2048 to 16384"},
		{"RS512", 16385, "2048 to 16384"},
		{"ES256", 4096, "keys of ES256 have 256 bits, not 4096"},
	} {
		_, err := GeneratePrivateKey(c.alg, c.bits)
		require.ErrorContains(t, err, c.says)
	}
}

func TestParsePrivateKeyForms(t *testing.T) {
	for name, key := range signers() {
		t.Run(name, func(t *testing.T) {
			encoded, err := EncodePrivateKey(key)
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(encoded, []byte("-----BEGIN PRIVATE KEY-----\n")))
			forms := map[string][]byte{
				"PKCS #8":   encoded,
				"JWK":       privateJWKOf(t, key, map[string]any{"kid": "x", "use": "sig", "alg": nil}),
				"with text": append([]byte("\xef\xbb\xbfKey: made on Monday\r\n"), encoded...),
			}
			switch k := key.(type) {
			case *rsa.PrivateKey:
				forms["PKCS #1"] = pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
			case *ecdsa.PrivateKey:
				der, err := x509.MarshalECPrivateKey(k)
				require.NoError(t, err)
				forms["SEC 1"] = pemOf("EC PRIVATE KEY", der)
				forms["openssl ecparam"] = append(pemOf("EC PARAMETERS", []byte{6, 1, 1}), forms["SEC 1"]...)
			}
			for form, text := range forms {
				got, err := ParsePrivateKey(text)
				require.NoError(t, err, form)
				equals(t, key, got)
			}
		})
	}
}

func TestParsePrivateKeyRefusals(t *testing.T) {
	good := signers()
	rsaKey, ecKey, edKey := good["RSA"].(*rsa.PrivateKey), good["ES256"].(*ecdsa.PrivateKey), good["EdDSA"].(ed25519.PrivateKey)
	pkix, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	p224DER, err := x509.MarshalECPrivateKey(p224)
	require.NoError(t, err)
	publicJWK, err := json.Marshal(testKey(t, "test-4096", ""))
	require.NoError(t, err)
	otherEC := good["ES384"].(*ecdsa.PrivateKey)
	otherBytes, err := otherEC.Bytes()
	require.NoError(t, err)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}})
	one := pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))
	for _, c := range []struct {
		name string
		text []byte
		says string
	}{
		{"nothing", nil, "found nothing; expected in PEM a PRIVATE KEY (PKCS #8)"},
		{"token", []byte("eyJhbGciOiJSUzUxMiJ9.e30.AA"), "found a token"},
		{"path", []byte("/etc/key.pem"), "looks like a path"},
		{"too long", make([]byte, DefaultMaxBytes+1), "more than 4194304"},
		{"encrypted PKCS #8", pemOf("ENCRYPTED PRIVATE KEY", []byte{1}), "found an encrypted private key: decrypt it first"},
		{"encrypted PKCS #1", encrypted, "found an encrypted private key"},
		{"OpenSSH", pemOf("OPENSSH PRIVATE KEY", []byte{1}), "ssh-keygen -p -m PKCS8"},
		{"DSA", pemOf("DSA PRIVATE KEY", []byte{1}), `found a PEM block "DSA PRIVATE KEY"; expected`},
		{"public key", pemOf("PUBLIC KEY", pkix), `found a public key (PEM block "PUBLIC KEY"), which can't sign`},
		{"certificate", pemOf("CERTIFICATE", []byte{1}), "found a certificate, which holds a public key only"},
		{"other block", pemOf("X509 CRL", []byte{1}), `found a PEM block "X509 CRL"`},
		{"cut short", one[:300], "found the beginning of a PEM block"},
		{"broken", pemOf("PRIVATE KEY", []byte{1}), "its PEM block PRIVATE KEY holds no key that is known"},
		{"wrong label", pemOf("EC PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "its PEM block EC PRIVATE KEY holds no key"},
		{"two keys", append(bytes.Clone(one), one...), "found several private keys, expected one"},
		{"small", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "1024 bits, fewer than 2048"},
		{"P-224", pemOf("EC PRIVATE KEY", p224DER), "no point of P-256, P-384 or P-521"},
		{"JSON", []byte(`{"a":`), "found JSON that is no JWK"},
		{"no JWK", []byte(`{}`), `found a JWK whose kty is ""`},
		{"set", []byte(`{"keys":[]}`), "found a JWK set, expected a single private JWK"},
		{"secret", []byte(`{"kty":"oct","k":"AAAA"}`), "found a symmetric key"},
		{"public JWK", publicJWK, "found a public JWK, which can't sign"},
		{"no text", privateJWKOf(t, rsaKey, map[string]any{"d": 1}), "its member d is no base64url text"},
		{"no base64url", privateJWKOf(t, rsaKey, map[string]any{"d": "a+b="}), "its member d is no base64url text"},
		{"empty", privateJWKOf(t, rsaKey, map[string]any{"d": ""}), "its member d is no base64url text"},
		{"kty", privateJWKOf(t, rsaKey, map[string]any{"kty": 1}), "its member kty is no text"},
		{"no primes", privateJWKOf(t, rsaKey, map[string]any{"p": nil}), "the RSA JWK has no member p"},
		{"more primes", privateJWKOf(t, rsaKey, map[string]any{"oth": []any{}}), "more than 2 primes"},
		{"other d", privateJWKOf(t, rsaKey, map[string]any{"d": "AQAB"}), "don't belong together"},
		{"huge d", privateJWKOf(t, rsaKey, map[string]any{"d": b64(bytes.Repeat([]byte{255}, 2000))}), "its member d is larger than its modulus n"},
		{"huge n", privateJWKOf(t, rsaKey, map[string]any{"n": b64(bytes.Repeat([]byte{255}, 8192))}), "65536 bits, more than 16384"},
		{"huge e", privateJWKOf(t, rsaKey, map[string]any{"e": b64(new(big.Int).Lsh(big.NewInt(1), 40).Bytes())}), "larger than 2^31"},
		{"one as prime", privateJWKOf(t, rsaKey, map[string]any{"p": "AQ", "q": b64(rsaKey.N.Bytes())}), "don't belong together"},
		{"curve", privateJWKOf(t, ecKey, map[string]any{"crv": "secp256k1"}), `its crv is "secp256k1"; P-256, P-384 and P-521 are known`},
		{"EC d", privateJWKOf(t, ecKey, map[string]any{"d": b64(otherBytes)}), "its d is no private key of P-256"},
		{"EC zero", privateJWKOf(t, ecKey, map[string]any{"d": b64(make([]byte, 32))}), "its d is no private key of P-256"},
		{"EC point", privateJWKOf(t, ecKey, map[string]any{"x": b64(make([]byte, 32))}), "don't belong together"},
		{"EC without y", privateJWKOf(t, ecKey, map[string]any{"y": nil}), "don't belong together"},
		{"X25519", privateJWKOf(t, edKey, map[string]any{"crv": "X25519"}), `its crv is "X25519"`},
		{"Ed25519 length", privateJWKOf(t, edKey, map[string]any{"d": b64(edKey)}), "its d has 64 bytes, not 32"},
		{"Ed25519 x", privateJWKOf(t, edKey, map[string]any{"x": b64(make([]byte, 32))}), "don't belong together"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := ParsePrivateKey(c.text)
			require.ErrorContains(t, err, c.says)
			assert.True(t, strings.HasPrefix(err.Error(), "jwks: "))
			assert.Nil(t, key)
		})
	}
}

func TestEncodePrivateKeyRefusesOthers(t *testing.T) {
	_, err := EncodePrivateKey(struct{ crypto.Signer }{})
	require.ErrorContains(t, err, "can't be written")
}

// FuzzParsePrivateKey: whatever is read can be written, read again and signed
// with, and nothing panics.
func FuzzParsePrivateKey(f *testing.F) {
	for _, key := range signers() {
		encoded, err := EncodePrivateKey(key)
		require.NoError(f, err)
		f.Add(encoded)
		f.Add(privateJWKOf(f, key, nil))
	}
	f.Add([]byte(`{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePrivateKey(text)
		if err != nil {
			return
		}
		encoded, err := EncodePrivateKey(key)
		require.NoError(t, err)
		again, err := ParsePrivateKey(encoded)
		require.NoError(t, err)
		equals(t, key, again)
		_, err = Sign(SignRequest{Key: key, Claims: map[string]any{}})
		require.NoError(t, err)
	})
}
