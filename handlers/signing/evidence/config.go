package evidence

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

// Sizes of a certificate's RSA key, in bits.
const (
	DefaultMinKeyBits = 2048
	// LeastMinKeyBits is the smallest MinKeyBits that can be configured: old
	// smartcards have keys of 1024 bits.
	LeastMinKeyBits = 1024
	MaxKeyBits      = jwks.MaxKeyBits
)

// SubjectFrom says where in a certificate its user's id stands.
type SubjectFrom string

// The places.
const (
	// SubjectCNPrefix is the text before the first "_" of the common name, as
	// in 555086689106_JONES; the whole common name when it has no "_".
	SubjectCNPrefix SubjectFrom = "cn_prefix"
	// SubjectSerialNumber is the subject's attribute serialNumber (X.520; not
	// the certificate's own serial number).
	SubjectSerialNumber SubjectFrom = "serial_number"
	// SubjectOff means that certificates of every user are accepted.
	SubjectOff SubjectFrom = "off"
)

// Revocation says what is asked of certificate revocation lists.
type Revocation string

// The policies. A certificate that is known to be revoked is refused in both
// RevocationSoft and RevocationHard.
const (
	// RevocationOff means that nothing is looked up.
	RevocationOff Revocation = "off"
	// RevocationSoft accepts, and logs, when it can't be told.
	RevocationSoft Revocation = "soft"
	// RevocationHard refuses when it can't be told.
	RevocationHard Revocation = "hard"
)

// Config says what a [Verifier] accepts.
type Config struct {
	// Roots are the trusted authorities. Required unless Mock is set; without
	// it only certificates of the Mock are accepted. The system's authorities
	// are never used.
	Roots *x509.CertPool
	// Intermediates are certificates of authorities that may stand between a
	// certificate and the roots.
	Intermediates *x509.CertPool
	// Mock, when set, is a signer whose certificates are accepted too, whatever
	// MinKeyBits, RequireNonRepudiation and Revocation say. Never in production.
	Mock *Mock
	// MinKeyBits is the smallest RSA modulus of a certificate's key, in bits,
	// 1024 to 16384. Default, when 0: 2048.
	MinKeyBits int
	// RequireNonRepudiation refuses certificates whose key usage lacks
	// contentCommitment, once called nonRepudiation (RFC 5280, section
	// 4.2.1.3).
	RequireNonRepudiation bool
	// SubjectFrom is where the user's id is found, which must equal
	// [Upload.Subject]. Default: SubjectCNPrefix.
	SubjectFrom SubjectFrom
	// Revocation is what is asked of revocation lists (RFC 5280, section 5),
	// for the whole chain but its root. Default: RevocationOff.
	Revocation Revocation
	// AllowPrivate names what revocation lists may be fetched from although it
	// isn't a public address: host names, IP addresses or CIDR ranges.
	AllowPrivate []string
	// Transport fetches revocation lists instead of connections of our own. It
	// is then the one who keeps them from private addresses, and AllowPrivate
	// must be empty.
	Transport http.RoundTripper
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets a warning when revocation can't be told. Default: no log.
	Logger *slog.Logger
}

// Verifier checks uploads. It is safe for concurrent use.
type Verifier struct {
	roots, intermediates  *x509.CertPool
	mock                  *Mock
	minKeyBits            int
	requireNonRepudiation bool
	subjectFrom           SubjectFrom
	revocation            Revocation
	lists                 *lists
	now                   func() time.Time
	log                   *slog.Logger
}

// New checks the configuration and makes a Verifier. It fetches nothing.
func New(c Config) (*Verifier, error) {
	v := &Verifier{
		roots: c.Roots, intermediates: c.Intermediates, mock: c.Mock,
		minKeyBits: c.MinKeyBits, requireNonRepudiation: c.RequireNonRepudiation,
		subjectFrom: c.SubjectFrom, revocation: c.Revocation, now: c.Now, log: c.Logger,
	}
	if c.Roots == nil && c.Mock == nil {
		return nil, errors.New("evidence: Roots are required: without trusted authorities anybody could make a certificate")
	}
	if v.roots == nil { // which x509 would take for the system's authorities
		v.roots = x509.NewCertPool()
	}
	if v.minKeyBits == 0 {
		v.minKeyBits = DefaultMinKeyBits
	}
	if v.minKeyBits < LeastMinKeyBits || v.minKeyBits > MaxKeyBits {
		return nil, fmt.Errorf("evidence: MinKeyBits is %d, expected %d to %d", v.minKeyBits, LeastMinKeyBits, MaxKeyBits)
	}
	switch v.subjectFrom {
	case "":
		v.subjectFrom = SubjectCNPrefix
	case SubjectCNPrefix, SubjectSerialNumber, SubjectOff:
	default:
		return nil, fmt.Errorf("evidence: SubjectFrom is %q, expected %s, %s or %s", v.subjectFrom, SubjectCNPrefix, SubjectSerialNumber, SubjectOff)
	}
	switch v.revocation {
	case "":
		v.revocation = RevocationOff
	case RevocationOff, RevocationSoft, RevocationHard:
	default:
		return nil, fmt.Errorf("evidence: Revocation is %q, expected %s, %s or %s", v.revocation, RevocationOff, RevocationSoft, RevocationHard)
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if v.lists, err = newLists(c.Transport, c.AllowPrivate, v.now); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return v, nil
}
