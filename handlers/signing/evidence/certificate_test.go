package evidence

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCertificateForm(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	der := root.certificate(t, rsaKey(t, 2048, 0).Public()).Raw
	armoured := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	wrapped := slices.Clone(der)
	wrapped[len(wrapped)-1] ^= 1
	sequence, err := asn1.Marshal([]asn1.RawValue{{FullBytes: der}})
	require.NoError(t, err)
	indefinite := append(append([]byte{0x30, 0x80}, der[4:]...), 0, 0)

	for name, tc := range map[string]struct {
		text string
		code Code
		want string
	}{
		"good":              {b64(der), "", ""},
		"empty":             {"", CodeCertificateForm, `is not allowed to be empty`},
		"not base64":        {"MII!", CodeCertificateForm, `must be a valid base64 string`},
		"base64url":         {base64.URLEncoding.EncodeToString(append([]byte{0xfb, 0xff}, der...)), CodeCertificateForm, `must be a valid base64 string`},
		"lines":             {b64(der)[:64] + "\n" + b64(der)[64:], CodeCertificateForm, `must be a valid base64 string`},
		"not padded":        {strings.TrimRight(b64(append(slices.Clone(der), 1, 2, 3)[:len(der)/3*3-2]), "="), CodeCertificateForm, `must be a valid base64 string`},
		"PEM":               {armoured, CodeCertificateForm, `must be the base64 of DER, without PEM armour`},
		"base64 of PEM":     {b64([]byte(armoured)), CodeCertificateForm, `must be the base64 of DER, without PEM armour`},
		"trailing byte":     {b64(append(slices.Clone(der), 0)), CodeCertificateForm, `must hold exactly one certificate and nothing after it`},
		"two":               {b64(append(slices.Clone(der), der...)), CodeCertificateForm, `must hold exactly one certificate and nothing after it`},
		"sequence of one":   {b64(sequence), CodeCertificateForm, `is not an X.509 certificate in DER`},
		"cut":               {b64(der[:len(der)-1]), CodeCertificateForm, `is not an X.509 certificate in DER`},
		"BER":               {b64(indefinite), CodeCertificateForm, `is not an X.509 certificate in DER`},
		"text":              {b64([]byte("hello")), CodeCertificateForm, `is not an X.509 certificate in DER`},
		"too long":          {b64(make([]byte, maxCertificateBytes+3)), CodeCertificateSize, `must not be longer than 16 KiB`},
		"too long by one":   {b64(make([]byte, maxCertificateBytes+1)), CodeCertificateSize, `must not be longer than 16 KiB`},
		"as long as it may": {b64(make([]byte, maxCertificateBytes)), CodeCertificateForm, `must hold exactly one`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parseCertificate(`"certificate"`, tc.text)
			if tc.code == "" {
				require.NoError(t, err)
				assert.Equal(t, der, c.Raw)
				return
			}
			refused(t, err, tc.code, `Invalid request payload: "certificate" `+tc.want)
		})
	}
}

func TestKeys(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	n := func(bits uint) *big.Int {
		return new(big.Int).SetBit(new(big.Int).SetBit(big.NewInt(0), int(bits)-1, 1), 0, 1)
	}
	// 1 is a power of 65537 modulo every prime, which is the mark of ROCA.
	roca := new(big.Int).Lsh(big.NewInt(1), 1500)
	for p := int64(3); p <= 167; p += 2 {
		roca.Mul(roca, big.NewInt(p))
	}
	roca.Lsh(roca, uint(2048-roca.BitLen())).SetBit(roca, 0, 1)

	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	card := rsaKey(t, 2048, 0)
	small := rsaKey(t, 1024, 0)
	for name, tc := range map[string]struct {
		public any
		min    int
		want   string
	}{
		"2048":             {&card.PublicKey, 2048, ""},
		"1024 allowed":     {&small.PublicKey, 1024, ""},
		"1024":             {&small.PublicKey, 2048, "RSA key has 1024 bits, at least 2048 are required"},
		"2048 of 3072":     {&card.PublicKey, 3072, "RSA key has 2048 bits, at least 3072 are required"},
		"16392":            {&rsa.PublicKey{N: n(16392), E: 65537}, 2048, "RSA key has 16392 bits, at most 16384 are allowed"},
		"e = 1":            {&rsa.PublicKey{N: card.N, E: 1}, 2048, "RSA key is not safe"},
		"e = 3":            {&rsa.PublicKey{N: card.N, E: 3}, 2048, "RSA key is not safe"},
		"e even":           {&rsa.PublicKey{N: card.N, E: 65538}, 2048, "RSA key is not safe"},
		"e = 3, small":     {&rsa.PublicKey{N: small.N, E: 3}, 1024, "RSA key is not safe"},
		"even modulus":     {&rsa.PublicKey{N: new(big.Int).Sub(card.N, big.NewInt(1)), E: 65537}, 2048, "RSA key is not safe"},
		"from faulty chip": {&rsa.PublicKey{N: roca, E: 65537}, 2048, "RSA key is not safe"},
		"EC":               {curve.Public(), 2048, "key must be an RSA key"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := x509.ParseCertificate(root.certificate(t, tc.public).Raw)
			require.NoError(t, err)
			_, err = signingKey(c, tc.min)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			refused(t, err, CodeKey, "The certificate's "+tc.want)
		})
	}
}

// Cards of old have keys of 1024 bits.
func TestSmallKeySigns(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	key, docs := rsaKey(t, 1024, 0), documents(1)
	u := Upload{
		Algorithm: RS1, Subject: testUser, Documents: docs, Signatures: sign(t, key, RS1, docs),
		Certificate: b64(root.certificate(t, key.Public()).Raw),
	}
	_, err := newVerifier(t, Config{Roots: pool(root), MinKeyBits: 1024}).Verify(t.Context(), u)
	require.NoError(t, err)
	_, err = newVerifier(t, Config{Roots: pool(root)}).Verify(t.Context(), u)
	refused(t, err, CodeKey, "at least 2048")
}
