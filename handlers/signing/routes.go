package signing

import (
	"net/http"
	"net/url"
	"strings"
)

type route string

// The routes; their texts are Event.Route.
const (
	routeNone     route = "none"
	routeRequest  route = "request"  // POST /signaturerequest
	routeDownload route = "download" // GET  /signaturerequest/{token}
	routeUpload   route = "upload"   // POST /signatureresponse/{token}
	routeResponse route = "response" // GET  /signatureresponse/{token}
	routeClient   route = "client"
	routeAsset    route = "asset"
	routeMock     route = "mock"
	routeKeys     route = "keys"
	routePing     route = "ping"
	routeStatus   route = "status"
)

const (
	allowRead = http.MethodGet + ", " + http.MethodHead
	allowPost = http.MethodPost
	allowBoth = allowRead + ", " + allowPost
)

// ServeHTTP answers every request; what the API doesn't have is 404.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := a.config.Now()
	setHeaders(w)
	mirrorIDs(w, r)
	rt, segment, allow := a.route(r)
	e := Event{Route: string(rt), Result: resultOK}
	ref := methodRefusal(r.Method, allow)
	if ref == nil {
		e.Status, ref = a.serve(w, r, rt, segment, &e.Result)
	}
	if ref == nil && e.Result == resultOK && e.Status >= http.StatusBadRequest {
		e.Result = codeUnavailable
	}
	if ref != nil {
		e.Status, e.Result = ref.status, ref.code
		a.refuse(w, r, rt, ref)
	}
	e.Duration = a.config.Now().Sub(started)
	a.config.Observe(e)
	if ref != nil && ref.drains() {
		a.bodies.drain(w, r)
	}
}

// serve answers, unless it returns a refusal. result is changed for the page,
// which has answers that are neither.
func (a *API) serve(w http.ResponseWriter, r *http.Request, rt route, segment string, result *string) (status int, ref *refusal) {
	switch rt {
	case routeRequest:
		return a.create(w, r)
	case routeDownload:
		return a.download(w, r, segment)
	case routeUpload:
		return a.upload(w, r, segment)
	case routeResponse:
		return a.response(w, r, segment)
	case routeMock:
		return a.mock(w, r, segment)
	case routeClient:
		status, *result = a.client(w, r)
		return status, nil
	case routeAsset:
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		if a.config.Page.ServeAsset(seen, r, segment) {
			return seen.status, nil
		}
	case routeKeys:
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		a.config.PublishKeys.ServeHTTP(seen, r)
		return seen.status, nil
	case routePing:
		writeJSON(w, r, http.StatusOK, a.config.Version)
		return http.StatusOK, nil
	case routeStatus:
		return a.status(w, r), nil
	case routeNone:
	}
	return 0, &refusal{status: http.StatusNotFound, code: codeNoRoute, text: textNotFound}
}

// route finds the route of a path, with the base path or, as a server around
// this handler may have stripped it, without. segment is what follows the
// route's name, its escapes resolved.
func (a *API) route(r *http.Request) (rt route, segment, allow string) {
	path := r.URL.EscapedPath()
	if rt, segment, allow = a.match(path, r.Method); rt == routeNone && a.basePath != "" {
		if rest, ok := strings.CutPrefix(path, a.basePath+"/"); ok {
			return a.match("/"+rest, r.Method)
		}
	}
	return rt, segment, allow
}

func (a *API) match(path, method string) (rt route, segment, allow string) {
	switch path {
	case "/signaturerequest":
		return routeRequest, "", allowPost
	case "/client":
		return routeClient, "", allowRead
	case "/_ping":
		return routePing, "", allowRead
	case "/_status":
		return routeStatus, "", allowRead
	case "/.well-known/jwks.json":
		if a.config.PublishKeys != nil {
			return routeKeys, "", allowRead
		}
		return routeNone, "", ""
	}
	name, escaped, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if escaped == "" || strings.Contains(escaped, "/") {
		return routeNone, "", ""
	}
	segment, err := url.PathUnescape(escaped)
	if err != nil {
		segment = "%" // no token, and no asset either
	}
	switch name {
	case "signaturerequest":
		return routeDownload, segment, allowRead
	case "signatureresponse":
		if method == http.MethodPost {
			return routeUpload, segment, allowBoth
		}
		return routeResponse, segment, allowBoth
	case "assets":
		return routeAsset, segment, allowRead
	case "mock":
		if a.config.Mock != nil {
			return routeMock, segment, allowPost
		}
	}
	return routeNone, "", ""
}

// methodRefusal refuses a method that the path doesn't allow; allow is empty
// for unknown paths, which refuse every method alike.
func methodRefusal(method, allow string) *refusal {
	switch {
	case allow == "", allow != allowRead && method == http.MethodPost:
		return nil
	case allow != allowPost && (method == http.MethodGet || method == http.MethodHead):
		return nil
	}
	return &refusal{status: http.StatusMethodNotAllowed, code: codeMethod, text: "Method Not Allowed", allow: allow}
}
