package notifications

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// refusal is an answer other than success. Dialects write it in their shape;
// code is the reason for logs and metrics.
type refusal struct {
	status     int
	code       string
	text       string
	fields     faults        // signed, instead of text: what is wrong with which member
	kind       string        // v2: the type of the error, when the status doesn't say it
	errors     []v2Error     // v2, instead of kind and text
	retryAfter time.Duration // 0: no Retry-After
	allow      string        // of a 405
	cause      error         // technical; logged, never shown
}

// faults are texts by field.
type faults map[string][]string

func (f faults) add(field, text string) { f[field] = append(f[field], text) }

// Reason codes, the values of Event.Result besides "ok" and "replayed".
const (
	resultOK       = "ok"
	resultReplayed = "replayed"

	codeNoRoute       = "no_route"
	codeMethod        = "method_not_allowed"
	codeNotFound      = "not_found"
	codeInvalidJSON   = "invalid_json"
	codeInvalid       = "invalid_fields"
	codeInvalidQuery  = "invalid_query"
	codeNoTemplate    = "unknown_template"
	codeNoProvider    = "no_provider"
	codeRateLimited   = "rate_limited"
	codeDailyLimit    = "daily_limit"
	codeBodyUnread    = "body_unread"
	codeBodyTooLarge  = "body_too_large"
	codeTeamOnly      = "team_only"
	codeTrial         = "trial"
	codeNoSender      = "unknown_sender"
	codeNoFiles       = "files_not_allowed"
	codeNoLetters     = "letters_not_allowed"
	codeNotLetter     = "not_a_letter"
	codeWrongType     = "wrong_template_type"
	codeArchived      = "archived_template"
	codeMissing       = "missing_personalisation"
	codeEmpty         = "empty_message"
	codeTooLong       = "message_too_long"
	codeInternational = "international_not_allowed"
	codeLandline      = "landline_not_allowed"
	codeBadKey        = "invalid_idempotency_key"
	codeKeyInUse      = "idempotency_key_in_use"
	codeKeyUsed       = "idempotency_key_reused"
	codeUnavailable   = "storage_unavailable"
	codeClientGone    = "client_gone"
	codeInternal      = "internal"
	unavailableRetry  = 5 * time.Second
	statusClientGone  = 499 // nobody reads it; for logs and metrics
	textUnavailable   = "Service temporarily unavailable, try again later"
	textInternalError = "Internal server error"
	textNotFound      = "No result found"
)

func notFound(code string) *refusal {
	return &refusal{status: http.StatusNotFound, code: code, text: textNotFound}
}

// technical makes a refusal of a fault of the storage or the directory.
func technical(r *http.Request, err error) *refusal {
	switch {
	case r.Context().Err() != nil:
		return &refusal{status: statusClientGone, code: codeClientGone, text: textUnavailable, cause: err}
	case errors.Is(err, storage.ErrInvalid):
		return &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
	}
	return &refusal{
		status: http.StatusServiceUnavailable, code: codeUnavailable, text: textUnavailable,
		retryAfter: unavailableRetry, cause: err,
	}
}

// storageTimeout bounds what a request waits for the storage, so that one
// which has stopped answering shows as 503 and not as a hang.
const storageTimeout = 10 * time.Second

func withStorageTimeout(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), storageTimeout)
}
