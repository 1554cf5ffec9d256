package caddymodule

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
)

// JWKSProvider is the check of `jwks_auth` as a provider of Caddy's stock
// authentication handler, for people who compose with it. That handler answers
// 401 to everything, tries its providers in random order, and knows no 400 or
// 503; use the directive `jwks_auth` instead where you can. `optional` and
// `allow_preflight` can't be used here, for a provider lets pass only whom it
// knows.
type JWKSProvider struct {
	JWKSRules
}

// CaddyModule returns the Caddy module information.
func (JWKSProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.jwks", New: func() caddy.Module { return new(JWKSProvider) }}
}

// Provision prepares the verification.
func (p *JWKSProvider) Provision(ctx caddy.Context) error {
	if p.Optional || p.AllowPreflight {
		return errors.New("optional and allow_preflight need the directive jwks_auth: a provider lets pass only whom it knows")
	}
	return p.provision(ctx)
}

// Authenticate implements caddyauth.Authenticator. The error is a technical
// one; a refusal is none.
func (p *JWKSProvider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	token, err := p.authenticate(r)
	if err != nil {
		if refusal, ok := errors.AsType[*jwksauth.Error](err); ok {
			setChallenge(w.Header(), refusal.Challenge(), refusal.RetryAfter)
			if refusal.Status < http.StatusInternalServerError {
				return caddyauth.User{}, false, nil
			}
		}
		return caddyauth.User{}, false, err
	}
	subject, _ := jwksauth.ClaimText(token.Claims, "sub")
	return caddyauth.User{ID: subject}, true, nil
}

// setChallenge sets the headers of a provider's refusal. It leaves the
// connection alone, since another provider may accept the request.
func setChallenge(h http.Header, challenge string, retryAfter time.Duration) {
	if challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
	}
	h.Set("Cache-Control", "no-store")
}

// Interface guards
var (
	_ caddy.Provisioner       = (*JWKSProvider)(nil)
	_ caddyauth.Authenticator = (*JWKSProvider)(nil)
)
