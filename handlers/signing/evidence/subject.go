package evidence

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
)

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
)

// user finds the user's id in a certificate. An id in two places is none: one
// reader would take the first and another the last.
func (f SubjectFrom) user(c *x509.Certificate) (string, error) {
	attribute := oidSerialNumber
	if f == SubjectCNPrefix {
		attribute = oidCommonName
	}
	var found []string
	for _, name := range c.Subject.Names {
		if text, ok := name.Value.(string); ok && name.Type.Equal(attribute) {
			found = append(found, text)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("its subject has %d attributes of the type %s, expected one", len(found), attribute)
	}
	id := found[0]
	if f == SubjectCNPrefix {
		id, _, _ = strings.Cut(id, "_")
	}
	if id == "" {
		return "", fmt.Errorf("its subject has no user id where %s expects it", f)
	}
	return id, nil
}

// belongs returns the certificate's user, who must be the upload's subject.
func (v *Verifier) belongs(c *x509.Certificate, subject string) (string, error) {
	if v.subjectFrom == SubjectOff {
		return "", nil
	}
	user, err := v.subjectFrom.user(c)
	if err != nil || user != subject {
		return "", refuseFor(err, CodeSubject, `The certificate does not belong to the user in the request's "sub"`)
	}
	return user, nil
}
