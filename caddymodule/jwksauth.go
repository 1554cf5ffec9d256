package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
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
	token, err := h.authenticate(r)
	if err != nil {
		return h.refuse(w, r, err)
	}
	setClaims(r, token)
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

const userPlaceholder = "http.auth.user."

// setClaims makes the claims placeholders, which are only looked up when
// something asks for them. A claim that isn't there is an empty text, and so
// are all of them without a token: a header must not say `{http.auth.user.id}`.
func setClaims(r *http.Request, token *jwks.Token) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Map(func(key string) (any, bool) {
		claim, ok := strings.CutPrefix(key, userPlaceholder)
		switch {
		case !ok:
			return nil, false
		case token == nil:
			return "", true
		}
		if claim == "id" {
			claim = "sub"
		}
		text, _ := jwksauth.ClaimText(token.Claims, claim)
		return text, true
	})
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
