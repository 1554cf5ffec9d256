package evidence

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"
)

// chains finds the ways from the certificate to a trusted authority.
func (v *Verifier) chains(leaf *x509.Certificate, helpers []*x509.Certificate, mock bool) ([][]*x509.Certificate, error) {
	now := v.now()
	options := x509.VerifyOptions{
		Roots:         v.roots,
		Intermediates: v.intermediates,
		CurrentTime:   now,
		// Smartcards' certificates have no extended key usage, or one of TLS.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if mock {
		options.Roots, options.Intermediates = v.mock.roots, nil
	}
	if len(helpers) > 0 && !mock {
		pool := x509.NewCertPool()
		if v.intermediates != nil {
			pool = v.intermediates.Clone()
		}
		for _, c := range helpers {
			pool.AddCert(c)
		}
		options.Intermediates = pool
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, untrusted(leaf, helpers, now, err)
	}
	return chains, nil
}

// untrusted says in plain words why there is no way.
func untrusted(leaf *x509.Certificate, helpers []*x509.Certificate, now time.Time, cause error) *Error {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](cause)
	_, isCritical := errors.AsType[x509.UnhandledCriticalExtension](cause)
	switch {
	case isInvalid && invalid.Reason == x509.Expired && !leaf.Equal(invalid.Cert):
		return refuseFor(cause, CodeExpired, "The certificate of an authority that vouches for the certificate has expired or is not valid yet")
	case isInvalid && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		return refuseFor(cause, CodeNotYetValid, "The certificate is not valid yet: its validity begins at %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case isInvalid && invalid.Reason == x509.Expired:
		return refuseFor(cause, CodeExpired, "The certificate has expired: its validity ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case weak(leaf), slices.ContainsFunc(helpers, weak), namesWeakHash(cause):
		return refuseFor(cause, CodeWeakHash, "The certificate, or that of an authority that vouches for it, is signed with SHA-1 or MD5, which is not safe")
	case isCritical:
		return refuseFor(cause, CodeUntrusted, "The certificate, or that of an authority that vouches for it, has a critical extension that is not known here")
	}
	return refuseFor(cause, CodeUntrusted, "The certificate is not from a trusted authority")
}

// weakHashes are those that crypto/x509 refuses for certificates.
var weakHashes = []x509.SignatureAlgorithm{
	x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
}

func weak(c *x509.Certificate) bool {
	return slices.Contains(weakHashes, c.SignatureAlgorithm) && string(c.RawIssuer) != string(c.RawSubject)
}

// namesWeakHash reports whether a configured authority's certificate was tried
// and refused for its hash. x509 tells that only in the text of its error.
func namesWeakHash(cause error) bool {
	return slices.ContainsFunc(weakHashes, func(a x509.SignatureAlgorithm) bool {
		return strings.Contains(cause.Error(), x509.InsecureAlgorithmError(a).Error())
	})
}
