package hub

import (
	"context"
	"errors"
	"net/http"
)

// Code names what went wrong, in hub/1's own words (the wire reference, section
// 2.4). Pages decide by it.
type Code string

// The codes.
const (
	CodeUserCancelled        Code = "user_cancelled"
	CodeNoCard               Code = "no_card"
	CodeNoCertificate        Code = "no_certificate"
	CodePINIncorrect         Code = "pin_incorrect"
	CodePINBlocked           Code = "pin_blocked"
	CodeUnsupportedAlgorithm Code = "unsupported_algorithm"
	CodeOriginNotAllowed     Code = "origin_not_allowed"
	CodeRequestInvalid       Code = "request_invalid"
	CodeBusy                 Code = "busy"
	CodeInternal             Code = "internal"
)

// Error is a fault with a code. Its text goes to the web site that asked and to
// the user: it holds no PIN and no personal data.
type Error struct {
	Code Code
	// Message says in plain words what is wrong and what to do. When empty, the
	// code's own text stands for it.
	Message string
	// RetriesLeft is how many wrong PINs the card still takes, with
	// CodePINIncorrect. Negative when that isn't known.
	RetriesLeft int
	// Err is the cause, for logs only.
	Err error
}

// Error implements error. It leaves the cause out.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.text()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors with the same code equal for [errors.Is] when the target is
// nothing but a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Code: e.Code, RetriesLeft: t.RetriesLeft}
}

// text is what a code says when there is nothing more exact to say.
func (c Code) text() string {
	switch c {
	case CodeUserCancelled:
		return "The user did not agree to sign."
	case CodeNoCard:
		return "There is no smartcard. Insert the card and try again."
	case CodeNoCertificate:
		return "The smartcard has no certificate for signatures."
	case CodePINIncorrect:
		return "The PIN was wrong."
	case CodePINBlocked:
		return "The PIN is blocked. Whoever issued the card can unblock it."
	case CodeUnsupportedAlgorithm:
		return "The smartcard can't sign with this algorithm."
	case CodeOriginNotAllowed:
		return "This hub does not answer this web site."
	case CodeRequestInvalid:
		return "The request is not valid."
	case CodeBusy:
		return "The hub is busy with another request. Finish or refuse that one first."
	default:
		return "The hub could not do this. Its log says why."
	}
}

// status is the HTTP status of a code.
func (c Code) status() int {
	switch c {
	case CodeRequestInvalid, CodeUnsupportedAlgorithm:
		return http.StatusBadRequest
	case CodeUserCancelled, CodeOriginNotAllowed, CodePINIncorrect:
		return http.StatusForbidden
	case CodeNoCard, CodeNoCertificate, CodeBusy:
		return http.StatusConflict
	case CodePINBlocked:
		return http.StatusLocked
	default:
		return http.StatusInternalServerError
	}
}

// asError makes an Error of whatever a signer, a consenter or a verifier
// returned.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeUserCancelled, Message: "Nobody answered in time.", RetriesLeft: -1, Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeUserCancelled, RetriesLeft: -1, Err: err}
	default:
		return &Error{Code: CodeInternal, RetriesLeft: -1, Err: err}
	}
}
