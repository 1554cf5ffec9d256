package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
)

// MatchClaim matches requests by claims of the token that `jwks_auth` has
// verified, as a map of claim to values. Every claim must have one of its
// values: be that text, number or `true`/`false`, or be an array that holds it.
// Without values the claim must just be there and not be empty. Members of
// objects are written with dots. Without a verified token nothing matches, so
// `jwks_auth` must come first.
type MatchClaim map[string][]string

// CaddyModule returns the Caddy module information.
func (MatchClaim) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.signpost_claim", New: func() caddy.Module { return new(MatchClaim) }}
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m MatchClaim) MatchWithError(r *http.Request) (bool, error) {
	token := tokenOf(r)
	if token == nil {
		return false, nil
	}
	for claim, values := range m {
		if !jwksauth.HasClaim(token.Claims, claim, values...) {
			return false, nil
		}
	}
	return true, nil
}

// UnmarshalCaddyfile sets up the matcher. Syntax:
//
//	signpost_claim <claim> [<value>...]
//
// Given several times, every claim must match; given several times for one
// claim, the values add up.
func (m *MatchClaim) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if *m == nil {
		*m = make(MatchClaim)
	}
	for d.Next() {
		var claim string
		if !d.Args(&claim) {
			return d.ArgErr()
		}
		(*m)[claim] = append((*m)[claim], d.RemainingArgs()...)
		if d.NextBlock(d.Nesting()) {
			return d.Err("signpost_claim takes no block")
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyhttp.RequestMatcherWithError = (*MatchClaim)(nil)
	_ caddyfile.Unmarshaler             = (*MatchClaim)(nil)
)
