package evidence

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// RevocationState says what is known about the revocation of a chain.
type RevocationState string

// The states of a chain that was accepted.
const (
	// NotChecked means that nothing was looked up.
	NotChecked RevocationState = "not_checked"
	// NotRevoked means that lists in force hold none of the chain's
	// certificates.
	NotRevoked RevocationState = "not_revoked"
	// Unknown means that it can't be told of all of them.
	Unknown RevocationState = "unknown"
)

// Evidence is an upload that was accepted.
type Evidence struct {
	// Certificate is that of the key that made the signatures.
	Certificate *x509.Certificate
	// Fingerprint is the SHA-256 of its DER in lower-case hexadecimal.
	Fingerprint string
	// Subject is the user's id that was found in it; empty with SubjectOff.
	Subject string
	// Chain leads from the certificate, which is its first, to a trusted
	// authority, which is its last.
	Chain      []*x509.Certificate
	Revocation RevocationState
	// Mock tells that the signer was the mock: these are no real signatures.
	Mock bool
}

// Verify checks the upload: its signatures as [CheckSignatures] does, and then
// the certificate: from a trusted authority, valid now, for signing documents,
// no authority's own, of the right user, not revoked. A refusal is an [*Error];
// another error says that the check was not done, because ctx ended or the call
// makes no sense.
//
// Of an untrusted certificate one signature is checked, whatever the others
// are: anybody can make large keys and many signatures.
func (v *Verifier) Verify(ctx context.Context, u Upload) (*Evidence, error) {
	s, err := read(&u, v.minBits)
	if err != nil {
		return nil, err
	}
	helpers, err := parseChain(u.Chain)
	if err != nil {
		return nil, err
	}
	e := &Evidence{Certificate: s.certificate, Revocation: NotChecked, Mock: v.mock.issued(s.certificate)}
	chains, untrusted := v.chains(s.certificate, helpers, e.Mock)
	count := len(u.Documents)
	if untrusted != nil {
		count = 1
	}
	if err := s.check(ctx, count); err != nil {
		return nil, err
	}
	if untrusted != nil {
		return nil, untrusted
	}
	if err := v.purpose(s.certificate, e.Mock); err != nil {
		return nil, err
	}
	if e.Subject, err = v.belongs(s.certificate, u.Subject); err != nil {
		return nil, err
	}
	e.Chain = chains[0]
	if v.revocation != RevocationOff && !e.Mock {
		if e.Chain, e.Revocation, err = v.checkRevocation(ctx, chains); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(s.certificate.Raw)
	e.Fingerprint = hex.EncodeToString(sum[:])
	return e, nil
}

func (v *Verifier) minBits(c *x509.Certificate) int {
	if v.mock.issued(c) {
		return mockKeyBits
	}
	return v.minKeyBits
}

// purpose checks what the certificate is for.
func (v *Verifier) purpose(c *x509.Certificate, mock bool) error {
	switch {
	case v.requireNonRepudiation && !mock && c.KeyUsage&x509.KeyUsageContentCommitment == 0:
		return refuse(CodeKeyUsage, "The certificate is not for signing documents: its key usage lacks contentCommitment (nonRepudiation)")
	case c.BasicConstraintsValid && c.IsCA:
		return refuse(CodeAuthority, "The certificate is a certification authority's and not a person's")
	}
	return nil
}
