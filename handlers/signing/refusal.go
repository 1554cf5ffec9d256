package signing

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// refusal is an answer other than success.
type refusal struct {
	status     int
	code       string // the reason for logs and metrics
	text       string
	issue      *issue        // instead of text: an OperationOutcome
	retryAfter time.Duration // 0: no Retry-After
	allow      string        // of a 405
	challenge  string        // of a 401
	cause      error         // technical; logged, never shown
}

// drains reports whether the rest of the body is worth reading after the
// refusal: not when it came too slowly, or broke off.
func (ref *refusal) drains() bool {
	return ref.code != codeBodyTimeout && ref.code != codeBodyRead && ref.code != codeClientGone
}

// Reason codes, the values of Event.Result besides "ok", those of the checks of
// a JWT and evidence.Code.
const (
	resultOK = "ok"

	codeNoRoute       = "no_route"
	codeMethod        = "method_not_allowed"
	codeAccess        = "access_denied"
	codeAccessAway    = "access_unavailable"
	codeRateLimited   = "rate_limited"
	codeMediaType     = "media_type"
	codeTooLarge      = "too_large"
	codeBusy          = "busy"
	codeBodyTimeout   = "body_timeout"
	codeBodyRead      = "body_unread"
	codeState         = "state"
	codePattern       = "pattern"
	codeReplayed      = "replayed"
	codeToken         = "token_form"
	codeUnknown       = "unknown_token"
	codeExpired       = "expired"
	codeForeign       = "foreign_client"
	codeClientUnknown = "unknown_client"
	codeDownloaded    = "already_downloaded"
	codeNotDownloaded = "not_downloaded"
	codeSigned        = "already_signed"
	codePending       = "pending"
	codeOrigin        = "origin"
	codeBrowser       = "browser"
	codeUpload        = "upload_form"
	codeNoDocuments   = "no_documents"
	codeMockOff       = "mock_off"
	codeUnavailable   = "unavailable"
	codeClientGone    = "client_gone"
	codeInternal      = "internal"
)

// Texts of the real service, or of the framework it is made with.
const (
	textNotFound        = "Not Found"
	textInternal        = "An internal server error occurred"
	textMediaType       = "Unsupported Media Type"
	textTimeout         = "Request Timeout"
	textUnknown         = "No signature request for specified token"
	textDownloaded      = "Signature request has already been downloaded"
	textNotDownloaded   = "Signature request has not been downloaded yet"
	textSigned          = "Signature request has already been signed"
	textPending         = "Could not find the specified signature response"
	textTokenForm       = `Invalid request params: "token" must be a valid base64 string`
	textJSON            = "Invalid request payload JSON format"
	textUnavailable     = "Service temporarily unavailable, try again later"
	textOrigin          = "This operation is for the signing page only, and came from another site"
	textBrowser         = "This signature request has been opened in another browser"
	payloadPrefix       = "Invalid request payload: "
	queryPrefix         = "Invalid request query: "
	unavailableRetry    = 5 * time.Second
	statusClientGone    = 499 // nobody reads it; for logs and metrics
	accessDeniedDisplay = "Invalid Access Token"
)

func badRequest(code, text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, text: text}
}

func unknownToken(code string) *refusal {
	return &refusal{status: http.StatusNotFound, code: code, text: textUnknown}
}

// technical makes a refusal of a fault of the storage or of a look-up.
func technical(r *http.Request, err error) *refusal {
	switch {
	case r.Context().Err() != nil:
		return &refusal{status: statusClientGone, code: codeClientGone, text: textUnavailable, cause: err}
	case errors.Is(err, storage.ErrInvalid):
		return internal(err)
	}
	return &refusal{
		status: http.StatusServiceUnavailable, code: codeUnavailable, text: textUnavailable,
		retryAfter: unavailableRetry, cause: err,
	}
}

func internal(err error) *refusal {
	return &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternal, cause: err}
}

// operationTimeout bounds what a request waits for the storage and for keys,
// so that one which has stopped answering shows as 503 and not as a hang.
const operationTimeout = 10 * time.Second

func withTimeout(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), operationTimeout)
}

// oneOf is the framework's text for a value that is none of those allowed.
func oneOf(name string, values []string) string {
	list := "[" + strings.Join(values, ", ") + "]"
	if len(values) == 1 {
		return `"` + name + `" must be ` + list
	}
	return `"` + name + `" must be one of ` + list
}

// refuse logs and writes a refusal.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, rt route, ref *refusal) {
	log := a.config.Logger.With("route", string(rt), "code", ref.code, "status", ref.status)
	switch {
	case ref.code == codeClientGone:
		log.DebugContext(r.Context(), "request abandoned", "error", ref.cause)
	case ref.status >= http.StatusInternalServerError:
		log.ErrorContext(r.Context(), "request failed", "error", ref.cause)
	case ref.cause != nil:
		log.InfoContext(r.Context(), "request refused", "error", ref.cause)
	default:
		log.InfoContext(r.Context(), "request refused")
	}
	if notifyauth.AnnouncesBody(r) {
		notifyauth.CloseUnread(w, r)
	}
	writeRefusal(w, r, ref)
}
