package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// NotifyProvider is the check of `notify_auth` as a provider of Caddy's stock
// authentication handler, for people who compose with it. That handler answers
// 401 to everything, tries its providers in random order, and knows no 403,
// 413, 415 or 503; use the directive `notify_auth` instead where you can.
type NotifyProvider struct {
	NotifyRules
}

// CaddyModule returns the Caddy module information.
func (NotifyProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.notify", New: func() caddy.Module { return new(NotifyProvider) }}
}

// Provision prepares the verification.
func (p *NotifyProvider) Provision(ctx caddy.Context) error { return p.provision(ctx) }

// Authenticate implements caddyauth.Authenticator. The error is a technical
// one; a refusal is none.
func (p *NotifyProvider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	id, release, err := p.authenticate(w, r)
	if err != nil {
		if refusal, ok := errors.AsType[*notifyauth.Error](err); ok {
			// What is 403 here, the stock handler answers with 401.
			setChallenge(w.Header(), cmp.Or(refusal.Challenge(), `Bearer realm="notify", error="invalid_token"`), refusal.RetryAfter)
			if refusal.Status < http.StatusInternalServerError {
				return caddyauth.User{}, false, nil
			}
		}
		return caddyauth.User{}, false, err
	}
	// The stock handler doesn't tell when the request is over; its context
	// ends with it.
	context.AfterFunc(r.Context(), release)
	return caddyauth.User{ID: id.ServiceID, Metadata: userMetadata(id)}, true, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*NotifyProvider)(nil)
	_ caddyauth.Authenticator = (*NotifyProvider)(nil)
)
