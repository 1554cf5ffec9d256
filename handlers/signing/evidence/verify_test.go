package evidence

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	roots := x509.NewCertPool()
	for want, c := range map[string]Config{
		"Roots are required":                               {},
		"MinKeyBits is 512, expected 1024 to 16384":        {Roots: roots, MinKeyBits: 512},
		"MinKeyBits is 16385":                              {Roots: roots, MinKeyBits: 16385},
		"MinKeyBits is -1":                                 {Roots: roots, MinKeyBits: -1},
		`SubjectFrom is "cn", expected cn_prefix, serial_`: {Roots: roots, SubjectFrom: "cn"},
		`Revocation is "on", expected off, soft or hard`:   {Roots: roots, Revocation: "on"},
		"is not a host name, IP address or CIDR range":     {Roots: roots, AllowPrivate: []string{"http://crl"}},
		"leave one of them out":                            {Roots: roots, AllowPrivate: []string{"crl"}, Transport: http.DefaultTransport},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
	v, err := New(Config{Roots: roots})
	require.NoError(t, err)
	assert.Equal(t, DefaultMinKeyBits, v.minKeyBits)
	assert.Equal(t, SubjectCNPrefix, v.subjectFrom)
	assert.Equal(t, RevocationOff, v.revocation)
}

func TestAccepted(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	sub := newAuthority(t, "Sub", root)
	u := newUpload(t, sub, 2)
	e, err := newVerifier(t, Config{Roots: pool(root), Intermediates: pool(sub), RequireNonRepudiation: true}).Verify(t.Context(), u)
	require.NoError(t, err)
	assert.Equal(t, testUser, e.Subject)
	require.Len(t, e.Chain, 3)
	assert.Equal(t, e.Certificate, e.Chain[0])
	assert.True(t, e.Chain[2].Equal(root.cert))
	der, _ := decode(u.Certificate)
	sum := sha256.Sum256(der)
	assert.Equal(t, hex.EncodeToString(sum[:]), e.Fingerprint)
	assert.Equal(t, NotChecked, e.Revocation)
	assert.False(t, e.Mock)
}

func TestTrust(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	sub := newAuthority(t, "Sub", root)
	lower := newAuthority(t, "Lower", sub)
	twin := newAuthority(t, "Root", nil) // same name, other key
	noCA := newAuthority(t, "No authority", root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageContentCommitment })
	stale := newAuthority(t, "Stale", root, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) })
	strict := newAuthority(t, "No path", root, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	tooDeep := newAuthority(t, "Too deep", strict)
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
	}
	huge := root.certificate(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537})
	chain := func(list ...*authority) (out []string) {
		for _, a := range list {
			out = append(out, b64(a.cert.Raw))
		}
		return out
	}
	for name, tc := range map[string]struct {
		config Config
		by     *authority
		chain  []string
		change change
		code   Code
		want   string
	}{
		"by the root":                   {Config{}, root, nil, nil, "", ""},
		"configured intermediate":       {Config{Intermediates: pool(sub)}, sub, nil, nil, "", ""},
		"uploaded intermediate":         {Config{}, sub, chain(sub), nil, "", ""},
		"one of each":                   {Config{Intermediates: pool(sub)}, lower, chain(lower), nil, "", ""},
		"uploaded root is no root":      {Config{}, twin, chain(twin), nil, CodeUntrusted, "The certificate is not from a trusted authority"},
		"uploaded chain to another":     {Config{}, twin, chain(twin, root, sub), nil, CodeUntrusted, "not from a trusted"},
		"intermediate missing":          {Config{}, sub, nil, nil, CodeUntrusted, "not from a trusted"},
		"by no authority":               {Config{}, noCA, chain(noCA), nil, CodeUntrusted, "not from a trusted"},
		"path too long":                 {Config{}, tooDeep, chain(tooDeep, strict), nil, CodeUntrusted, "not from a trusted"},
		"intermediate out of date":      {Config{}, stale, chain(stale), nil, CodeExpired, "of an authority that vouches for the certificate has expired or is not valid yet"},
		"critical extension":            {Config{}, root, nil, critical, CodeUntrusted, "critical extension"},
		"TLS certificate":               {Config{}, root, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "", ""},
		"not valid yet":                 {Config{}, root, nil, func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Second) }, CodeNotYetValid, "The certificate is not valid yet: its validity begins at 2026-03-04T05:06:08Z"},
		"valid from now":                {Config{}, root, nil, func(c *x509.Certificate) { c.NotBefore = testNow }, "", ""},
		"valid until now":               {Config{}, root, nil, func(c *x509.Certificate) { c.NotAfter = testNow }, "", ""},
		"expired":                       {Config{}, root, nil, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }, CodeExpired, "The certificate has expired: its validity ended at 2026-03-04T05:06:06Z"},
		"no key usage asked":            {Config{}, root, nil, func(c *x509.Certificate) { c.KeyUsage = 0 }, "", ""},
		"contentCommitment":             {Config{RequireNonRepudiation: true}, root, nil, nil, "", ""},
		"contentCommitment and another": {Config{RequireNonRepudiation: true}, root, nil, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }, "", ""},
		"digitalSignature only":         {Config{RequireNonRepudiation: true}, root, nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, CodeKeyUsage, "not for signing documents: its key usage lacks contentCommitment"},
		"no key usage":                  {Config{RequireNonRepudiation: true}, root, nil, func(c *x509.Certificate) { c.KeyUsage = 0 }, CodeKeyUsage, "lacks contentCommitment"},
		"an authority's":                {Config{}, root, nil, func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }, CodeAuthority, "a certification authority's and not a person's"},
		"chain: not base64":             {Config{}, root, []string{"!"}, nil, CodeCertificateForm, `Invalid request payload: "chain[0]" must be a valid base64 string`},
		"chain: nonsense":               {Config{}, root, append(chain(sub), "AAAA"), nil, CodeCertificateForm, `Invalid request payload: "chain[1]" `},
		"chain: huge key":               {Config{}, root, []string{b64(huge.Raw)}, nil, CodeKey, `"chain[0]" has an RSA key of more than 8192 bits`},
		"chain: too many":               {Config{}, root, slices.Repeat(chain(sub), 9), nil, CodeCertificateSize, `"chain" must contain less than or equal to 8 items`},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Roots = pool(root)
			var changes []change
			if tc.change != nil {
				changes = append(changes, tc.change)
			}
			u := newUpload(t, tc.by, 1, changes...)
			u.Chain = tc.chain
			_, err := newVerifier(t, tc.config).Verify(t.Context(), u)
			if tc.code == "" {
				require.NoError(t, err)
				return
			}
			refused(t, err, tc.code, tc.want)
		})
	}
}

// A bad signature is reported before a bad certificate; but nobody gets 250
// signatures checked with a certificate of his own making.
func TestUntrustedCostsOneVerification(t *testing.T) {
	root, stranger := newAuthority(t, "Root", nil), newAuthority(t, "Stranger", nil)
	v := newVerifier(t, Config{Roots: pool(root)})
	u := newUpload(t, stranger, 3)
	u.Signatures[0].Value = u.Signatures[1].Value
	_, err := v.Verify(t.Context(), u)
	refused(t, err, CodeSignature, `"doc-0"`)
	u = newUpload(t, stranger, 3)
	u.Signatures[2].Value = u.Signatures[1].Value
	_, err = v.Verify(t.Context(), u)
	refused(t, err, CodeUntrusted, "")
}

func TestSubject(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	named := func(n pkix.Name) change { return func(c *x509.Certificate) { c.Subject = n } }
	extra := func(id asn1.ObjectIdentifier, values ...string) change {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			for _, v := range values {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: id, Value: v})
			}
		}
	}
	const other = `The certificate does not belong to the user in the request's "sub"`
	for name, tc := range map[string]struct {
		from   SubjectFrom
		change change
		sub    string
		ok     bool
	}{
		"prefix":                       {SubjectCNPrefix, named(pkix.Name{CommonName: "42_A_B"}), "42", true},
		"whole common name":            {SubjectCNPrefix, named(pkix.Name{CommonName: "42"}), "42", true},
		"up to the second underscore":  {SubjectCNPrefix, named(pkix.Name{CommonName: "42_A_B"}), "42_A", false},
		"prefix of the prefix":         {SubjectCNPrefix, named(pkix.Name{CommonName: "421_A"}), "42", false},
		"another user":                 {SubjectCNPrefix, named(pkix.Name{CommonName: "43_A"}), "42", false},
		"other case":                   {SubjectCNPrefix, named(pkix.Name{CommonName: "ab_A"}), "AB", false},
		"blank":                        {SubjectCNPrefix, named(pkix.Name{CommonName: " 42_A"}), "42", false},
		"no common name":               {SubjectCNPrefix, named(pkix.Name{Organization: []string{"42"}}), "42", false},
		"nobody is nobody":             {SubjectCNPrefix, named(pkix.Name{CommonName: "_A"}), "", false},
		"nobody is nobody, no name":    {SubjectCNPrefix, named(pkix.Name{}), "", false},
		"two common names":             {SubjectCNPrefix, extra(oidCommonName, "43_A", "42_A"), "42", false},
		"two common names, turned":     {SubjectCNPrefix, extra(oidCommonName, "42_A", "43_A"), "42", false},
		"serial number":                {SubjectSerialNumber, named(pkix.Name{SerialNumber: "42", CommonName: "43_A"}), "42", true},
		"no serial number":             {SubjectSerialNumber, named(pkix.Name{CommonName: "42_A"}), "42", false},
		"two serial numbers":           {SubjectSerialNumber, extra(oidSerialNumber, "42", "42"), "42", false},
		"serial number is not cut":     {SubjectSerialNumber, named(pkix.Name{SerialNumber: "42_A"}), "42", false},
		"off":                          {SubjectOff, named(pkix.Name{CommonName: "43_A"}), "42", true},
		"off, and nobody":              {SubjectOff, named(pkix.Name{}), "", true},
		"the default is the CN prefix": {"", named(pkix.Name{CommonName: "42_A", SerialNumber: "43"}), "42", true},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpload(t, root, 1, tc.change)
			u.Subject = tc.sub
			e, err := newVerifier(t, Config{Roots: pool(root), SubjectFrom: tc.from}).Verify(t.Context(), u)
			if !tc.ok {
				refused(t, err, CodeSubject, other)
				return
			}
			require.NoError(t, err)
			if tc.from == SubjectOff {
				assert.Empty(t, e.Subject)
			} else {
				assert.Equal(t, tc.sub, e.Subject)
			}
		})
	}
}
