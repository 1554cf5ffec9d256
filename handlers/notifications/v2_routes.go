package notifications

import (
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// The routes of the v2 dialect; their texts are Event.Route.
const (
	routeV2SMS             route = "v2_sms"
	routeV2Email           route = "v2_email"
	routeV2Letter          route = "v2_letter"
	routeV2Get             route = "v2_get"
	routeV2PDF             route = "v2_pdf"
	routeV2List            route = "v2_list"
	routeV2Templates       route = "v2_templates"
	routeV2Template        route = "v2_template"
	routeV2TemplateVersion route = "v2_template_version"
	routeV2Preview         route = "v2_preview"
	routeV2Received        route = "v2_received"
)

const (
	v2Prefix    = "/v2"
	openAPIPath = "/openapi.json"
)

// v2Route is a route: the segments of its path below /v2, "*" for one that
// varies, and the one method that it has.
type v2Route struct {
	name    route
	pattern []string
	allow   string
	serve   func(*API, *v2Call) (status int, result string)
}

// v2Routes are looked through in order: fixed segments come before those that
// vary.
var v2Routes = []v2Route{
	{routeV2SMS, []string{"notifications", "sms"}, allowPost, (*API).v2SendSMS},
	{routeV2Email, []string{"notifications", "email"}, allowPost, (*API).v2SendEmail},
	{routeV2Letter, []string{"notifications", "letter"}, allowPost, (*API).v2SendLetter},
	{routeV2List, []string{"notifications"}, allowRead, (*API).v2List},
	{routeV2Get, []string{"notifications", "*"}, allowRead, (*API).v2Get},
	{routeV2PDF, []string{"notifications", "*", "pdf"}, allowRead, (*API).v2Pdf},
	{routeV2Templates, []string{"templates"}, allowRead, (*API).v2Templates},
	{routeV2Template, []string{"template", "*"}, allowRead, (*API).v2Template},
	{routeV2TemplateVersion, []string{"template", "*", "version", "*"}, allowRead, (*API).v2TemplateVersion},
	{routeV2Preview, []string{"template", "*", "preview"}, allowPost, (*API).v2Preview},
	{routeV2Received, []string{"received-text-messages"}, allowRead, (*API).v2Received},
}

// matchV2 finds the route of a path that begins with "/v2/", and its segments
// that vary.
func matchV2(path string) (rt *v2Route, args []string) {
	segments := strings.Split(strings.TrimPrefix(path, v2Prefix+"/"), "/")
	for i := range v2Routes {
		if args, ok := v2Routes[i].match(segments); ok {
			return &v2Routes[i], args
		}
	}
	return nil, nil
}

func (rt *v2Route) match(segments []string) (args []string, ok bool) {
	if len(segments) != len(rt.pattern) {
		return nil, false
	}
	for i, s := range segments {
		switch {
		case s == "":
			return nil, false
		case rt.pattern[i] == "*":
			args = append(args, s)
		case rt.pattern[i] != s:
			return nil, false
		}
	}
	return args, true
}

// isV2 reports whether a path below the base path is the v2 dialect's. "//v2/…",
// which clients ask for whose base URL has a slash at its end, is as well: it has
// no route, and its 404 says so in the shape that they read.
func isV2(path string) bool {
	path = "/" + strings.TrimLeft(path, "/")
	return path == v2Prefix || strings.HasPrefix(path, v2Prefix+"/")
}

// serveV2 routes, authenticates and answers a request of the v2 dialect. Its
// routes are known to everybody, so that an unknown path is 404 with or
// without a token.
func (a *API) serveV2(w http.ResponseWriter, r *http.Request, auth Authenticator, o notifyauth.Original, path, base string) {
	started := a.config.Now()
	rt, args := matchV2(path)
	var ref *refusal
	switch {
	case rt == nil:
		ref = &refusal{status: http.StatusNotFound, code: codeNoRoute, text: textUnknownRoute}
	case !allowed(o.Method, rt.allow):
		ref = methodRefusal(rt.allow)
	}
	if ref != nil {
		if notifyauth.AnnouncesBody(r) {
			notifyauth.CloseUnread(w, r)
		}
		writeV2(w, ref)
		return
	}
	id, release, err := auth.Authenticate(w, r, o)
	defer release()
	if err != nil {
		auth.WriteError(w, r, err)
		return
	}
	c := &v2Call{w: w, r: r, id: id, route: rt.name, args: args, query: rawQuery(o), root: a.config.Origin(r) + base}
	status, result := rt.serve(a, c)
	a.config.Observe(Event{Route: string(rt.name), Result: result, Status: status, Duration: a.config.Now().Sub(started)})
}

// origin is the default of Config.Origin: what the request itself says.
func origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
