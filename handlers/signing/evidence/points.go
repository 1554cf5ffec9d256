package evidence

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/url"
	"slices"
)

var (
	oidDistributionPoints       = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// distributionPointName is the CHOICE of RFC 5280, section 4.2.1.13. Its names
// stay as they are encoded.
type distributionPointName struct {
	FullName     []asn1.RawValue                   `asn1:"optional,tag:0"`
	RelativeName pkix.RelativeDistinguishedNameSET `asn1:"optional,tag:1"`
}

// distributionPoint is one of a certificate's (RFC 5280, section 4.2.1.13).
type distributionPoint struct {
	Name      distributionPointName `asn1:"optional,tag:0"`
	Reasons   asn1.BitString        `asn1:"optional,tag:1"`
	CRLIssuer []asn1.RawValue       `asn1:"optional,tag:2"`
}

// issuingDistributionPoint says what a list is about (RFC 5280, section 5.2.5).
type issuingDistributionPoint struct {
	Name            distributionPointName `asn1:"optional,tag:0"`
	OnlyUser        bool                  `asn1:"optional,tag:1"`
	OnlyCA          bool                  `asn1:"optional,tag:2"`
	OnlySomeReasons asn1.BitString        `asn1:"optional,tag:3"`
	Indirect        bool                  `asn1:"optional,tag:4"`
	OnlyAttributes  bool                  `asn1:"optional,tag:5"`
}

// points are where a certificate says that its revocation is published.
type points []asn1.RawValue // GeneralNames

// pointsOf reads the names of the distribution points for all reasons whose
// lists are the issuer's own.
func pointsOf(c *x509.Certificate) (points, error) {
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDistributionPoints) })
	if i < 0 {
		return nil, errors.New("it has no CRL distribution points")
	}
	var all []distributionPoint
	if rest, err := asn1.Unmarshal(c.Extensions[i].Value, &all); err != nil || len(rest) > 0 {
		return nil, errors.New("its CRL distribution points are malformed")
	}
	var names points
	for _, p := range all {
		if p.Reasons.BitLength == 0 && len(p.CRLIssuer) == 0 {
			names = append(names, p.Name.FullName...)
		}
	}
	return names, nil
}

const (
	tagURI = 6 // of a GeneralName (RFC 5280, section 4.2.1.6)

	maxAddresses     = 4
	maxAddressLength = 2048
)

// addresses are the first few that can be fetched: LDAP and directory names
// can't.
func (p points) addresses() []string {
	var out []string
	for _, name := range p {
		if name.Class != asn1.ClassContextSpecific || name.Tag != tagURI || len(name.Bytes) > maxAddressLength {
			continue
		}
		u, err := url.Parse(string(name.Bytes))
		if err != nil || checkAddress(u) != nil {
			continue
		}
		if address := u.String(); !slices.Contains(out, address) && len(out) < maxAddresses {
			out = append(out, address)
		}
	}
	return out
}

// checkAddress refuses what a certificate or a redirect has no business to
// name.
func checkAddress(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errors.New("it is no http or https address")
	case u.User != nil:
		return errors.New("it names a user")
	}
	return nil
}

// shares reports whether both name one place in the same words.
func (p points) shares(names []asn1.RawValue) bool {
	return slices.ContainsFunc(p, func(a asn1.RawValue) bool {
		return slices.ContainsFunc(names, func(b asn1.RawValue) bool { return bytes.Equal(a.FullBytes, b.FullBytes) })
	})
}
