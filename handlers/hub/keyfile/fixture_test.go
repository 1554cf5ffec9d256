package keyfile

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// chain is a key with a certificate by an authority with another above it.
type chain struct {
	key             *rsa.PrivateKey
	leaf, sub, root *x509.Certificate
}

var chains = sync.OnceValue(func() [2]chain {
	var all [2]chain
	for i := range all {
		rootKey, subKey := newKey(), newKey()
		all[i].key = newKey()
		authority := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }
		all[i].root = certify("Root", nil, &rootKey.PublicKey, rootKey, authority)
		all[i].sub = certify("Sub", all[i].root, &subKey.PublicKey, rootKey, authority)
		all[i].leaf = certify("555086689106_Test", all[i].sub, &all[i].key.PublicKey, subKey, func(*x509.Certificate) {})
	}
	return all
})

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func certify(name string, issuer *x509.Certificate, public crypto.PublicKey, key *rsa.PrivateKey, change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour), KeyUsage: x509.KeyUsageContentCommitment,
	}
	change(template)
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func keyPEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func certPEM(all ...*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, c := range all {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return text.Bytes()
}

func p12(t testing.TB, c chain, password string) []byte {
	t.Helper()
	der, err := pkcs12.Modern.Encode(c.key, c.leaf, []*x509.Certificate{c.sub, c.root}, password)
	require.NoError(t, err)
	return der
}

func write(t testing.TB, name string, text []byte, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, text, mode))
	require.NoError(t, os.Chmod(file, mode))
	return file
}
