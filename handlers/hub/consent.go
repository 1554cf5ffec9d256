package hub

import (
	"context"
	"time"
)

// Consenter asks the user, in windows of the hub's own: what a web site asks
// for is never decided on that site.
type Consenter interface {
	// Begin shows a question and returns the dialog about it. The context is that
	// of the operation: when it ends, so does the dialog. The hub has one dialog
	// at a time.
	Begin(ctx context.Context, q Question) (Dialog, error)
}

// Dialog is the conversation with the user about one operation.
type Dialog interface {
	// Confirm waits until the user agrees. When they refuse, the error is an
	// [*Error] with CodeUserCancelled; when the context ends, it is the
	// context's.
	Confirm(ctx context.Context) (Answer, error)
	// PIN asks for the PIN, which was not given with the answer or was wrong.
	PIN(ctx context.Context, r PINRequest) (string, error)
	// Progress tells how many documents are signed. It doesn't block.
	Progress(done int)
	// Done ends the dialog and tells the user how the operation ended: err is nil
	// for success. It is called once.
	Done(err error)
}

// Kind is what a user is asked for.
type Kind int

// The kinds.
const (
	// AskCertificates asks to show the certificates to a web site.
	AskCertificates Kind = iota
	// AskSignatures asks to sign documents, and to give the signatures and the
	// certificate to a web site.
	AskSignatures
)

// Question is what a user is asked. Its texts come from outside and may hold
// anything: whoever shows them makes them harmless.
type Question struct {
	Kind Kind
	Hub  string // the hub's name
	// Origin is the web site that asks.
	Origin string
	// Issuer is the client of the signing service that made the request, and
	// Subject whom it wants to sign, as the signed request says. Keys that don't
	// say whose they are ([RequestKeys]) vouch for their service's clients
	// together: each of them can name another. Both are empty for a request that
	// is Unsigned.
	Issuer, Subject string
	// Unsigned tells that nobody but the web site vouches for the request.
	Unsigned  bool
	Algorithm string // RS256 or RS1
	Documents []Document
	// Signed is how many of the documents, from the first, were signed before,
	// when the answer got lost or signing broke off. They aren't signed again: the
	// signatures are handed over together with those of the others, if there are
	// any.
	Signed int
	// Certificates are those to choose one from, the likeliest first, or those
	// to be shown to the web site.
	Certificates []*Certificate
	// PIN, when not nil, tells that a PIN is going to be needed. It may be asked
	// for at once.
	PIN *PINRequest
	// Now is the time by the hub's clock, and Timeout how long it waits.
	Now     time.Time
	Timeout time.Duration
}

// Answer is a consent.
type Answer struct {
	// CertificateID is the ID of the certificate that the user chose. Empty
	// stands for the first.
	CertificateID string
	// PIN is the PIN, if it was asked for and given.
	PIN string
}

// refused is what Confirm and PIN return when the user refuses.
func refused() *Error {
	return &Error{Code: CodeUserCancelled, RetriesLeft: -1}
}

// ConsentNever returns a Consenter that agrees to everything without asking
// anybody: for tests only. It has no PIN to give, so the signer must have its
// own.
func ConsentNever() Consenter { return never{} }

type never struct{}

func (never) Begin(context.Context, Question) (Dialog, error) { return never{}, nil }

func (never) Confirm(ctx context.Context) (Answer, error) { return Answer{}, ctx.Err() }

func (never) PIN(_ context.Context, r PINRequest) (string, error) {
	if r.Wrong {
		return "", &Error{Code: CodePINIncorrect, RetriesLeft: r.Retries}
	}
	return "", &Error{
		Code: CodeInternal, RetriesLeft: -1,
		Message: "The card needs a PIN, but the hub has none and asks nobody.",
	}
}

func (never) Progress(int) {}

func (never) Done(error) {}
