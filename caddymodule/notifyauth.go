package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// NotifyAuth lets a request pass when it carries a valid Notify token: a
// Bearer JWT (HS256) whose claims sign the method, the path and the exact bytes
// of the body. It stands in front of any handler. The request that is checked
// is the one that the client sent, whatever `handle_path`, `uri` or `rewrite`
// made of it.
//
// A request that passes has the service's id in the identity header and these
// placeholders:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The id of the service
// `{http.auth.user.name}` | The name of the service
// `{http.auth.user.key}` | The name of the key that signed
// `{http.auth.user.key_type}` | `normal`, `team` or `test`
// `{http.auth.user.issued_at}` | The token's `iat`, in seconds since 1970
type NotifyAuth struct {
	NotifyRules

	// Who answers a refusal: `own` (the default) writes a JSON body in the
	// dialect; `handle` returns the error to `handle_errors` routes, with the
	// status in `{err.status_code}` and the text in `{err.message}`.
	Errors string `json:"errors,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (NotifyAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.notify_auth", New: func() caddy.Module { return new(NotifyAuth) }}
}

// Provision prepares the verification.
func (h *NotifyAuth) Provision(ctx caddy.Context) error {
	if h.Errors != "" && h.Errors != "own" && h.Errors != "handle" {
		return errors.New("errors must be own or handle")
	}
	return h.provision(ctx)
}

func (h *NotifyAuth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	id, release, err := h.authenticate(w, r)
	if err != nil {
		return h.refuse(w, r, err)
	}
	defer release()
	setUser(r, id)
	return next.ServeHTTP(w, r)
}

func (h *NotifyAuth) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	if h.Errors != "handle" {
		h.verifier.WriteError(w, r, err)
		return nil
	}
	refusal, ok := errors.AsType[*notifyauth.Error](err)
	if !ok {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	notifyauth.SetErrorHeaders(w, r, refusal)
	return caddyhttp.Error(refusal.Status, errors.New(refusal.Message(h.dialect)))
}

// setUser sets the placeholders that Caddy's own authentication sets.
func setUser(r *http.Request, id notifyauth.Identity) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("http.auth.user.id", id.ServiceID)
	for k, v := range userMetadata(id) {
		repl.Set("http.auth.user."+k, v)
	}
}

// parseNotifyAuth reads the directive, see UnmarshalCaddyfile.
func parseNotifyAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(NotifyAuth)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	notify_auth [<matcher>] {
//		services        <id>...
//		dialect         signed|v2
//		leeway          <duration>
//		max_body        <size>
//		max_buffered    <size>
//		base_path       <path>
//		query           refuse|signed|unsigned
//		replay          off|reject
//		identity_header <name>
//		errors          own|handle
//	}
func (h *NotifyAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "errors" {
			if err := wordOption(d, &h.Errors, "own", "handle"); err != nil {
				return err
			}
			continue
		}
		known, err := h.unmarshalOption(d)
		if err != nil {
			return err
		}
		if !known {
			return unknownOption(d, "notify_auth", append(notifyRuleNames, "errors")...)
		}
	}
	cfg, err := h.config()
	return checkConfig(d, cfg, err)
}

// original returns the request as the client sent it. Caddy keeps a copy,
// because its other directives change the request itself.
func original(r *http.Request) notifyauth.Original {
	o := r
	if kept, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		o = &kept
	}
	return notifyauth.Original{Method: o.Method, URL: o.URL, RequestURI: o.RequestURI}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*NotifyAuth)(nil)
	_ caddyhttp.MiddlewareHandler = (*NotifyAuth)(nil)
	_ caddyfile.Unmarshaler       = (*NotifyAuth)(nil)
)
