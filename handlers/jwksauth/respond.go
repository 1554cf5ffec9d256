package jwksauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// WriteError answers a request that Authenticate refused: {"error": E,
// "error_description": M}, with the headers of SetErrorHeaders. An error that
// isn't an [*Error] is answered as a technical fault.
func (a *Authenticator) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = newError(CodeUnavailable, a.realm, err)
	}
	SetErrorHeaders(w, r, e)
	body, _ := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.Name(), e.Message()})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// SetErrorHeaders sets the headers that belong to a refusal whoever writes its
// body: WWW-Authenticate, Retry-After, Cache-Control and, as the body is left
// unread, Connection.
func SetErrorHeaders(w http.ResponseWriter, r *http.Request, e *Error) {
	h := w.Header()
	if challenge := e.Challenge(); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	h.Set("Cache-Control", "no-store")
	if notifyauth.AnnouncesBody(r) {
		notifyauth.CloseUnread(w, r)
	}
}
