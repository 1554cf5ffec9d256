package testcard

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

const (
	organization = "Signpost test, not for production"
	// A card outlives no authority: those are made for longer.
	authorityYears = 10
	cardYears      = 2
	// skew is for machines whose clocks are behind.
	skew = time.Hour
)

// authority is who issues the certificates of test cards.
type authority struct {
	file        string
	certificate *x509.Certificate
	key         crypto.Signer
}

// openAuthority reads the test authority of a directory, or makes one.
func openAuthority(dir string, now time.Time) (*authority, error) {
	file, keyFile := filepath.Join(dir, "test-ca.pem"), filepath.Join(dir, "test-ca-key.pem")
	text, err := os.ReadFile(file) //nolint:gosec // the operator's own path
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeAuthority(file, keyFile, now)
	case err != nil:
		return nil, fmt.Errorf("testcard: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("testcard: %s holds no certificate in PEM: remove it, and another is made", file)
	}
	a := &authority{file: file}
	if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("testcard: %s: %w", file, err)
	}
	if text, err = os.ReadFile(keyFile); err != nil { //nolint:gosec // the operator's own path
		return nil, fmt.Errorf("testcard: the key of the test authority %s: %w", file, err)
	}
	if a.key, err = jwks.ParsePrivateKey(text); err != nil {
		return nil, fmt.Errorf("testcard: %s: %w", keyFile, err)
	}
	return a, a.check(keyFile, now)
}

func (a *authority) check(keyFile string, now time.Time) error {
	public, ok := a.certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !a.certificate.IsCA:
		return fmt.Errorf("testcard: %s is not the certificate of an authority", a.file)
	case !ok || !public.Equal(a.key.Public()):
		return fmt.Errorf("testcard: %s is not the key of %s", keyFile, a.file)
	case now.After(a.certificate.NotAfter):
		return fmt.Errorf("testcard: the test authority %s has expired: remove it and %s, and others are made", a.file, keyFile)
	default:
		return nil
	}
}

func makeAuthority(file, keyFile string, now time.Time) (*authority, error) {
	key, err := jwks.GeneratePrivateKey("RS256", DefaultBits)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{organization}, CommonName: "Signpost Test CA"},
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(authorityYears, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	a := &authority{file: file, key: key}
	if a.certificate, err = issue(template, template, key.Public(), key); err != nil {
		return nil, err
	}
	text, err := jwks.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("testcard: %w", err)
	}
	// The key first: a certificate without it would be in the way.
	if err := create(keyFile, text); err != nil {
		return nil, err
	}
	return a, create(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// create writes a file that isn't there yet.
func create(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's own path
	if err != nil {
		return fmt.Errorf("testcard: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("testcard: %w", err)
	}
	return nil
}

func issue(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("testcard: making a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// card issues a certificate as smartcards for prescribers have them: for
// contentCommitment alone, without extended usages (the wire reference, section
// 4.2).
func (a *authority) card(commonName string, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	notAfter := now.AddDate(cardYears, 0, 0)
	if notAfter.After(a.certificate.NotAfter) {
		notAfter = a.certificate.NotAfter
	}
	return issue(&x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{organization}, OrganizationalUnit: []string{"People"}, CommonName: commonName,
		},
		NotBefore: now.Add(-skew), NotAfter: notAfter,
		KeyUsage:              x509.KeyUsageContentCommitment,
		BasicConstraintsValid: true,
	}, a.certificate, public, a.key)
}
