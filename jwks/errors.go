package jwks

import (
	"errors"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// What a [KeySource] says when it has no key to give. Other errors count as
// ErrUnavailable.
var (
	// ErrUnknownKid means that the set is known and none of its keys fits: no
	// key has this kid, or the token names none and the set has several.
	ErrUnknownKid = errors.New("jwks: no usable key of the set has this kid")
	// ErrUnavailable means that it can't be told: the set has not been loaded
	// yet, is too old to be trusted, or has no usable key.
	ErrUnavailable = errors.New("jwks: no usable keys are at hand")
)

// Code is the reason of a refusal, for logs, metrics and tests. Codes are a
// small fixed set of lower-case words, so they may be labels.
type Code string

// The codes. A token whose form package jws refuses has the code "token_"
// followed by the [jws.Code].
const (
	CodeAlgorithm    Code = "algorithm"     // alg is not among those allowed
	CodeType         Code = "type"          // typ is not among those accepted
	CodeIssuer       Code = "issuer"        // no key set belongs to this iss
	CodeKidMissing   Code = "kid_missing"   // no kid, and the set has not just one key
	CodeUnknownKid   Code = "unknown_kid"   // no usable key has this kid
	CodeKeyAlgorithm Code = "key_algorithm" // the key is not for this alg
	CodeKeySize      Code = "key_size"      // the key is smaller than the policy asks for
	CodeSignature    Code = "signature"
	CodeClaimMissing Code = "claim_missing" // or empty, or null
	CodeClaimType    Code = "claim_type"    // not the kind of value that it must be
	CodeExpired      Code = "expired"
	CodeNotYet       Code = "nbf_future"
	CodeIatFuture    Code = "iat_future"
	CodeTimeOrder    Code = "time_order" // exp is not after iat
	CodeLifetime     Code = "lifetime"   // exp is too far away
	CodeAudience     Code = "audience"
	CodeRevoked      Code = "revoked" // the token, or all of its subject, is on the list
	// CodeUnavailable is the only one that is no fault of the token: the keys
	// can't be looked up now.
	CodeUnavailable Code = "unavailable"
	// CodeUnexpected is what [CodeOf] calls an error that isn't from here.
	CodeUnexpected Code = "unexpected"
)

// formPrefix makes a Code of a jws.Code.
const formPrefix = "token_"

// Error is the refusal of a token. Its text says in plain words which check
// failed; it quotes names of claims and values of the policy, nothing of the
// token.
type Error struct {
	Code Code
	// Claim is the claim that is at fault, where it is one.
	Claim string
	text  string
	err   error
}

func (e *Error) Error() string {
	if e.err != nil {
		return "jwks: " + e.text + ": " + strings.TrimPrefix(strings.TrimPrefix(e.err.Error(), "jwks: "), "jws: ")
	}
	return "jwks: " + e.text
}

func (e *Error) Unwrap() error { return e.err }

// CodeOf returns the code of an error of a [Verifier], and CodeUnexpected for
// any other.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeUnexpected
}

func refuse(code Code, text string) *Error { return &Error{Code: code, text: text} }

func refuseClaim(code Code, claim, text string) *Error {
	return &Error{Code: code, Claim: claim, text: "the claim " + claim + " " + text}
}

func refuseForm(part string, err error) *Error {
	return &Error{Code: formPrefix + Code(jws.CodeOf(err)), text: part, err: err}
}
