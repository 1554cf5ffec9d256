package hub

import (
	"context"
	"crypto/x509"
)

// The signature algorithms, both RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2) over
// the whole document.
const (
	RS256 = "RS256" // with SHA-256
	RS1   = "RS1"   // with SHA-1, which prescriptions still need
)

// Certificate is a signing certificate whose private key a Signer holds.
type Certificate struct {
	// ID names the certificate among those of its signer. It is opaque, printable
	// ASCII, at most 256 bytes, and stays the same while the card is the same.
	ID string
	// Leaf is the signer's certificate. It is personal data.
	Leaf *x509.Certificate
	// Chain are the certificates that issued it, as far as the signer has them,
	// the issuer of Leaf first; neither Leaf nor, usually, the root.
	Chain []*x509.Certificate
	// Algorithms are those that its key can sign with: RS256, RS1 or both.
	Algorithms []string
	// NonRepudiation tells that its keyUsage has contentCommitment (RFC 5280,
	// section 4.2.1.3).
	NonRepudiation bool
}

// CardState says whether there is a card to sign with.
type CardState string

// The states of a card. A signer without cards, such as a key in a file, always
// has one that is present.
const (
	CardPresent CardState = "present"
	CardAbsent  CardState = "absent"
)

// Status describes a Signer without any personal data.
type Status struct {
	Card CardState
	// Token is the token's label, for the hub's own windows and logs; empty when
	// there is none. It is never sent to a web site.
	Token string
	// Algorithms are those that the signer can sign with. Default, when empty:
	// both.
	Algorithms []string
	// PIN, when not nil, tells that Sign will ask for a PIN, so that the user can
	// be asked for it together with their consent. It is a hint: a signer may
	// leave it out and ask all the same.
	PIN *PINRequest
}

// PINRequest is what a Signer needs of the user: the PIN of a token.
type PINRequest struct {
	// Token is the token's label.
	Token string
	// Retries is how many wrong PINs the token still takes before it blocks
	// itself; negative when that isn't known.
	Retries int
	// Wrong tells that the PIN that was given before was wrong.
	Wrong bool
}

// SignRequest is a batch of documents to be signed with one key.
type SignRequest struct {
	// CertificateID is the ID of one of the signer's certificates.
	CertificateID string
	// Algorithm is RS256 or RS1.
	Algorithm string
	// Documents are what is signed, each by itself. The signer hashes them.
	Documents [][]byte
	// PIN asks the user for the PIN, and is called only when the signer needs one
	// that it doesn't have. After a wrong PIN it may be called again, with Wrong
	// set. Its errors, the context's among them, end the operation and are
	// returned. It is called from one goroutine at a time.
	PIN func(context.Context, PINRequest) (string, error)
	// Progress, when not nil, is told after each document how many are done. It
	// doesn't block.
	Progress func(done int)
}

// Signer holds private keys: on a smartcard or elsewhere. It is safe for
// concurrent use, but the hub calls Sign for one batch at a time. What goes
// wrong is an [*Error]; any other error counts as internal.
type Signer interface {
	// Status tells whether there is a card. It asks the user nothing.
	Status(ctx context.Context) (Status, error)

	// Certificates returns the certificates whose private keys the signer holds,
	// those for contentCommitment first. It is no error when there are none.
	Certificates(ctx context.Context) ([]Certificate, error)

	// Sign signs all documents, in their order. When a signature fails after
	// others have been made, those that were made are returned with the error:
	// their number tells which document failed.
	Sign(ctx context.Context, r SignRequest) (signatures [][]byte, err error)

	// Close frees what the signer holds. It may be called twice.
	Close() error
}
