package jwksauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

// Code is the reason of a refusal, for logs, metrics and tests: one of those
// below, or a [jwks.Code]. Codes are a small fixed set of lower-case words, so
// they may be labels.
type Code string

// The codes of this package.
const (
	CodeNoToken    Code = "no_token"    // 401: there is none in any of the places
	CodeManyTokens Code = "many_tokens" // 400: there is more than one
	CodeEmptyToken Code = "empty_token" // 401: there is one of length 0
	CodeClaimValue Code = "claim_value" // 401: the token is good, but a header can't carry the claim
	// CodeUnavailable is the [jwks.Code] of that name, and the only one that is
	// no fault of the client: 503.
	CodeUnavailable = Code(jwks.CodeUnavailable)
)

// answer is what a code looks like from outside.
type answer struct {
	status    int
	name      string // error in the body
	challenge string // error in WWW-Authenticate; empty for none
	text      string // error_description
}

var answers = map[Code]answer{
	// RFC 6750, section 3.1: no error code for who didn't know that a token
	// is needed.
	CodeNoToken:            {http.StatusUnauthorized, "unauthorized", "", "An access token is required"},
	CodeManyTokens:         {http.StatusBadRequest, "invalid_request", "invalid_request", "The request has more than one access token"},
	Code(jwks.CodeExpired): {http.StatusUnauthorized, "invalid_token", "invalid_token", "The access token has expired"},
	CodeUnavailable:        {http.StatusServiceUnavailable, "keys_unavailable", "", "The keys to verify access tokens are unavailable, try again later"},
}

// invalid is the answer to every code that is not in the table: a client is
// not told which check failed.
var invalid = answer{http.StatusUnauthorized, "invalid_token", "invalid_token", "The access token is invalid"}

func answerOf(code Code) answer {
	if a, ok := answers[code]; ok {
		return a
	}
	return invalid
}

// retryAfter is when a client may try again after a technical fault.
const retryAfter = 5 * time.Second

// Error is a refusal, or a technical fault with Status 503. Its text says in
// plain words which check failed, for logs; it quotes names of claims, sources
// and headers, nothing that the client sent.
type Error struct {
	Code Code
	// Status is 400, 401 or 503.
	Status int
	// RetryAfter is set on technical faults.
	RetryAfter time.Duration

	realm string
	err   error
}

func newError(code Code, realm string, cause error) *Error {
	e := &Error{Code: code, Status: answerOf(code).status, realm: realm, err: cause}
	if e.Technical() {
		e.RetryAfter = retryAfter
	}
	return e
}

// verifyError makes an Error of what a [jwks.Verifier] says.
func verifyError(realm string, err error) *Error {
	if e, ok := errors.AsType[*jwks.Error](err); ok {
		return newError(Code(e.Code), realm, err)
	}
	return newError(CodeUnavailable, realm, err)
}

// Error says what is wrong for logs; see Message for what clients are told.
func (e *Error) Error() string {
	text := fmt.Sprintf("jwksauth: %s (%d)", e.Code, e.Status)
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

// Unwrap returns the cause, if there is one: the [*jwks.Error] of a token that
// was verified.
func (e *Error) Unwrap() error { return e.err }

// Technical reports whether the fault is the server's and not the client's.
func (e *Error) Technical() bool { return e.Status == http.StatusServiceUnavailable }

// Name returns the error code that clients are told in the body: unauthorized,
// invalid_request, invalid_token or keys_unavailable.
func (e *Error) Name() string { return answerOf(e.Code).name }

// Message returns the text that clients are told: error_description of RFC
// 6750, section 3. It is the same for every fault of a token but exp.
func (e *Error) Message() string { return answerOf(e.Code).text }

// Challenge returns the WWW-Authenticate value (RFC 6750, section 3), empty for
// technical faults.
func (e *Error) Challenge() string {
	if e.Technical() {
		return ""
	}
	challenge := "Bearer realm=" + quoted(e.realm)
	if a := answerOf(e.Code); a.challenge != "" {
		challenge += `, error="` + a.challenge + `", error_description="` + a.text + `"`
	}
	return challenge
}

var quotedEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoted is a quoted-string (RFC 9110, section 5.6.4).
func quoted(s string) string { return `"` + quotedEscapes.Replace(s) + `"` }
