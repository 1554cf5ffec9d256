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
// Outside /v2, everything but the status page and the API's description is
// authenticated before it is routed, so that an unknown path without a token is
// 401; below /v2 routing comes first.
//
// The verifiers, one of each dialect, need QueryUnsigned, ServeRoot, and the
// BasePath and Leeway of the API's Config. signed may be nil when the Dialect is
// V2; v2 may be nil otherwise, and then there is nothing below /v2. original
// returns the request as the client sent it, before a server around the handler
// rewrote it; nil means that none does.
func (a *API) Handler(signed, v2 Authenticator, original func(*http.Request) notifyauth.Original) http.Handler {
	if original == nil {
		original = notifyauth.OriginalOf
	}
	if a.config.Dialect == notifyauth.V2 {
		signed = v2
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := original(r)
		setHeaders(w)
		path, base := a.below(o)
		switch {
		case path == statusPath:
			a.serveStatus(w, o.Method)
		case v2 == nil:
			a.serveSigned(w, r, signed, o)
		case path == openAPIPath && !allowed(o.Method, allowRead):
			writeV2(w, methodRefusal(allowRead))
		case path == openAPIPath:
			a.serveOpenAPI(w, r, a.config.Origin(r)+base)
		case isV2(path):
			a.serveV2(w, r, v2, o, path, base)
		default:
			a.serveSigned(w, r, signed, o)
		}
	})
}

func (a *API) serveSigned(w http.ResponseWriter, r *http.Request, auth Authenticator, o notifyauth.Original) {
	id, release, err := auth.Authenticate(w, r, o)
	defer release()
	if err != nil {
		a.writeAuthError(w, r, auth, err)
		return
	}
	a.serve(w, r, id, o)
}

// writeAuthError leaves faults of authentication in the signed dialect to the
// verifier. What else it refuses, such as a body that is too long, and tokens of
// V2 have the API's own form.
func (a *API) writeAuthError(w http.ResponseWriter, r *http.Request, auth Authenticator, err error) {
	var fault *notifyauth.Error
	if !errors.As(err, &fault) {
		auth.WriteError(w, r, err)
		return
	}
	ref := &refusal{status: fault.Status, code: string(fault.Code), text: fault.Message(a.config.Dialect)}
	if fault.Status == http.StatusUnauthorized || fault.Status == http.StatusForbidden {
		if a.config.Dialect == notifyauth.Signed {
			auth.WriteError(w, r, err)
			return
		}
		ref.fields = faults{"token": {fault.Message(notifyauth.V2)}}
	}
	notifyauth.SetErrorHeaders(w, r, fault)
	writeRefusal(w, ref)
	fault.Finish(w, r)
}

// Serve answers a request outside /v2 that has been authenticated as id, whose
// body has been verified and can be read from r. Routes are found by id.Path and
// the method and query of the original request.
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
	a.logRefusal(r, id, rt, ref)
	writeRefusal(w, ref)
	return ref.status, ref.code
}

func (a *API) logRefusal(r *http.Request, id notifyauth.Identity, rt route, ref *refusal) {
	log := a.config.Logger.With("service_id", id.ServiceID, "key_name", id.KeyName, "route", string(rt), "code", ref.code, "status", ref.status)
	if ref.status >= http.StatusInternalServerError {
		log.ErrorContext(r.Context(), "request failed", "error", ref.cause)
	} else {
		log.InfoContext(r.Context(), "request refused")
	}
}

// now is the clock, cut to what storage keeps.
func (a *API) now() time.Time { return storage.Micro(a.config.Now()) }
