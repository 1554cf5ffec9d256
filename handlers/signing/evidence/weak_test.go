package evidence

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/require"
)

// x509 builds no chain with certificates that are signed with SHA-1; the text
// says so instead of "not trusted".
func TestWeakHash(t *testing.T) {
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	root := &authority{key: rsaKey(t, 2048, 1), cert: &x509.Certificate{
		Subject: pkix.Name{CommonName: "Root"}, NotBefore: testNow.AddDate(-5, 0, 0), NotAfter: testNow.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	root.cert = root.certify(t, root.cert, root.key.Public())
	sub := newAuthority(t, "Sub", root, sha1)
	v := newVerifier(t, Config{Roots: pool(root)})

	u := newUpload(t, root, 1)
	_, err := v.Verify(t.Context(), u)
	require.NoError(t, err)
	u = newUpload(t, root, 1, sha1)
	_, err = v.Verify(t.Context(), u)
	refused(t, err, CodeWeakHash, "is signed with SHA-1 or MD5, which is not safe")
	u = newUpload(t, sub, 1)
	u.Chain = []string{b64(sub.cert.Raw)}
	_, err = v.Verify(t.Context(), u)
	refused(t, err, CodeWeakHash, "")
	_, err = newVerifier(t, Config{Roots: pool(root), Intermediates: pool(sub)}).Verify(t.Context(), newUpload(t, sub, 1))
	refused(t, err, CodeWeakHash, "")

	// A stranger's is not trusted, first of all.
	_, err = v.Verify(t.Context(), newUpload(t, sub, 1))
	refused(t, err, CodeUntrusted, "")
}
