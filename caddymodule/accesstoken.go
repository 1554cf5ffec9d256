package caddymodule

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/jwks"
)

// AccessToken says which bearer tokens applications must send to the signing
// API: which are good, as in `jwks_auth`, and whose they are.
type AccessToken struct {
	JWKSPolicy

	// The claim that has the client's id: it must equal the `iss` of a signature
	// request, and only the client that asked can read the signatures. The
	// default is `client_id`, or `azp` in tokens without that.
	ClientClaim string `json:"client_claim,omitempty"`
}

// provision makes the check.
func (a *AccessToken) provision(ctx caddy.Context) (func(*http.Request) (string, error), error) {
	verifier, err := a.JWKSPolicy.provision(ctx, "access_token")
	if err != nil {
		return nil, err
	}
	auth, err := jwksauth.New(jwksauth.Config{
		Verifier: verifier, ForwardToken: true, Realm: "signing", Logger: moduleLogger(ctx), Observe: observeJWKSAuth,
	})
	if err != nil {
		return nil, err
	}
	claims := []string{"client_id", "azp"}
	if a.ClientClaim != "" {
		claims = []string{a.ClientClaim}
	}
	return func(r *http.Request) (string, error) {
		token, err := auth.Authenticate(r)
		if err != nil {
			fault := &signing.AccessError{Err: err}
			if refusal, ok := errors.AsType[*jwksauth.Error](err); ok {
				fault.Unavailable, fault.Challenge, fault.RetryAfter = refusal.Technical(), refusal.Challenge(), refusal.RetryAfter
			}
			return "", fault
		}
		for _, claim := range claims {
			if client, ok := token.Claims.Text(claim); ok && client != "" {
				return client, nil
			}
		}
		return "", &signing.AccessError{Err: errors.New("the access token does not name a client")}
	}, nil
}

// ready reports an error while there is no key to verify tokens with.
func (a *AccessToken) ready() error {
	for _, b := range a.bindings {
		if set, ok := b.Keys.(*pooledKeySet); ok && len(set.Keys()) > 0 {
			return nil
		}
	}
	return jwks.ErrUnavailable
}

// unmarshal reads the block:
//
//	access_token {
//		<options of jwks_auth that say which tokens are good>
//		client_claim <claim>
//	}
func (a *AccessToken) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "client_claim" {
			if err := textOption(d, &a.ClientClaim); err != nil {
				return err
			}
			continue
		}
		known, err := a.unmarshalOption(d)
		if err != nil {
			return err
		}
		if !known {
			return unknownOption(d, "access_token", append(slices.Clone(jwksPolicyNames), "client_claim")...)
		}
	}
	return a.check(d)
}
