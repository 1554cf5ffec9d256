package evidence

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func atTestNow() time.Time { return testNow }

const testUser = "555086689106"

// rsaKey makes the keys of the tests once, by size and number.
func rsaKey(tb testing.TB, bits, number int) *rsa.PrivateKey {
	tb.Helper()
	name := [2]int{bits, number}
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	if k := rsaKeys.made[name]; k != nil {
		return k
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(tb, err)
	rsaKeys.made[name] = k
	return k
}

var rsaKeys = struct {
	sync.Mutex
	made map[[2]int]*rsa.PrivateKey
}{made: make(map[[2]int]*rsa.PrivateKey)}

// authority is a certification authority of the tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

type change func(*x509.Certificate)

// newAuthority makes one, issued by parent, or by itself when that is nil.
func newAuthority(tb testing.TB, name string, parent *authority, changes ...change) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	a := &authority{key: key}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: testNow.AddDate(-5, 0, 0), NotAfter: testNow.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, change := range changes {
		change(template)
	}
	if parent == nil {
		parent = &authority{template, key}
	}
	a.cert = parent.certify(tb, template, key.Public())
	return a
}

func (a *authority) certify(tb testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	require.NoError(tb, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	return c
}

// certificate issues one for a card of the test user.
func (a *authority) certificate(tb testing.TB, public crypto.PublicKey, changes ...change) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: testUser + "_TEST", SerialNumber: "SN-7"},
		NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(1, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageContentCommitment,
	}
	for _, change := range changes {
		change(template)
	}
	return a.certify(tb, template, public)
}

func pool(authorities ...*authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range authorities {
		p.AddCert(a.cert)
	}
	return p
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func documents(n int) []Document {
	out := make([]Document, n)
	for i := range out {
		out[i] = Document{ID: fmt.Sprintf("doc-%d", i), Payload: fmt.Appendf(nil, "<SignedInfo>%0500d</SignedInfo>", i)}
	}
	return out
}

func sign(tb testing.TB, key *rsa.PrivateKey, algorithm string, docs []Document) []Signature {
	tb.Helper()
	hash, err := hashOf(algorithm)
	require.NoError(tb, err)
	out := make([]Signature, len(docs))
	for i, d := range docs {
		h := hash.New()
		h.Write(d.Payload)
		s, err := rsa.SignPKCS1v15(nil, key, hash, h.Sum(nil))
		require.NoError(tb, err)
		out[i] = Signature{d.ID, b64(s)}
	}
	return out
}

// newUpload signs n documents with the first key of 2048 bits.
func newUpload(tb testing.TB, a *authority, n int, changes ...change) Upload {
	tb.Helper()
	key, docs := rsaKey(tb, 2048, 0), documents(n)
	return Upload{
		Algorithm: RS256, Subject: testUser, Documents: docs, Signatures: sign(tb, key, RS256, docs),
		Certificate: b64(a.certificate(tb, key.Public(), changes...).Raw),
	}
}

func newVerifier(tb testing.TB, c Config) *Verifier {
	tb.Helper()
	if c.Now == nil {
		c.Now = atTestNow
	}
	v, err := New(c)
	require.NoError(tb, err)
	return v
}

// refused checks that the error is a refusal, and its code and text.
func refused(tb testing.TB, err error, code Code, message string) {
	tb.Helper()
	var e *Error
	require.ErrorAs(tb, err, &e)
	require.Equal(tb, code, e.Code, e.Error())
	require.Contains(tb, e.Message, message)
	require.Equal(tb, code, CodeOf(err))
}

func background() context.Context { return context.Background() }
