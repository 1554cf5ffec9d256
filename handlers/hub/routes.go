package hub

import (
	"net/http"
	"slices"
	"strings"
)

const (
	pathHubOne  = "/hub/v1/"
	pathPRS     = "/PRS/"
	pathSignalR = "/signalr/"
	pathConsent = "/consent/"
)

// ServeHTTP answers every request; what the hub doesn't have is 404.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	if !isLocal(r) {
		h.forbid(w, r, "not_local", "This hub answers its own computer only, under the names localhost, 127.0.0.1 and [::1].")
		return
	}
	path := r.URL.EscapedPath()
	if id, ok := strings.CutPrefix(path, pathConsent); ok && h.page != nil {
		h.page.serve(w, r, id)
		return
	}
	origin, ok := h.allowedOrigin(r)
	if !ok {
		h.forbid(w, r, "origin", "")
		return
	}
	compatible := !h.config.HubOneOnly && (strings.HasPrefix(path, pathPRS) || strings.HasPrefix(path, pathSignalR))
	allowOrigin(w, origin, compatible)
	switch name, isHubOne := strings.CutPrefix(path, pathHubOne); {
	case r.Method == http.MethodOptions:
		preflight(w, r)
	case isHubOne:
		h.serveHubOne(w, r, origin, name)
	case !compatible:
		h.notFound(w)
	case strings.HasPrefix(path, pathPRS):
		h.servePortService(w, r, path[len(pathPRS):])
	default:
		h.serveSignalR(w, r, origin, path[len(pathSignalR):])
	}
}

// forbid refuses without the headers that would let a page read why.
func (h *Hub) forbid(w http.ResponseWriter, r *http.Request, reason, message string) {
	h.config.Logger.InfoContext(r.Context(), "request refused", "code", string(CodeOriginNotAllowed), "reason", reason, "origin", originForLog(r))
	e := &Error{Code: CodeOriginNotAllowed, Message: message}
	writeError(w, e.Code.status(), e)
}

// originForLog is what an operator has to add to the list, if they like.
func originForLog(r *http.Request) string {
	const limit = 200
	origin := r.Header.Get("Origin")
	return origin[:min(len(origin), limit)]
}

func (h *Hub) notFound(w http.ResponseWriter) {
	writeError(w, http.StatusNotFound, invalid("This hub has no such address."))
}

// allowMethods refuses other methods than those.
func allowMethods(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", ")+", OPTIONS")
	writeError(w, http.StatusMethodNotAllowed, invalid("The method must be "+strings.Join(methods, " or ")+"."))
	return false
}

// invalid is a request that the page, or the client behind it, got wrong.
func invalid(message string) *Error {
	return &Error{Code: CodeRequestInvalid, Message: message, RetriesLeft: -1}
}
