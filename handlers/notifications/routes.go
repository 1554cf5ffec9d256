package notifications

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

type route string

// The routes; their texts are Event.Route.
const (
	routeNone  route = "none"
	routeSMS   route = "sms"
	routeEmail route = "email"
	routeGet   route = "get"
	routeList  route = "list"
)

// statusPath answers without a token.
const statusPath = "/_status"

const listPath = "/notifications"

const (
	allowRead = http.MethodGet + ", " + http.MethodHead
	allowPost = http.MethodPost
)

// match finds the route of a path below the base path. The path is as the
// client signed it: the verifier has refused every second spelling, so it is
// compared byte for byte. id is the last segment for routeGet; allow lists the
// methods of the path.
func match(path string) (rt route, id, allow string) {
	switch path {
	case listPath:
		return routeList, "", allowRead
	case listPath + "/sms":
		return routeSMS, "", allowPost
	case listPath + "/email":
		return routeEmail, "", allowPost
	}
	id, ok := strings.CutPrefix(path, listPath+"/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return routeNone, "", ""
	}
	return routeGet, id, allowRead
}

func allowed(method, allow string) bool {
	if allow == allowPost {
		return method == http.MethodPost
	}
	return method == http.MethodGet || method == http.MethodHead
}

// below returns the path of a request below the root or the base path, whichever
// it came by, and the latter if so.
func (a *API) below(o notifyauth.Original) (path, base string) {
	path, _, _ = strings.Cut(requestURI(o), "?")
	if rest, ok := strings.CutPrefix(path, a.config.BasePath); ok && strings.HasPrefix(rest, "/") {
		return rest, a.config.BasePath
	}
	return path, ""
}

func rawQuery(o notifyauth.Original) string {
	_, query, _ := strings.Cut(requestURI(o), "?")
	return query
}

// requestURI is the target as the client sent it, which is also what the
// verifier reads: a rewrite may have changed URL.
func requestURI(o notifyauth.Original) string {
	if o.RequestURI == "" && o.URL != nil {
		return o.URL.RequestURI()
	}
	return o.RequestURI
}

// cleanBase returns a base path without a slash at its end; "" and "/" are
// none.
func cleanBase(base string) (string, error) {
	base = strings.TrimSuffix(base, "/")
	if base == "" {
		return "", nil
	}
	if base[0] != '/' || strings.ContainsAny(base, "?#\\") || strings.Contains(base+"/", "//") ||
		strings.Contains(base+"/", "/./") || strings.Contains(base+"/", "/../") {
		return "", fmt.Errorf("notifications: BasePath %q: it must be a plain path such as /api/endpoint", base)
	}
	return base, nil
}
