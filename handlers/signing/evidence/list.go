package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// listSkew is how far ahead of ours an authority's clock may be.
const listSkew = 5 * time.Minute

const reasonRemoveFromCRL = 8 // RFC 5280, section 5.3.1

var (
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber    = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReason       = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInstruction  = asn1.ObjectIdentifier{2, 5, 29, 23}
	oidInvalidity   = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDelta        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidEntryIssuer  = asn1.ObjectIdentifier{2, 5, 29, 29}
	knownExtensions = []asn1.ObjectIdentifier{oidAuthorityKey, oidCRLNumber, oidIssuingDistributionPoint}
	knownOfAnEntry  = []asn1.ObjectIdentifier{oidReason, oidInstruction, oidInvalidity}
	errDelta        = errors.New("it is a delta list, which only changes another")
	errIndirect     = errors.New("it is an indirect list, with entries of several authorities")
	errNoNextUpdate = errors.New("it doesn't say when the next one comes (nextUpdate), as RFC 5280 requires")
)

// list is a revocation list that its authority signed.
type list struct {
	thisUpdate, nextUpdate time.Time
	scope                  issuingDistributionPoint
	revoked                map[string]struct{} // by the bytes of the serial number
	size                   int                 // of the DER
}

// parseList reads a list of the issuer in full, or not at all: complete lists
// for all reasons with no critical extension that isn't known here.
func parseList(der []byte, issuer *x509.Certificate) (*list, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("it is no revocation list in DER: %w", err)
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
		return nil, errors.New("it is another authority's")
	}
	// Demands cRLSign of issuers whose key usage is limited.
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("its signature is not the authority's: %w", err)
	}
	if crl.NextUpdate.IsZero() {
		return nil, errNoNextUpdate
	}
	l := &list{thisUpdate: crl.ThisUpdate, nextUpdate: crl.NextUpdate, size: len(der)}
	if err := l.readExtensions(crl); err != nil {
		return nil, err
	}
	l.revoked = make(map[string]struct{}, len(crl.RevokedCertificateEntries))
	for i := range crl.RevokedCertificateEntries {
		if err := l.readEntry(&crl.RevokedCertificateEntries[i]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *list) readExtensions(crl *x509.RevocationList) error {
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return errDelta
		case e.Id.Equal(oidIssuingDistributionPoint):
			if rest, err := asn1.Unmarshal(e.Value, &l.scope); err != nil || len(rest) > 0 {
				return errors.New("its issuing distribution point is malformed")
			}
		case e.Critical && !slices.ContainsFunc(knownExtensions, e.Id.Equal):
			return fmt.Errorf("it has a critical extension that is not known here: %s", e.Id)
		}
	}
	switch s := &l.scope; {
	case s.Indirect:
		return errIndirect
	case s.OnlySomeReasons.BitLength > 0:
		return errors.New("it is for some reasons of revocation only")
	case s.OnlyAttributes:
		return errors.New("it is for attribute certificates only")
	case len(s.Name.RelativeName) > 0:
		return errors.New("its issuing distribution point is a relative name")
	}
	return nil
}

func (l *list) readEntry(entry *x509.RevocationListEntry) error {
	for _, e := range entry.Extensions {
		switch {
		case e.Id.Equal(oidEntryIssuer):
			return errIndirect
		case e.Critical && !slices.ContainsFunc(knownOfAnEntry, e.Id.Equal):
			return fmt.Errorf("an entry has a critical extension that is not known here: %s", e.Id)
		}
	}
	if entry.ReasonCode != reasonRemoveFromCRL {
		l.revoked[serialKey(entry.SerialNumber)] = struct{}{}
	}
	return nil
}

func serialKey(serial *big.Int) string { return string(serial.Append(nil, 62)) }

// inForce says why the list can't be relied on at the time, if so.
func (l *list) inForce(now time.Time) error {
	switch {
	case !now.Before(l.nextUpdate):
		return fmt.Errorf("it ran out at %s", l.nextUpdate.UTC().Format(time.RFC3339))
	case now.Add(listSkew).Before(l.thisUpdate):
		return fmt.Errorf("it is from the future: %s", l.thisUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// covers says why the list tells nothing about a certificate, if so. A part of
// an authority's list that stands in the place of another would hide entries.
func (l *list) covers(c *x509.Certificate, at points) error {
	isCA := c.BasicConstraintsValid && c.IsCA
	switch {
	case l.scope.OnlyUser && isCA:
		return errors.New("it is for certificates of users only")
	case l.scope.OnlyCA && !isCA:
		return errors.New("it is for certificates of authorities only")
	case len(l.scope.Name.FullName) > 0 && !at.shares(l.scope.Name.FullName):
		return errors.New("it is for another distribution point")
	}
	return nil
}

func (l *list) has(c *x509.Certificate) bool {
	_, revoked := l.revoked[serialKey(c.SerialNumber)]
	return revoked
}
