package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
)

// JWKSRules says which tokens are accepted, where they are, and what the next
// handler is told.
type JWKSRules struct {
	JWKSPolicy

	// Where tokens are looked for. The default is the header `Authorization`
	// with the scheme `Bearer`. A request with tokens in two places is answered
	// with 400.
	TokenFrom []TokenSource `json:"token_from,omitempty"`

	// The claims that the next handler is told in request headers. What the
	// client sent under these names is removed first, also when there is no
	// token.
	Claims []ClaimHeader `json:"claims,omitempty"`

	// Whether the next handler gets the token. By default it is removed from the
	// request.
	ForwardToken bool `json:"forward_token,omitempty"`

	// Whether requests without a token pass. An invalid token never does.
	Optional bool `json:"optional,omitempty"`

	// Whether a browser's CORS preflight (OPTIONS with `Origin` and
	// `Access-Control-Request-Method`), which can carry no token, passes without
	// one.
	AllowPreflight bool `json:"allow_preflight,omitempty"`

	// The realm in the challenge of a 401. The default is `jwks`.
	Realm string `json:"realm,omitempty"`

	auth *jwksauth.Authenticator
}

// TokenSource is a place where a token may be.
type TokenSource struct {
	// The place: `header`, `cookie` or `query`. A token in a query ends up in
	// logs and histories, and a warning says so.
	From string `json:"from"`

	// The name of the header, the cookie or the query parameter.
	Name string `json:"name"`

	// The scheme before a header's token, in any case; without it the token is
	// the header's whole value.
	Scheme string `json:"scheme,omitempty"`
}

// ClaimHeader tells the next handler a claim.
type ClaimHeader struct {
	// The claim. Members of objects are written with dots.
	Claim string `json:"claim"`

	// The request header.
	Header string `json:"header"`

	// How arrays are written: `comma` (the default) separates their elements by
	// commas and refuses a token with an element that holds one; `json` writes
	// any claim as its JSON text.
	Format string `json:"format,omitempty"`
}

// provision prepares the verification.
func (j *JWKSRules) provision(ctx caddy.Context) error {
	verifier, err := j.JWKSPolicy.provision(ctx, "jwks_auth")
	if err != nil {
		return err
	}
	cfg, err := j.authConfig()
	if err != nil {
		return err
	}
	for _, from := range cfg.From {
		switch {
		case from.Kind == jwksauth.Query:
			ctx.Logger().Warn("tokens are taken from the query: they end up in access logs, histories and referrers", zap.String("parameter", from.Name))
		case from.Kind == jwksauth.Header && !strings.EqualFold(from.Name, "Authorization"):
			ctx.Logger().Warn("tokens are taken from a header that Caddy's access logs show in full: delete it there with a filter", zap.String("header", from.Name))
		}
	}
	cfg.Verifier = verifier
	cfg.Logger = moduleLogger(ctx)
	j.auth, err = jwksauth.New(cfg)
	return err
}

func (j *JWKSRules) authConfig() (jwksauth.Config, error) {
	cfg := jwksauth.Config{
		ForwardToken: j.ForwardToken, Optional: j.Optional, AllowPreflight: j.AllowPreflight,
		Realm: j.Realm, Observe: observeJWKSAuth,
	}
	for _, s := range j.TokenFrom {
		kind, err := jwksauth.ParseSourceKind(s.From)
		if err != nil {
			return cfg, err
		}
		cfg.From = append(cfg.From, jwksauth.TokenSource{Kind: kind, Name: s.Name, Scheme: s.Scheme})
	}
	for _, c := range j.Claims {
		format, err := jwksauth.ParseFormat(c.Format)
		if err != nil {
			return cfg, err
		}
		cfg.Claims = append(cfg.Claims, jwksauth.ClaimHeader{Claim: c.Claim, Header: c.Header, Format: format})
	}
	return cfg, nil
}

// authenticate verifies the request's token; both results are nil for a request
// that may pass without one.
func (j *JWKSRules) authenticate(r *http.Request) (*jwks.Token, error) {
	span := startSpan(r, "jwks_auth")
	token, err := j.auth.Authenticate(r)
	var attrs []attribute.KeyValue
	if token != nil {
		attrs = append(attrs, attribute.Bool("signpost.cached", token.Cached))
	}
	endSpan(span, err, attrs...)
	if err == nil {
		setToken(r, token)
	}
	return token, err
}

// unmarshalBlock reads the block of the directive and of the provider.
func (j *JWKSRules) unmarshalBlock(d *caddyfile.Dispenser, other func() (known bool, err error), names ...string) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		for _, read := range []func() (bool, error){
			func() (bool, error) { return j.unmarshalOption(d) },
			func() (bool, error) { return j.JWKSPolicy.unmarshalOption(d) },
			other,
			func() (bool, error) {
				return false, unknownOption(d, "jwks_auth", slices.Concat(jwksPolicyNames, jwksRuleNames, names)...)
			},
		} {
			known, err := read()
			if err != nil {
				return err
			}
			if known {
				break
			}
		}
	}
	return j.check(d)
}

// checkRules is checkPolicy for the rest.
func (j *JWKSRules) checkRules(d *caddyfile.Dispenser) error {
	cfg, err := j.authConfig()
	if err == nil {
		cfg.Verifier = new(jwks.Verifier)
		_, err = jwksauth.New(cfg)
	}
	if err != nil {
		return d.Err(strings.TrimPrefix(err.Error(), "jwksauth: "))
	}
	return nil
}

var jwksRuleNames = []string{"token_from", "claim", "forward_token", "optional", "allow_preflight", "realm"}

func (j *JWKSRules) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	if known, err = j.readOption(d); known && err == nil {
		err = j.checkRules(d)
	}
	return known, err
}

func (j *JWKSRules) readOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "token_from":
		return true, j.unmarshalTokenFrom(d)
	case "claim":
		return true, j.unmarshalClaim(d)
	case "forward_token":
		return true, boolOption(d, &j.ForwardToken)
	case "optional":
		return true, flagOption(d, &j.Optional)
	case "allow_preflight":
		return true, flagOption(d, &j.AllowPreflight)
	case "realm":
		return true, textOption(d, &j.Realm)
	}
	return false, nil
}

// unmarshalTokenFrom reads `token_from header <name> [<scheme>]`, `token_from
// cookie <name>` or `token_from query <name>`.
func (j *JWKSRules) unmarshalTokenFrom(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 3 && args[0] == "header":
		j.TokenFrom = append(j.TokenFrom, TokenSource{From: args[0], Name: args[1], Scheme: args[2]})
	case len(args) == 2:
		j.TokenFrom = append(j.TokenFrom, TokenSource{From: args[0], Name: args[1]})
	default:
		return d.Err("write `token_from header <name> [<scheme>]`, `token_from cookie <name>` or `token_from query <name>`")
	}
	return nil
}

// unmarshalClaim reads `claim <claim> header <name> [comma|json]`.
func (j *JWKSRules) unmarshalClaim(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 || len(args) > 4 || args[1] != "header" {
		return d.Err("write `claim <claim> header <name> [comma|json]`")
	}
	c := ClaimHeader{Claim: args[0], Header: args[2]}
	if len(args) == 4 {
		c.Format = args[3]
	}
	j.Claims = append(j.Claims, c)
	return nil
}
