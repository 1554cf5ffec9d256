package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// jwkWith is the JWK of the 4096-bit test key with some members changed, and
// those that are nil removed.
func jwkWith(tb testing.TB, with map[string]any) string {
	tb.Helper()
	data, err := json.Marshal(testKey(tb, "test-4096", "RS512"))
	require.NoError(tb, err)
	var m map[string]any
	require.NoError(tb, json.Unmarshal(data, &m))
	maps.Copy(m, with)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	data, err = json.Marshal(m)
	require.NoError(tb, err)
	return string(data)
}

func number(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }

func TestSkipped(t *testing.T) {
	n := privateKeys()["test-4096"].N
	bits := func(size uint) string {
		x := new(big.Int).Lsh(big.NewInt(1), size-1)
		return number(x.SetBit(x, 0, 1))
	}
	point := map[string]any{"kty": "EC", "alg": "ES256", "n": nil, "e": nil, "crv": "P-256"}
	ec := func(with map[string]any) map[string]any {
		m := maps.Clone(point)
		maps.Copy(m, with)
		return m
	}
	zero32 := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, tc := range map[string]struct {
		with   map[string]any
		reason string // empty when it is used
	}{
		"as it is":                {nil, ""},
		"unknown members":         {map[string]any{"x5t": "x", "ext": true, "x5c": []string{"AAAA"}, "nbf": 5}, ""},
		"no use, no alg":          {map[string]any{"use": nil, "alg": nil}, ""},
		"key_ops with verify":     {map[string]any{"key_ops": []string{"encrypt", "verify"}}, ""},
		"padded members":          {map[string]any{"e": "AQAB", "n": number(n) + "="}, ""},
		"leading zeros":           {map[string]any{"e": "AAAAAAAAAAAAAAEAAQ"}, ""},
		"no kty":                  {map[string]any{"kty": nil}, "no kty"},
		"unknown kty":             {map[string]any{"kty": "AKP"}, `its kty is "AKP"`},
		"kty in lower case":       {map[string]any{"kty": "rsa"}, `its kty is "rsa"`},
		"kty a number":            {map[string]any{"kty": 5}, "not of the type"},
		"oct":                     {map[string]any{"kty": "oct", "k": "AAAA", "n": nil, "e": nil}, "symmetric"},
		"private":                 {map[string]any{"d": "AAAA"}, "private material (d)"},
		"private, ill-typed":      {map[string]any{"p": nil, "qi": 5}, "private material (qi)"},
		"for encryption":          {map[string]any{"use": "enc"}, `its use is "enc"`},
		"use a list":              {map[string]any{"use": []string{"sig"}}, "not of the type"},
		"key_ops without verify":  {map[string]any{"key_ops": []string{"encrypt"}}, "key_ops"},
		"key_ops empty":           {map[string]any{"key_ops": []string{}}, "key_ops"},
		"key_ops a text":          {map[string]any{"key_ops": "verify"}, "not of the type"},
		"alg for encryption":      {map[string]any{"alg": "RSA-OAEP"}, `alg "RSA-OAEP" is not one of`},
		"alg HS512":               {map[string]any{"alg": "HS512"}, `alg "HS512" is not one of`},
		"alg none":                {map[string]any{"alg": "none"}, `alg "none" is not one of`},
		"alg empty":               {map[string]any{"alg": ""}, "alg is empty"},
		"alg of another kty":      {map[string]any{"alg": "ES256"}, "not for this kind of key"},
		"kid empty":               {map[string]any{"kid": ""}, "kid is not 1 to 128"},
		"kid long":                {map[string]any{"kid": strings.Repeat("k", 129)}, "kid is not 1 to 128"},
		"kid with NUL":            {map[string]any{"kid": "a\x00"}, "kid is not 1 to 128"},
		"kid a number":            {map[string]any{"kid": 1}, "not of the type"},
		"2047 bits":               {map[string]any{"n": bits(2047)}, "2047 bits, fewer than 2048"},
		"2048 bits":               {map[string]any{"n": bits(2048)}, ""},
		"16384 bits":              {map[string]any{"n": bits(16384)}, ""},
		"16385 bits":              {map[string]any{"n": bits(16385)}, "16385 bits, more than 16384"},
		"65536 bits":              {map[string]any{"n": bits(65536)}, "65536 bits, more than 16384"},
		"even modulus":            {map[string]any{"n": number(new(big.Int).SetBit(n, 0, 0))}, "is even"},
		"no modulus":              {map[string]any{"n": nil}, "its kty is RSA, but"},
		"modulus no base64":       {map[string]any{"n": "!!"}, "its kty is RSA, but"},
		"e 1":                     {map[string]any{"e": "AQ"}, "outside 65537"},
		"e 3":                     {map[string]any{"e": "Aw"}, "outside 65537"},
		"e 0":                     {map[string]any{"e": "AA"}, "outside 65537"},
		"e 65538":                 {map[string]any{"e": "AQAC"}, "e of the RSA key is even"},
		"e 65539":                 {map[string]any{"e": "AQAD"}, ""},
		"e 2^31-1":                {map[string]any{"e": "f____w"}, ""},
		"e 2^31+1":                {map[string]any{"e": "gAAAAQ"}, "2^31"},
		"e 2^64+65537":            {map[string]any{"e": "AQAAAAAAAQAB"}, "2^31"},
		"of a faulty chip":        {map[string]any{"n": number(faultyModulus())}, "ROCA"},
		"not on the curve":        {ec(map[string]any{"x": zero32, "y": zero32}), "its kty is EC, but"},
		"secp256k1":               {ec(map[string]any{"crv": "secp256k1", "x": zero32, "y": zero32}), `its crv is "secp256k1"`},
		"no crv":                  {ec(map[string]any{"crv": nil}), `its crv is ""`},
		"no coordinates":          {ec(nil), "its kty is EC, but"},
		"X25519":                  {map[string]any{"kty": "OKP", "alg": nil, "crv": "X25519", "x": zero32}, `its crv is "X25519"`},
		"Ed25519 of one byte":     {map[string]any{"kty": "OKP", "alg": nil, "crv": "Ed25519", "x": "AA"}, ""},
		"deep":                    {map[string]any{"z": [][][][]int{{{{1}}}}}, "nested too deeply"},
		"more members than a JWK": {map[string]any{"z": make([]int, 100)}, "too many members"},
	} {
		t.Run(name, func(t *testing.T) {
			other := `{"kty":"RSA","kid":"other","e":"AQAB","n":"` + number(privateKeys()["test-2048"].N) + `"}`
			keys, skipped, err := Parse([]byte(`{"keys":[`+jwkWith(t, tc.with)+`,`+other+`]}`), Limits{})
			require.NoError(t, err)
			if name == "Ed25519 of one byte" {
				require.Len(t, skipped, 1)
				require.Len(t, keys, 1)
				return
			}
			if tc.reason == "" {
				require.Empty(t, skipped)
				require.Len(t, keys, 2)
				require.Equal(t, "test-4096", keys[0].Kid)
				return
			}
			require.Len(t, skipped, 1)
			assert.Contains(t, skipped[0].Reason, tc.reason)
			assert.LessOrEqual(t, len(skipped[0].Kid), 128)
			require.Len(t, keys, 1, "the rest is used")
			assert.Equal(t, "other", keys[0].Kid)
		})
	}
}

// faultyModulus is built as the primes of CVE-2017-15361 are, of 2048 bits.
func faultyModulus() *big.Int {
	m := big.NewInt(2)
	for p := range rocaPowers {
		m.Mul(m, big.NewInt(int64(p)))
	}
	half := func(exponent, k int64) *big.Int {
		x := new(big.Int).Lsh(big.NewInt(k), 1020-uint(m.BitLen()))
		x.Mul(x, m)
		return x.Add(x, new(big.Int).Exp(big.NewInt(65537), big.NewInt(exponent), m))
	}
	return new(big.Int).Mul(half(12345, 31), half(67890, 29))
}

func TestHonestModuli(t *testing.T) {
	for kid, key := range privateKeys() {
		assert.False(t, vulnerableROCA(key.N), kid)
	}
	assert.True(t, vulnerableROCA(faultyModulus()))
}

func TestDuplicateMembersSkipOneKey(t *testing.T) {
	good := jwkWith(t, nil)
	for _, bad := range []string{
		`{"kty":"RSA","kid":"x","kid":"y"}`, `{"kty":"RSA","KTY":"oct"}`, `5`, `null`, `[]`, `"text"`, `{"kty":"\ud800"}`, "{\"kty\":\"\xff\"}",
	} {
		keys, skipped, err := Parse([]byte(`{"keys":[`+bad+`,`+good+`]}`), Limits{})
		require.NoError(t, err, bad)
		assert.Len(t, skipped, 1, bad)
		assert.Len(t, keys, 1, bad)
	}
}

func TestOneKidTwoKeys(t *testing.T) {
	good := jwkWith(t, nil)
	twin := jwkWith(t, map[string]any{"n": number(privateKeys()["attacker-4096"].N)})
	otherAlg := jwkWith(t, map[string]any{"alg": "RS256"})
	enc := jwkWith(t, map[string]any{"use": "enc"})
	nameless := jwkWith(t, map[string]any{"kid": nil})
	for name, tc := range map[string]struct {
		set           []string
		keys, skipped int
	}{
		"the same twice":          {[]string{good, good}, 1, 0},
		"other bytes":             {[]string{good, twin}, 0, 2},
		"other bytes, three":      {[]string{good, twin, good}, 0, 3},
		"other alg":               {[]string{good, otherAlg}, 0, 2},
		"one is for encryption":   {[]string{good, enc}, 1, 1},
		"one without kid":         {[]string{nameless}, 1, 0},
		"the same without kid":    {[]string{nameless, nameless}, 1, 0},
		"with and without kid":    {[]string{nameless, good}, 1, 1},
		"none":                    {nil, 0, 0},
		"two others without kids": {[]string{nameless, jwkWith(t, map[string]any{"kid": nil, "alg": "RS256"})}, 0, 2},
	} {
		keys, skipped, err := Parse([]byte(`{"keys":[`+strings.Join(tc.set, ",")+`]}`), Limits{})
		require.NoError(t, err, name)
		assert.Len(t, keys, tc.keys, name)
		assert.Len(t, skipped, tc.skipped, name)
	}
}

func TestLimits(t *testing.T) {
	var set []string
	for i := range 150 {
		set = append(set, jwkWith(t, map[string]any{"kid": fmt.Sprint(i)}))
	}
	text := []byte(`{"keys":[` + strings.Join(set, ",") + `]}`)
	keys, skipped, err := Parse(text, Limits{MaxKeys: MaxURLKeys})
	require.NoError(t, err)
	assert.Len(t, keys, 100)
	require.Len(t, skipped, 1)
	assert.Equal(t, "50 more keys are not read: the limit is 100", skipped[0].Reason)

	keys, skipped, err = Parse(text, Limits{})
	require.NoError(t, err)
	assert.Len(t, keys, 150)
	assert.Empty(t, skipped)

	_, _, err = Parse(text, Limits{MaxBytes: len(text) - 1})
	require.ErrorContains(t, err, "more than")

	keys, _, err = Parse(text, Limits{MinKeyBits: 4097})
	require.NoError(t, err)
	assert.Empty(t, keys)

	// A smaller minimum doesn't let in what is too small for everybody.
	small := jwkWith(t, map[string]any{"n": number(new(big.Int).SetBit(big.NewInt(1), 1023, 1))})
	keys, _, err = Parse([]byte(small), Limits{MinKeyBits: 512})
	require.NoError(t, err)
	assert.Empty(t, keys)
}

func TestNotKeys(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "found nothing; expected a JWK set",
		" \n":                                   "found nothing",
		"<!DOCTYPE html>":                       "found HTML",
		"[" + "{}]":                             "found a JSON array",
		"{}":                                    "neither keys nor kty",
		`{"keys":5}`:                            "is not an array",
		`{"keys":null}`:                         "is not an array",
		`{"keys":[],"keys":[]}`:                 "two members named keys",
		`{"KEYS":[]}`:                           "neither keys nor kty",
		`{"keys":[]} x`:                         "more bytes after",
		`{"keys":[`:                             "cut short",
		`{"keys":[{]}`:                          "broken JSON",
		`{"jwks_uri":"https://x/keys"}`:         "discovery document",
		"ssh-rsa AAAA":                          "OpenSSH",
		"eyJhbGciOiJub25lIn0.e30.":              "a token",
		"https://example.org/jwks.json":         "an address",
		"/etc/keys.json":                        "a path",
		"MIICIjANBgkqhkiG9w0BAQEFAAOC":          "base64 without",
		"0\x82\x02\x22":                         "DER",
		"hello":                                 "neither JSON nor PEM",
		"-----BEGIN PUBLIC KEY-----\n!":         "not a whole one",
		strings.Repeat("[", 100000):             "found a JSON array",
		`{"keys":` + strings.Repeat("[", 20000): "broken JSON",
	} {
		keys, _, err := Parse([]byte(text), Limits{})
		require.ErrorContains(t, err, want)
		assert.Empty(t, keys)
	}
}

func certificate(t *testing.T, key *ecdsa.PrivateKey, usage x509.KeyUsage) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, KeyUsage: usage, NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return der
}

func TestPEM(t *testing.T) {
	private := privateKeys()["test-4096"]
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	pkix, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, tc := range map[string]struct {
		text, kty, reason string
	}{
		"PKIX":                    {block("PUBLIC KEY", pkix), TypeRSA, ""},
		"PKCS #1":                 {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&private.PublicKey)), TypeRSA, ""},
		"certificate":             {block("CERTIFICATE", certificate(t, ec, x509.KeyUsageDigitalSignature)), TypeEC, ""},
		"certificate without use": {block("CERTIFICATE", certificate(t, ec, 0)), TypeEC, ""},
		"certificate of a CA":     {block("CERTIFICATE", certificate(t, ec, x509.KeyUsageCertSign)), "", "key usage"},
		"text around":             {"subject=/CN=x\n" + block("PUBLIC KEY", pkix) + "\n# end", TypeRSA, ""},
		"after a BOM":             {"\xef\xbb\xbf" + block("PUBLIC KEY", pkix), TypeRSA, ""},
		"Windows lines":           {strings.ReplaceAll(block("PUBLIC KEY", pkix), "\n", "\r\n"), TypeRSA, ""},
		"private":                 {block("PRIVATE KEY", pkcs8), "", "private key (PEM block PRIVATE KEY)"},
		"private PKCS #1":         {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), "", "private key"},
		"request":                 {block("CERTIFICATE REQUEST", pkix), "", "found a PEM block CERTIFICATE REQUEST; expected PUBLIC KEY"},
		"garbage":                 {block("PUBLIC KEY", []byte{1, 2}), "", "no key that is known"},
		"garbage PKCS #1":         {block("RSA PUBLIC KEY", pkix), "", "no PKCS #1 key"},
		"garbage certificate":     {block("CERTIFICATE", pkix), "", "no X.509 certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := Parse([]byte(tc.text), Limits{})
			require.NoError(t, err)
			if tc.reason != "" {
				require.Empty(t, keys)
				require.Len(t, skipped, 1)
				assert.Contains(t, skipped[0].Reason, tc.reason)
				assert.NotContains(t, fmt.Sprint(skipped), "MII")
				return
			}
			require.Empty(t, skipped)
			require.Len(t, keys, 1)
			assert.Equal(t, tc.kty, keys[0].Kty)
			assert.Empty(t, keys[0].Kid)
		})
	}
	keys, skipped, err := Parse([]byte(block("PUBLIC KEY", pkix)+block("PRIVATE KEY", pkcs8)), Limits{})
	require.NoError(t, err)
	assert.Len(t, keys, 1)
	assert.Len(t, skipped, 1)
}

func TestThumbprint(t *testing.T) {
	// RFC 7638, section 3.1, and RFC 8037, appendix A.3.
	for text, want := range map[string]string{
		`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		keys, skipped, err := Parse([]byte(text), Limits{})
		require.NoError(t, err)
		require.Empty(t, skipped)
		require.Len(t, keys, 1)
		assert.Equal(t, want, keys[0].Thumbprint)
		again, err := json.Marshal(keys)
		require.NoError(t, err)
		back, _, err := Parse([]byte(`{"keys":`+string(again)+`}`), Limits{})
		require.NoError(t, err)
		require.Len(t, back, 1)
		assert.Equal(t, keys[0].Thumbprint, back[0].Thumbprint)
		assert.Equal(t, keys[0].Kid, back[0].Kid)
		assert.Equal(t, keys[0].Alg, back[0].Alg)
	}
}

func TestNewKey(t *testing.T) {
	for _, public := range []any{
		nil, "text", (*rsa.PublicKey)(nil), &rsa.PublicKey{}, &ecdsa.PublicKey{}, (*ecdsa.PublicKey)(nil), ed25519.PublicKey{1},
		privateKeys()["test-4096"],
	} {
		_, err := NewKey("k", "", public)
		require.Error(t, err, "%T", public)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	_, err = NewKey("k", "", &p224.PublicKey)
	require.Error(t, err)
	public := &privateKeys()["test-4096"].PublicKey
	_, err = NewKey("k\n", "", public)
	require.ErrorContains(t, err, "kid")
	_, err = NewKey("k", "HS256", public)
	require.ErrorContains(t, err, "HS256")
	k, err := NewKey("", "", public)
	require.NoError(t, err)
	assert.Equal(t, sha256.Size*4/3+1, len(k.Thumbprint))
	assert.Equal(t, 4096, k.Bits)
}
