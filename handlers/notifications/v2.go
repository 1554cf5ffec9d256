package notifications

import (
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Error types of the v2 dialect: the names of Notify's exceptions, of which
// clients make their own.
const (
	errorValidation   = "ValidationError"
	errorBadRequest   = "BadRequestError"
	errorInvalidPhone = "InvalidPhoneError"
	errorNoResult     = "NoResultFound"
	errorNotFound     = "NotFound"
	errorMethod       = "MethodNotAllowed"
	errorRateLimit    = "RateLimitError"
	errorTooMany      = "TooManyRequestsError"
	errorTooLarge     = "PayloadTooLargeError"
	errorIdempotency  = "IdempotencyKeyError"
	errorUnavailable  = "ServiceUnavailableError"
	errorInternal     = "InternalServerError"
	textUnknownRoute  = "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
)

// v2Time is the form of times: microseconds, always six digits, and Z.
const v2Time = signedTime

// v2Error is one entry of an answer's errors.
type v2Error struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

// v2Errors is every answer other than success.
type v2Errors struct {
	StatusCode int       `json:"status_code"`
	Errors     []v2Error `json:"errors"`
}

// v2Call is a request of the v2 dialect that has been routed and
// authenticated.
type v2Call struct {
	w     http.ResponseWriter
	r     *http.Request
	id    notifyauth.Identity
	route route
	// args are the segments of the path that vary, as the client sent them:
	// escapes are not resolved.
	args []string
	// query is the raw query string.
	query string
	// root is what URIs begin with: scheme, host and the base path if the
	// request came by it, without a slash at the end.
	root string
}

// v2Instant is a time as v2 writes it, nil for none.
func v2Instant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(v2Time)
	return &text
}

// v2Text is a text, nil for an empty one.
func v2Text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// notificationURI is where a notification can be read.
func (c *v2Call) notificationURI(n storage.Notification) string {
	return c.root + "/v2/notifications/" + n.UUID.String()
}

// v2TemplateID is the UUID by which this dialect knows a template.
func v2TemplateID(serviceID, id string) string {
	return storage.TemplateUUID(serviceID, id).String()
}

// v2Invalid refuses a request whose parts are wrong, one text for each fault.
func v2Invalid(code string, texts ...string) *refusal {
	ref := &refusal{status: http.StatusBadRequest, code: code}
	for _, text := range texts {
		ref.errors = append(ref.errors, v2Error{errorValidation, text})
	}
	return ref
}

// v2Bad refuses a request that can't be done.
func v2Bad(code, text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, kind: errorBadRequest, text: text}
}

// v2NotFound says that there is no such object, or none of this service.
func v2NotFound(code string) *refusal {
	return &refusal{status: http.StatusNotFound, code: code, kind: errorNoResult, text: textNotFound}
}

// v2Kinds are the error types of refusals that every dialect knows, by status.
var v2Kinds = map[int]string{
	http.StatusBadRequest:            errorBadRequest,
	http.StatusNotFound:              errorNotFound,
	http.StatusMethodNotAllowed:      errorMethod,
	http.StatusRequestEntityTooLarge: errorTooLarge,
	http.StatusTooManyRequests:       errorRateLimit,
	http.StatusServiceUnavailable:    errorUnavailable,
	statusClientGone:                 errorUnavailable,
}

// writeV2 writes a refusal in the dialect's shape. Notify sends no Retry-After
// with 429.
func writeV2(w http.ResponseWriter, ref *refusal) {
	list := ref.errors
	if len(list) == 0 {
		kind := ref.kind
		if kind == "" {
			kind = v2Kinds[ref.status]
		}
		if kind == "" {
			kind = errorInternal
		}
		list = []v2Error{{kind, ref.text}}
	}
	if ref.status != http.StatusTooManyRequests {
		setRetryAfter(w, ref.retryAfter)
	}
	if ref.allow != "" {
		w.Header().Set("Allow", ref.allow)
	}
	writeJSON(w, ref.status, v2Errors{ref.status, list})
}

// v2Refuse writes and logs a refusal and returns its status and code.
func (a *API) v2Refuse(c *v2Call, ref *refusal) (status int, code string) {
	a.logRefusal(c.r, c.id, c.route, ref)
	writeV2(c.w, ref)
	return ref.status, ref.code
}
