package notifyauth

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Code is the reason of a refusal, for logs, metrics and tests. Codes are a
// small fixed set of lower-case words, so they may be labels.
type Code string

// The codes of the header check, answered 401.
const (
	CodeNoToken    Code = "no_token"
	CodeManyTokens Code = "many_tokens"
	CodeScheme     Code = "scheme"
)

// The codes of faulty tokens, answered 403. A token whose form package jws
// refuses has the code "token_" followed by the [jws.Code].
const (
	CodeAlgorithm      Code = "algorithm"
	CodeIssMissing     Code = "iss_missing"
	CodeIssType        Code = "iss_type"
	CodeUnknownService Code = "unknown_service"
	CodeNoKeys         Code = "no_keys"
	CodeArchived       Code = "archived"
	CodeSignature      Code = "signature"
	CodeRevoked        Code = "revoked"
	CodeIatMissing     Code = "iat_missing"
	CodeIatType        Code = "iat_type"
	CodeTimeForm       Code = "time_form" // exp or nbf is no date, or exp is not after iat
	CodeExpPassed      Code = "exp_passed"
	CodeNotYet         Code = "nbf_future"
	CodeAudience       Code = "aud_present"
	CodeIatOld         Code = "iat_old"
	CodeIatFuture      Code = "iat_future"
	CodeReplayed       Code = "replayed"
)

// The codes of the signed request line, answered 403.
const (
	CodeTarget     Code = "target"      // not in origin form
	CodePath       Code = "path"        // ambiguous
	CodeBasePath   Code = "base_path"   // outside it
	CodeQuery      Code = "query"       // there is one
	CodeReqMissing Code = "req_missing" // or no text
	CodeReq        Code = "req"         // signs another method or path
)

// The codes of the body.
const (
	CodeContentEncoding Code = "content_encoding" // 415
	CodeTooLarge        Code = "too_large"        // 413
	CodePayMissing      Code = "pay_missing"      // 403: there is a body
	CodePayUnexpected   Code = "pay_unexpected"   // 403: there is no body
	CodePay             Code = "pay"              // 403: signs another body
	CodeTokenBody       Code = "jwt_body"         // 403: the body is the signing input of a token
	CodeBodyRead        Code = "body_read"        // 400: the connection or its framing failed
	CodeBodyTimeout     Code = "body_timeout"     // 408
)

// The codes of technical faults, answered 503.
const (
	CodeBusy        Code = "busy"        // the budget of buffered bodies is used up
	CodeUnavailable Code = "unavailable" // keys or replays can't be looked up
)

// formPrefix makes a Code of a jws.Code.
const formPrefix = "token_"

func formCode(err error) Code { return Code(formPrefix + string(jws.CodeOf(err))) }

// Strictness reports whether the code stands for a rule of form that a general
// JWT library need not have: everything that a [Verifier] refuses and
// golang-jwt accepts under the same policy has such a code.
func (c Code) Strictness() bool {
	return strings.HasPrefix(string(c), formPrefix)
}

// fault is what a code looks like from outside.
type fault struct {
	status int
	signed string
	v2     string
}

// The texts of the wire reference, sections 1.4 (signed) and 1.5 (v2).
const (
	signedNoToken = "Unauthorized, authentication token must be provided"
	signedScheme  = "Unauthorized, authentication bearer scheme must be used"
	signedPrefix  = "Invalid token: "

	v2NoToken   = "Unauthorized: authentication token must be provided"
	v2Scheme    = "Unauthorized: authentication bearer scheme must be used"
	v2Generic   = "Invalid token: make sure your API token matches the example at https://docs.notifications.service.gov.uk/rest-api.html#authorisation-header"
	v2Clock     = "Error: Your system clock must be accurate to within %d seconds"
	v2Algorithm = "Invalid token: algorithm used is not HS256"
	v2NotOne    = "Invalid token: API key not found"
)

func forbidden(signed, v2 string) fault {
	return fault{http.StatusForbidden, signedPrefix + signed, v2}
}

func plain(status int, text string) fault { return fault{status, text, text} }

var faults = map[Code]fault{
	CodeNoToken:    {http.StatusUnauthorized, signedNoToken, v2NoToken},
	CodeManyTokens: {http.StatusUnauthorized, signedNoToken, v2NoToken},
	CodeScheme:     {http.StatusUnauthorized, signedScheme, v2Scheme},

	// The genuine verifier takes a missing alg for a wrong one.
	formPrefix + Code(jws.CodeAlg): forbidden("signature", v2Algorithm),

	CodeAlgorithm:      forbidden("signature", v2Algorithm),
	CodeIssMissing:     forbidden("signature", "Invalid token: iss field not provided"),
	CodeIssType:        forbidden("signature", "Invalid token: service id is not the right data type"),
	CodeUnknownService: forbidden("signature", "Invalid token: service not found"),
	CodeNoKeys:         forbidden("signature", "Invalid token: service has no API keys"),
	CodeArchived:       forbidden("signature", "Invalid token: service is archived"),
	CodeSignature:      forbidden("signature", v2NotOne),
	CodeRevoked:        forbidden("signature", "Invalid token: API key revoked"),
	CodeIatMissing:     forbidden("signature", v2NotOne),
	CodeIatType:        forbidden("signature", v2Clock),
	CodeTimeForm:       forbidden("signature", v2Generic),
	CodeExpPassed:      forbidden("signature", v2Generic),
	CodeNotYet:         forbidden("signature", v2Clock),
	CodeAudience:       forbidden("signature", v2Generic),
	CodeIatOld:         forbidden("expired", v2Clock),
	CodeIatFuture:      forbidden("expired", v2Clock),
	CodeReplayed:       forbidden("replayed", "Invalid token: replayed"),

	CodeTarget:     forbidden("request", "Invalid token: request"),
	CodePath:       forbidden("request", "Invalid token: request"),
	CodeBasePath:   forbidden("request", "Invalid token: request"),
	CodeQuery:      forbidden("request", "Invalid token: request"),
	CodeReqMissing: forbidden("request", "Invalid token: request"),
	CodeReq:        forbidden("request", "Invalid token: request"),

	CodePayMissing:    forbidden("payload", "Invalid token: payload"),
	CodePayUnexpected: forbidden("payload", "Invalid token: payload"),
	CodePay:           forbidden("payload", "Invalid token: payload"),
	CodeTokenBody:     forbidden("payload", "Invalid token: payload"),

	CodeContentEncoding: {
		http.StatusUnsupportedMediaType,
		"Unsupported media type: a signed body must be sent without Content-Encoding",
		"Unsupported media type: the body must be sent without Content-Encoding",
	},
	CodeTooLarge:    plain(http.StatusRequestEntityTooLarge, "Request body is too large"),
	CodeBodyRead:    plain(http.StatusBadRequest, "Request body could not be read"),
	CodeBodyTimeout: plain(http.StatusRequestTimeout, "Request body did not arrive in time"),
	CodeBusy:        plain(http.StatusServiceUnavailable, "Service unavailable: too many requests in progress, try again"),
	CodeUnavailable: plain(http.StatusServiceUnavailable, "Service unavailable: try again later"),
}

// formFault is the fault of every code that is not in the table.
var formFault = forbidden("signature", v2Generic)

// Error is a refusal, or a technical fault with Status 503. It holds nothing
// secret and nothing that the client sent but the id of a known service.
type Error struct {
	Code   Code
	Status int
	// ServiceID is set when the token names a service that exists and may
	// pass, verified or not.
	ServiceID string
	// KeyName is set when a key verified the token's signature.
	KeyName string
	// ClockOffset is iat minus now, in whole seconds, when that check failed.
	ClockOffset time.Duration
	// RetryAfter is set on technical faults.
	RetryAfter time.Duration
	// CloseConnection says that a body is left unread, so that the connection
	// can serve no other request.
	CloseConnection bool

	leeway int64 // seconds, for the text of v2
	err    error
}

const retryAfter = 5 * time.Second

func newError(code Code, cause error) *Error {
	e := &Error{Code: code, Status: faultOf(code).status, err: cause}
	if e.Status == http.StatusServiceUnavailable {
		e.RetryAfter = retryAfter
	}
	return e
}

func faultOf(code Code) fault {
	if f, ok := faults[code]; ok {
		return f
	}
	return formFault
}

// Error says what is wrong for logs; see Message for what clients are told.
func (e *Error) Error() string {
	text := fmt.Sprintf("notifyauth: %s (%d)", e.Code, e.Status)
	if e.ClockOffset != 0 {
		text += fmt.Sprintf(": the token's iat is %+d s from now", int64(e.ClockOffset/time.Second))
	}
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.err }

// Technical reports whether the fault is the server's and not the client's.
func (e *Error) Technical() bool { return e.Status == http.StatusServiceUnavailable }

// Message returns the text that clients of the dialect are told.
func (e *Error) Message(d Dialect) string {
	f := faultOf(e.Code)
	if d == Signed {
		return f.signed
	}
	if f.v2 == v2Clock {
		return fmt.Sprintf(v2Clock, e.leeway)
	}
	return f.v2
}

// Challenge returns the WWW-Authenticate value (RFC 6750, section 3) that goes
// with a 401, and nothing for other answers.
func (e *Error) Challenge() string {
	switch {
	case e.Status != http.StatusUnauthorized:
		return ""
	case e.Code == CodeManyTokens:
		return `Bearer realm="notify", error="invalid_request"`
	}
	return `Bearer realm="notify"`
}
