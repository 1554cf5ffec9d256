package rsacert

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// named are certificates of which only the names matter.
func named(subject, issuer string, ca bool) *x509.Certificate {
	return &x509.Certificate{
		Raw: []byte(subject + "<" + issuer), RawSubject: []byte(subject), RawIssuer: []byte(issuer), IsCA: ca,
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
	}
}

func subjects(chain []*x509.Certificate) []string {
	list := []string{}
	for _, c := range chain {
		list = append(list, string(c.RawSubject))
	}
	return list
}

func TestChain(t *testing.T) {
	leaf := named("leaf", "b", false)
	a, b, root := named("a", "root", true), named("b", "a", true), named("root", "root", true)
	keyed := named("b", "a", true)
	keyed.SubjectKeyId = []byte{2}
	wants := named("leaf", "b", false)
	wants.AuthorityKeyId = []byte{1}
	tests := []struct {
		name       string
		leaf       *x509.Certificate
		candidates []*x509.Certificate
		want       []string
	}{
		{"in any order, without the root", leaf, []*x509.Certificate{root, leaf, a, b}, []string{"b", "a"}},
		{"with a gap", leaf, []*x509.Certificate{root, a}, []string{}},
		{"none", leaf, nil, []string{}},
		{"not an authority", leaf, []*x509.Certificate{named("b", "a", false)}, []string{}},
		{"another key of the issuer's name", wants, []*x509.Certificate{keyed}, []string{}},
		{"the one with the key", wants, []*x509.Certificate{keyed, b}, []string{"b"}},
		{"a ring", leaf, []*x509.Certificate{named("b", "c", true), named("c", "b", true)}, []string{"b", "c"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, subjects(Chain(test.leaf, test.candidates)))
		})
	}
}

func TestSort(t *testing.T) {
	of := func(id string, nonRepudiation bool, notAfter time.Duration) hub.Certificate {
		c := named(id, "ca", false)
		c.NotAfter = testNow.Add(notAfter)
		return hub.Certificate{ID: id, Leaf: c, NonRepudiation: nonRepudiation}
	}
	all := []hub.Certificate{
		of("other", false, 9*time.Hour), of("old", true, -time.Minute), of("b", true, time.Hour), of("a", true, time.Hour), of("long", true, 2*time.Hour),
	}
	Sort(all, testNow)
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	assert.Equal(t, []string{"long", "a", "b", "old", "other"}, ids)
}

// A DigestInfo signed by the bare mathematics is what crypto/rsa makes.
func TestDigestInfo(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, algorithm := range []string{hub.RS256, hub.RS1} {
		hash, err := Hash(algorithm)
		require.NoError(t, err)
		digest := Digest(hash, []byte("text"))
		want, err := rsa.SignPKCS1v15(nil, key, hash, digest)
		require.NoError(t, err)
		for range 2 { // the prefix stays whole
			got, err := rsa.SignPKCS1v15(nil, key, crypto.Hash(0), DigestInfo(hash, digest))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	}
	_, err = Hash("RS512")
	require.ErrorIs(t, err, &hub.Error{Code: hub.CodeUnsupportedAlgorithm})
}

func TestNew(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, KeyUsage: x509.KeyUsageContentCommitment}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	got := New(c, []*x509.Certificate{c}, hub.RS1)
	assert.Regexp(t, "^[0-9a-f]{32}$", got.ID)
	assert.Equal(t, hub.Certificate{ID: ID(c), Leaf: c, Algorithms: []string{hub.RS1}, NonRepudiation: true}, got)
	assert.Equal(t, key.N, Key(c).N)
	assert.Nil(t, Key(&x509.Certificate{}))
}
