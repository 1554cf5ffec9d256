package caddymodule

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// card is a signer whose certificate an authority has issued.
type card struct {
	key         *rsa.PrivateKey
	authority   []byte // PEM
	certificate []byte // DER
}

var cardTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newCard(t *testing.T) *card {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority"}, NotBefore: cardTime.AddDate(-1, 0, 0), NotAfter: cardTime.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, issuer.Public(), issuer)
	require.NoError(t, err)
	c := &card{authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})}
	c.key, err = rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c.certificate, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: signUser + "_TEST\x1b[2J", Organization: []string{"nhs"}},
		NotBefore: cardTime.AddDate(0, -1, 0), NotAfter: cardTime.AddDate(0, 1, 0), KeyUsage: x509.KeyUsageContentCommitment,
	}, authority, c.key.Public(), issuer)
	require.NoError(t, err)
	return c
}

func (c *card) sign(t *testing.T, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, c.key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return string(signature)
}

func TestSignVerify(t *testing.T) {
	c := newCard(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, text)
		return path
	}
	armoured := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate}))
	document, certificate, signature := file("doc", "a text\n"), file("doc.cert.pem", armoured), file("doc.sig", c.sign(t, "a text\n"))
	trust := file("ca.pem", string(c.authority))
	run := func(stdin string, args ...string) (string, error) {
		return runCommand(t, stdin, append([]string{"sign", "verify"}, args...)...)
	}

	out, err := run("", "--certificate", certificate, "--signature", signature, document)
	require.NoError(t, err)
	assert.Contains(t, out, "signed by   \"CN=555086689106_TEST\\x1b[2J,O=nhs\"\nissued by   CN=Authority\nvalid       2026-02-04T05:06:07Z to 2026-04-04T05:06:07Z\nkey         RSA of 2048 bits\nsha256      ")
	assert.Contains(t, out, "chain       not checked: anybody may have made this certificate")
	assert.NotContains(t, out, "\x1b")

	// In every form, and trusted while the certificate was valid.
	for _, form := range []string{certificate, file("der", string(c.certificate)), file("b64", base64.StdEncoding.EncodeToString(c.certificate)+"\n")} {
		for _, value := range []string{signature, file("sig64", base64.StdEncoding.EncodeToString([]byte(c.sign(t, "a text\n"))))} {
			out, err = run("a text\n", "--certificate", form, "--signature", value, "--trust", trust, "--at", "2026-03-04T00:00:00Z", "-")
			require.NoError(t, err)
			require.Contains(t, out, "chain       leads to an authority of --trust")
		}
	}
	out, err = run("", "--certificate", certificate, "--signature", signature, "--trust", trust, "--at", "1772582400", "--json", document)
	require.NoError(t, err)
	var shown map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	assert.Equal(t, true, shown["trusted"])
	assert.Equal(t, "ff", shown["serial"])

	for says, args := range map[string][]string{
		"the signatures do not verify: Signature is not valid":                    {"--certificate", certificate, "--signature", signature, trust},
		"Signature must be 256 bytes long like the certificate's key, not 7":      {"--certificate", certificate, "--signature", document, document},
		"The certificate has expired: its validity ended at 2026-04-04T05:06:07Z": {"--certificate", certificate, "--signature", signature, "--trust", trust, "--at", "2026-04-05T00:00:00Z", document},
		"The certificate is not from a trusted authority":                         {"--certificate", certificate, "--signature", signature, "--trust", file("other.pem", string(newCard(t).authority)), "--at", "1772582400", document},
		"The certificate's RSA key has 2048 bits, at least 3072 are required":     {"--certificate", certificate, "--signature", signature, "--min-card-key-bits", "3072", document},
		"it holds several PEM blocks":                                             {"--certificate", file("two", armoured+armoured), "--signature", signature, document},
		"it holds no PEM block CERTIFICATE":                                       {"--certificate", privateKeyFile(t, "test-4096"), "--signature", signature, document},
		`"certificate" is not an X.509 certificate in DER`:                        {"--certificate", document, "--signature", signature, document},
		`"signature" is not allowed to be empty`:                                  {"--certificate", certificate, "--signature", file("empty", ""), document},
		"--at \"soon\": it must be seconds since 1970":                            {"--certificate", certificate, "--signature", signature, "--at", "soon", document},
		"only one file can be read from standard input":                           {"--certificate", "-", "--signature", signature, "-"},
		`required flag(s) "certificate", "signature" not set`:                     {document},
		"accepts 1 arg(s), received 2":                                            {"--certificate", certificate, "--signature", signature, document, document},
	} {
		_, err := run("", args...)
		require.ErrorContains(t, err, says)
	}
}

// The example of the API's page: its signature is of another payload than the
// one that it stands beside.
func TestSignVerifyGolden(t *testing.T) {
	var golden struct {
		Signature, Certificate string
		Reject                 []byte `json:"rs1_reject_payload"`
		Accept                 []byte `json:"rs1_accept_payload"`
	}
	require.NoError(t, json.Unmarshal(readFile(t, "../handlers/signing/evidence/testdata/signing_golden.json"), &golden))
	dir := t.TempDir()
	certificate, signature := filepath.Join(dir, "certificate"), filepath.Join(dir, "signature")
	writeFile(t, certificate, golden.Certificate)
	writeFile(t, signature, golden.Signature)
	args := []string{"sign", "verify", "--algorithm", "RS1", "--certificate", certificate, "--signature", signature, "-"}
	out, err := runCommand(t, string(golden.Accept), args...)
	require.NoError(t, err)
	require.Contains(t, out, "CN=EMU")
	_, err = runCommand(t, string(golden.Reject), args...)
	require.ErrorContains(t, err, "Signature is not valid")
}
