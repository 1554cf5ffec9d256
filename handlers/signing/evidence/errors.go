package evidence

import (
	"errors"
	"fmt"
)

// Code is the reason of a refusal, for logs, metrics and tests. Codes are a
// small fixed set of lower-case words, so they may be labels.
type Code string

// The codes, in the order of the checks.
const (
	CodeIDs             Code = "signature_ids"        // not exactly those requested, each once
	CodeEncoding        Code = "signature_encoding"   // not standard base64
	CodeCertificateForm Code = "certificate_encoding" // not the base64 of one DER certificate
	CodeCertificateSize Code = "certificate_size"     // too long, or too many of them
	CodeKey             Code = "certificate_key"      // not RSA, too small, too large, or unsafe
	CodeSignatureLength Code = "signature_length"     // not as long as the key
	CodeSignature       Code = "signature"            // not of this document by this key
	CodeUntrusted       Code = "certificate_untrusted"
	CodeWeakHash        Code = "certificate_sha1" // signed with SHA-1 or MD5
	CodeNotYetValid     Code = "certificate_not_yet_valid"
	CodeExpired         Code = "certificate_expired"
	CodeKeyUsage        Code = "certificate_key_usage" // not for signing documents
	CodeAuthority       Code = "certificate_is_ca"     // an authority's, not a person's
	CodeSubject         Code = "certificate_subject"   // belongs to another user
	CodeRevoked         Code = "certificate_revoked"
	// CodeRevocationUnknown means that revocation can't be told now. It may be
	// no fault of the upload.
	CodeRevocationUnknown Code = "revocation_unknown"
	// CodeUnexpected is what [CodeOf] calls an error that isn't a refusal.
	CodeUnexpected Code = "unexpected"
)

// Error is the refusal of an upload.
type Error struct {
	Code Code
	// Message is a whole text for the client in the words of the signing API,
	// such as `Invalid request payload: "certificate" must be a valid base64
	// string`. It says which check failed and quotes nothing of the certificate
	// but sizes and dates, and ids of documents only when they are short and
	// printable.
	Message string
	err     error
}

// Error is the message, and the cause for logs, where there is one.
func (e *Error) Error() string {
	if e.err != nil {
		return "evidence: " + e.Message + ": " + e.err.Error()
	}
	return "evidence: " + e.Message
}

// Unwrap returns the cause, if there is one. It is for logs: it may tell about
// the server's network.
func (e *Error) Unwrap() error { return e.err }

// CodeOf returns the code of an [Error], and CodeUnexpected for any other.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeUnexpected
}

const (
	textPayload = "Invalid request payload: "
	textIDs     = textPayload + `"signatures" must contain exactly the requested ids`
)

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func refuseFor(cause error, code Code, format string, args ...any) *Error {
	e := refuse(code, format, args...)
	e.err = cause
	return e
}
