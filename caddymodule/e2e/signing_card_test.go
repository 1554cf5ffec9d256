//go:build linux

package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // RS1 is an algorithm of the signing API
	_ "crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// prescriber is for whom the drills ask.
const prescriber = "555086689106"

// authority issues the certificates of test cards.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Signpost"}, CommonName: "Test cards"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{key: key}
	a.certificate = a.certify(t, template, template, key.Public())
	return a
}

func (a *authority) certify(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// pem is what trust_pool reads.
func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// card is a smartcard with one key for signatures that can't be denied.
type card struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

// cardKey is that of all cards: making one takes a while.
var cardKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// issue makes a card of the prescriber; change, which may be nil, makes it
// another one.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) *card {
	t.Helper()
	key, err := cardKey()
	require.NoError(t, err)
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"nhs"}, OrganizationalUnit: []string{"People"}, CommonName: prescriber + "_TEST"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageContentCommitment, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	return &card{key, a.certify(t, template, a.certificate, key.Public())}
}

var hashes = map[string]crypto.Hash{"RS1": crypto.SHA1, "RS256": crypto.SHA256}

func digest(algorithm string, payload []byte) (crypto.Hash, []byte) {
	h := hashes[algorithm].New()
	h.Write(payload)
	return hashes[algorithm], h.Sum(nil)
}

// sign returns the signature as it travels.
func (c *card) sign(t testing.TB, algorithm string, payload []byte) string {
	t.Helper()
	hash, sum := digest(algorithm, payload)
	value, err := rsa.SignPKCS1v15(nil, c.key, hash, sum)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(value)
}

func (c *card) der() string { return base64.StdEncoding.EncodeToString(c.certificate.Raw) }

// namedSignature is one of many.
type namedSignature struct {
	ID        string `json:"id"`
	Signature string `json:"signature"`
}

// signed is an upload and an answer, in the shapes of both dialects.
type signed struct {
	Signatures  []namedSignature `json:"signatures,omitempty"`
	Signature   string           `json:"signature,omitempty"`
	Certificate string           `json:"certificate"`
}

func (s signed) json(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

// signAll signs the documents in the dialect of many.
func (c *card) signAll(t testing.TB, algorithm string, documents []document) signed {
	t.Helper()
	out := signed{Certificate: c.der()}
	for _, d := range documents {
		out.Signatures = append(out.Signatures, namedSignature{d.id, c.sign(t, algorithm, d.payload)})
	}
	return out
}

// requireVerifies checks signatures as an application would, with nothing of
// ours: over exactly the bytes that were to be signed.
func (s signed) requireVerifies(t testing.TB, roots *x509.CertPool, algorithm string, single bool, documents []document) *x509.Certificate {
	t.Helper()
	der, err := base64.StdEncoding.Strict().DecodeString(s.Certificate)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	if roots != nil {
		_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(t, err)
	}
	values := s.Signatures
	if single {
		require.Empty(t, s.Signatures)
		values = []namedSignature{{documents[0].id, s.Signature}}
	}
	require.Len(t, values, len(documents))
	for i, d := range documents {
		require.Equal(t, d.id, values[i].ID)
		value, err := base64.StdEncoding.Strict().DecodeString(values[i].Signature)
		require.NoError(t, err)
		hash, sum := digest(algorithm, d.payload)
		require.NoError(t, rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), hash, sum, value), "document %s", d.id)
	}
	return certificate
}
