package notifications

import (
	"errors"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Authenticator is what Handler needs of a [notifyauth.Verifier].
type Authenticator interface {
	Authenticate(w http.ResponseWriter, r *http.Request, o notifyauth.Original) (id notifyauth.Identity, release func(), err error)
	WriteError(w http.ResponseWriter, r *http.Request, err error)
}

// Handler returns the complete API: routing, authentication and dispatch.
// Everything but the status page is authenticated before it is routed, so that
// an unknown path without a token is 401.
//
// The verifier needs the Signed dialect, QueryUnsigned, ServeRoot, and the
// BasePath and Leeway of the API's Config. original returns the request as the
// client sent it, before a server around the handler rewrote it; nil means
// that none does.
func (a *API) Handler(auth Authenticator, original func(*http.Request) notifyauth.Original) http.Handler {
	if original == nil {
		original = notifyauth.OriginalOf
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := original(r)
		setHeaders(w)
		if a.isStatus(o) {
			a.serveStatus(w, o.Method)
			return
		}
		id, release, err := auth.Authenticate(w, r, o)
		defer release()
		if err != nil {
			a.writeAuthError(w, r, auth, err)
			return
		}
		a.serve(w, r, id, o)
	})
}

// writeAuthError leaves faults of authentication to the verifier. What else it
// refuses, such as a body that is too long, has the API's own form.
func (a *API) writeAuthError(w http.ResponseWriter, r *http.Request, auth Authenticator, err error) {
	var fault *notifyauth.Error
	if !errors.As(err, &fault) || fault.Status == http.StatusUnauthorized || fault.Status == http.StatusForbidden {
		auth.WriteError(w, r, err)
		return
	}
	notifyauth.SetErrorHeaders(w, r, fault)
	writeRefusal(w, &refusal{status: fault.Status, code: string(fault.Code), text: fault.Message(notifyauth.Signed)})
	fault.Finish(w, r)
}

// Serve answers a request that has been authenticated as id, whose body has
// been verified and can be read from r. Routes are found by id.Path and the
// method and query of the original request.
func (a *API) Serve(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, o notifyauth.Original) {
	setHeaders(w)
	a.serve(w, r, id, o)
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, o notifyauth.Original) {
	started := a.config.Now()
	rt, last, allow := match(id.Path)
	var status int
	var result string
	switch {
	case rt == routeNone:
		status, result = a.refuse(w, r, id, rt, &refusal{status: http.StatusNotFound, code: codeNoRoute, text: textNoRoute})
	case !allowed(o.Method, allow):
		status, result = a.refuse(w, r, id, rt, methodRefusal(allow))
	case rt == routeSMS:
		status, result = a.signedPost(w, r, id, rt, storage.SMS)
	case rt == routeEmail:
		status, result = a.signedPost(w, r, id, rt, storage.Email)
	case rt == routeGet:
		status, result = a.signedGet(w, r, id, last)
	default:
		status, result = a.signedList(w, r, id, rawQuery(o))
	}
	a.config.Observe(Event{Route: string(rt), Result: result, Status: status, Duration: a.config.Now().Sub(started)})
}

// serveStatus says that the server is up, to load balancers of that time.
func (a *API) serveStatus(w http.ResponseWriter, method string) {
	if !allowed(method, allowRead) {
		writeRefusal(w, methodRefusal(allowRead))
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
}

func methodRefusal(allow string) *refusal {
	return &refusal{status: http.StatusMethodNotAllowed, code: codeMethod, text: textMethod, allow: allow}
}

// setHeaders sets what every answer of the API has, those of the authenticator
// too.
func setHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// refuse writes and logs a refusal and returns its status and code.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, rt route, ref *refusal) (status int, code string) {
	log := a.config.Logger.With("service_id", id.ServiceID, "key_name", id.KeyName, "route", string(rt), "code", ref.code, "status", ref.status)
	if ref.status >= http.StatusInternalServerError {
		log.ErrorContext(r.Context(), "request failed", "error", ref.cause)
	} else {
		log.InfoContext(r.Context(), "request refused")
	}
	writeRefusal(w, ref)
	return ref.status, ref.code
}

// now is the clock, cut to what storage keeps.
func (a *API) now() time.Time { return storage.Micro(a.config.Now()) }
