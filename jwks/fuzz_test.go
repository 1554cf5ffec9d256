package jwks

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// fuzzKeys have moduli of even and odd numbers of words and bits.
var fuzzKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	odd, err := rsa.GenerateKey(rand.Reader, 2113)
	if err != nil {
		panic(err)
	}
	return []*rsa.PrivateKey{privateKeys()["test-2048"], privateKeys()["test-3072"], privateKeys()["test-4096"], odd}
})

// FuzzVerifyPKCS1v15 compares the verification with that of crypto/rsa. What is
// fuzzed is the encoded message as well, signed with the private key whatever
// it holds: most mistakes of verifiers are in what they make of that.
func FuzzVerifyPKCS1v15(f *testing.F) {
	hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	for key, private := range fuzzKeys() {
		for i, hash := range hashes {
			h := hash.New()
			h.Write([]byte("message"))
			digest := h.Sum(nil)
			signature, err := rsa.SignPKCS1v15(nil, private, hash, digest)
			if err != nil {
				f.Fatal(err)
			}
			add := func(i int, digest, data []byte, sign bool) { f.Add(uint8(key), uint8(i), digest, data, sign) }
			s := new(big.Int).SetBytes(signature)
			message := new(big.Int).Exp(s, big.NewInt(int64(private.E)), private.N).FillBytes(make([]byte, private.Size()))
			add(i, digest, signature, false)
			add(i, digest, message, true)
			add(i+1, digest, signature, false)
			add(i, digest[1:], signature, false)
			add(i, digest, signature[1:], false)
			add(i, digest, append([]byte{0}, signature...), false)
			add(i, digest, new(big.Int).Add(s, private.N).Bytes(), false)
			add(i, digest, new(big.Int).Sub(private.N, s).Bytes(), false)
			add(i, digest, new(big.Int).Sub(private.N, big.NewInt(1)).Bytes(), false)
			// Short padding with garbage after the digest, as in CVE-2006-4339.
			forged := append([]byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, digestInfo[hash]...)
			forged = append(append(forged, digest...), make([]byte, private.Size()-len(forged)-len(digest))...)
			add(i, digest, forged, true)
			// An algorithm identifier without its NULL,
			// and another type of block.
			add(i, digest, bytes.Replace(message, []byte{5, 0, 4}, []byte{4}, 1), true)
			add(i, digest, bytes.Replace(message, []byte{0, 1, 0xff}, []byte{0, 2, 0xff}, 1), true)
		}
	}
	f.Add(uint8(0), uint8(0), []byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, key, which uint8, digest, data []byte, sign bool) {
		private := fuzzKeys()[int(key)%len(fuzzKeys())]
		hash := hashes[int(which)%len(hashes)]
		if sign {
			m := new(big.Int).SetBytes(data)
			m.Mod(m, private.N)
			data = m.Exp(m, private.D, private.N).FillBytes(make([]byte, private.Size()))
		}
		want := rsa.VerifyPKCS1v15(&private.PublicKey, hash, digest, data) == nil
		if got := verifyPKCS1v15(&private.PublicKey, hash, digest, data); got != want {
			t.Fatalf("%v, but crypto/rsa says %v, with the modulus %x", got, want, private.N)
		}
	})
}

// FuzzVerify looks for panics, and for tokens that are accepted though
// golang-jwt refuses them under the same policy. Half of the inputs are claims
// that get a good signature.
func FuzzVerify(f *testing.F) {
	vectors, config := readSigningVectors(f)
	for _, c := range vectors.Cases {
		f.Add([]byte(c.Token), false)
	}
	for _, claims := range []string{
		`{"iss":"client-1","exp":1800000300}`, `{"iss":"client-1","exp":1800000300.5,"iat":1.8e9,"nbf":0,"aud":["a"]}`, `{"iss":"client-1","exp":1e400}`,
		`{"iss":"client-1","exp":1,"Exp":2}`, `{"iss":"client-1","exp":18446744073709551617}`, `{"iss":null}`, `{"iss":"client-1","exp":-0}`,
	} {
		f.Add([]byte(claims), true)
	}
	private := privateKeys()["test-2048"]
	config.Policy = Policy{}
	config.Bindings = append(config.Bindings, Binding{"client-2", config.Bindings[0].Keys})
	v := newVerifier(f, config)
	strict := newVerifier(f, Config{Bindings: config.Bindings, Policy: Policy{Algorithms: Algorithms()}, StandardRSA: true})
	reference := jwt.NewParser(jwt.WithValidMethods([]string{"RS512"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(30*time.Second), jwt.WithTimeFunc(config.Now), jwt.WithStrictDecoding())
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign {
			data = sealed(t, private, data)
		}
		got, err := v.Verify(t.Context(), data)
		if _, other := strict.Verify(t.Context(), data); err == nil && other != nil {
			t.Fatalf("accepted, but crypto/rsa says %v", other)
		}
		if err != nil {
			if CodeOf(err) == CodeUnexpected || CodeOf(err) == CodeUnavailable {
				t.Fatal(err)
			}
			return
		}
		_, err = reference.Parse(string(data), func(*jwt.Token) (any, error) { return got.Key.Public, nil })
		if err != nil {
			t.Fatalf("accepted, but golang-jwt says %v", err)
		}
		if !got.Expires.After(vectorTime) || !json.Valid(got.Claims.JSON()) {
			t.Fatalf("accepted %s", got.Claims.JSON())
		}
	})
}

// sealed signs any bytes as claims.
func sealed(t *testing.T, private *rsa.PrivateKey, claims []byte) []byte {
	t.Helper()
	method := jwt.SigningMethodRS512
	token := &jwt.Token{Method: method, Header: map[string]any{"alg": "RS512", "kid": "test-2048"}, Claims: jwt.MapClaims{}}
	head, err := token.SigningString()
	if err != nil {
		t.Fatal(err)
	}
	signing := head[:len(head)-len("e30")] + token.EncodeSegment(claims)
	signature, err := method.Sign(signing, private)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(signing + "." + token.EncodeSegment(signature))
}

// FuzzParse looks for panics, and checks that what is used is within the
// rules and survives being published.
func FuzzParse(f *testing.F) {
	f.Add(readTestdata(f, "signing_jwks.json"))
	f.Add(readTestdata(f, "signing_keys_TEST_ONLY.json"))
	for _, seed := range []string{
		``, `{}`, `{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},5]}`, `{"kty":"oct","k":"AA"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, skipped, err := Parse(data, Limits{MaxKeys: 20, MaxBytes: 1 << 16})
		if err != nil {
			if len(keys)+len(skipped) > 0 {
				t.Fatal("keys and an error")
			}
			return
		}
		if len(keys)+len(skipped) > 21 {
			t.Fatalf("%d keys and %d skipped", len(keys), len(skipped))
		}
		for _, k := range keys {
			if reason := k.unusable(DefaultMinKeyBits); reason != "" {
				t.Fatal(reason)
			}
		}
		published, err := json.Marshal(JWKS{keys})
		if err != nil {
			t.Fatal(err)
		}
		again, lost, err := Parse(published, Limits{})
		if err != nil || len(lost) > 0 || len(again) != len(keys) {
			t.Fatalf("%d keys come back as %d: %v, %v", len(keys), len(again), lost, err)
		}
		for i, k := range keys {
			if !k.same(again[i]) || k.Kid != again[i].Kid {
				t.Fatalf("%v comes back as %v", k, again[i])
			}
		}
	})
}
