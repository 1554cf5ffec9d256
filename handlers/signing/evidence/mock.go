package evidence

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// MockMark is the organization in the subject and the issuer of every
// certificate of a [Mock].
const MockMark = "MOCK - NOT A REAL SIGNATURE"

const (
	mockKeyBits  = 2048
	mockLifetime = time.Hour
)

// Mock is a signer for trials, with a certification authority of its own that
// lives as long as the process. Its certificates call themselves no real
// signature. It is safe for concurrent use.
type Mock struct {
	now       func() time.Time
	authority *x509.Certificate
	issuer    crypto.Signer
	signer    *rsa.PrivateKey
	roots     *x509.CertPool
}

// NewMock makes the authority and the keys, which takes a fraction of a second.
// now is the clock; nil means time.Now.
func NewMock(now func() time.Time) (*Mock, error) {
	if now == nil {
		now = time.Now
	}
	m := &Mock{now: now, roots: x509.NewCertPool()}
	var err error
	if m.signer, err = rsa.GenerateKey(rand.Reader, mockKeyBits); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if m.issuer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	t := now()
	template := &x509.Certificate{
		Subject: mockName(MockMark + " CA"),
		// It lives as long as the process, however the clock is set meanwhile.
		NotBefore:             t.AddDate(-10, 0, 0),
		NotAfter:              t.AddDate(10, 0, 0),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	if m.authority, err = m.certify(template, template, m.issuer.Public()); err != nil {
		return nil, err
	}
	m.roots.AddCert(m.authority)
	return m, nil
}

func mockName(commonName string) pkix.Name {
	return pkix.Name{Organization: []string{MockMark}, OrganizationalUnit: []string{MockMark}, CommonName: commonName}
}

func (m *Mock) certify(template, parent *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, m.issuer)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return c, nil
}

// Roots is a pool that holds the mock's authority, for those who verify
// elsewhere.
func (m *Mock) Roots() *x509.CertPool { return m.roots.Clone() }

// Sign signs each document as the subject, and returns the signatures in their
// order with the certificate: DER in standard base64, as an upload has it. The
// certificate names the subject as the two kinds of [SubjectFrom] expect it,
// with the common name "<subject>_MOCK".
func (m *Mock) Sign(subject, algorithm string, documents []Document) (signatures []Signature, certificate string, err error) {
	if subject == "" {
		return nil, "", errors.New("evidence: the mock needs a subject to sign as")
	}
	hash, err := hashOf(algorithm)
	if err != nil {
		return nil, "", err
	}
	name := mockName(subject + "_MOCK")
	name.SerialNumber = subject
	t := m.now()
	c, err := m.certify(&x509.Certificate{
		Subject:               name,
		NotBefore:             t.Add(-mockLifetime),
		NotAfter:              t.Add(mockLifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageContentCommitment,
	}, m.authority, m.signer.Public())
	if err != nil {
		return nil, "", err
	}
	signatures = make([]Signature, len(documents))
	for i, d := range documents {
		h := hash.New()
		h.Write(d.Payload)
		value, err := rsa.SignPKCS1v15(nil, m.signer, hash, h.Sum(nil))
		if err != nil {
			return nil, "", fmt.Errorf("evidence: %w", err)
		}
		signatures[i] = Signature{ID: d.ID, Value: base64.StdEncoding.EncodeToString(value)}
	}
	return signatures, base64.StdEncoding.EncodeToString(c.Raw), nil
}

// issued reports whether the certificate is of this mock; none is of nil.
func (m *Mock) issued(c *x509.Certificate) bool {
	return m != nil && bytes.Equal(c.RawIssuer, m.authority.RawSubject) && c.CheckSignatureFrom(m.authority) == nil
}
