package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
)

// JWKSAuth lets a request pass when it carries a token that a key of a JSON Web
// Key Set signed (RS512 by default) and whose claims the policy accepts. It
// stands in front of any handler, and never reads the body.
//
// A request that passes has these placeholders, and the matcher `signpost_claim`
// can tell its claims:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The claim `sub`
// `{http.auth.user.<claim>}` | Any claim; members of objects with dots, arrays of texts with commas
type JWKSAuth struct {
	JWKSRules

	// Who answers a refusal: `own` (the default) writes a JSON body; `handle`
	// returns the error to `handle_errors` routes, with the status in
	// `{err.status_code}` and the text in `{err.message}`.
	Errors string `json:"errors,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (JWKSAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.jwks_auth", New: func() caddy.Module { return new(JWKSAuth) }}
}

// Provision prepares the verification.
func (h *JWKSAuth) Provision(ctx caddy.Context) error {
	if h.Errors != "" && h.Errors != "own" && h.Errors != "handle" {
		return errors.New("errors must be own or handle")
	}
	return h.provision(ctx)
}

func (h *JWKSAuth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if _, err := h.authenticate(r); err != nil {
		return h.refuse(w, r, err)
	}
	return next.ServeHTTP(w, r)
}

func (h *JWKSAuth) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	refusal, ok := errors.AsType[*jwksauth.Error](err)
	if h.Errors != "handle" || !ok {
		h.auth.WriteError(w, r, err)
		return nil
	}
	jwksauth.SetErrorHeaders(w, r, refusal)
	return caddyhttp.Error(refusal.Status, errors.New(refusal.Message()))
}

// parseJWKSAuth reads the directive, see UnmarshalCaddyfile.
func parseJWKSAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(JWKSAuth)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	jwks_auth [<matcher>] {
//		key_set         <name>...
//		source          <module> ...
//		issuer          <iss>
//		fail_startup
//		algorithms      <alg>...
//		min_key_bits    <bits>
//		audience        <aud>...
//		require         <claim>...
//		types           <typ>...
//		leeway          <duration>
//		max_lifetime    <duration>
//		revoked file    <path>
//		rsa_verify      fast|stdlib
//		token_from      header <name> [<scheme>] | cookie <name> | query <name>
//		claim           <claim> header <name> [comma|json]
//		forward_token   on|off
//		optional
//		allow_preflight
//		realm           <text>
//		errors          own|handle
//	}
func (h *JWKSAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return h.unmarshalBlock(d, func() (bool, error) {
		if d.Val() != "errors" {
			return false, nil
		}
		return true, wordOption(d, &h.Errors, "own", "handle")
	}, "errors")
}

// Interface guards
var (
	_ caddy.Provisioner           = (*JWKSAuth)(nil)
	_ caddyhttp.MiddlewareHandler = (*JWKSAuth)(nil)
	_ caddyfile.Unmarshaler       = (*JWKSAuth)(nil)
)
