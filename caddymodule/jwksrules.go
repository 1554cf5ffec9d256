package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
)

// JWKSPolicy says which tokens are good, and whose keys verify them.
type JWKSPolicy struct {
	// The names of the key sets of the global option `signpost` that verify
	// tokens, each those of its own issuer. It may be left out when the
	// configuration has just one.
	KeySets []string `json:"key_sets,omitempty"`

	// A key set of this handler's own, instead of `key_sets`.
	Keys *KeySet `json:"keys,omitempty"`

	// The values of `alg` that are allowed: `RS256`, `RS384`, `RS512`, `PS256`,
	// `PS384`, `PS512`, `ES256`, `ES384`, `ES512` or `EdDSA`. The default is
	// `RS512` alone.
	Algorithms []string `json:"algorithms,omitempty"`

	// The smallest RSA key, in bits of its modulus, from 2048 to 16384. The
	// default is 2048.
	MinKeyBits int64 `json:"min_key_bits,omitempty"`

	// The values of which the claim `aud` must be, or hold, one. Without any,
	// `aud` is not checked: tokens that the issuer made for other services pass
	// too, and a warning says so. Placeholders such as `{env.NAME}` are
	// expanded.
	Audience []string `json:"audience,omitempty"`

	// The claims that must be there and not be empty, instead of the default,
	// `exp` alone. Members of objects are written with dots. Tokens without
	// `exp` never expire, so leaving it out is warned of.
	Require []string `json:"require,omitempty"`

	// The values of `typ` that are accepted, in any case; an empty one stands
	// for a token without `typ`. The default is none, `JWT` and `at+jwt`.
	Types []string `json:"types,omitempty"`

	// How far `iat` and `nbf` may lie in the future; `exp` has no leeway. The
	// default, also for 0, is 30s; at most 24h.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// How far `exp` may lie in the future, beside the leeway. The default is any
	// time.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`

	// A file of token ids (`jti`) and subjects (`sub`) whose tokens are refused,
	// one a line. It is watched: what is added counts within a second, for
	// tokens too that were accepted before. A line may say `jti:` or `sub:` first
	// to mean one of the two only; `#` begins a comment. Placeholders are
	// expanded.
	RevokedFile string `json:"revoked_file,omitempty"`

	// How RSA signatures are verified: `fast` (the default) verifies large keys
	// in less than half of the time, `stdlib` leaves all to Go's crypto/rsa. In
	// FIPS 140-3 mode it is always the latter.
	RSAVerify string `json:"rsa_verify,omitempty"`

	app      *App
	bindings []jwks.Binding
}

var jwksPolicyNames = []string{
	"key_set", "source", "issuer", "fail_startup", "algorithms", "min_key_bits", "audience", "require", "types",
	"leeway", "max_lifetime", "revoked", "rsa_verify",
}

// provision finds the keys and makes the verifier.
func (p *JWKSPolicy) provision(ctx caddy.Context, who string) (*jwks.Verifier, error) {
	var err error
	if p.app, err = appOf(ctx); err != nil {
		return nil, err
	}
	if err := p.findKeys(ctx, who); err != nil {
		return nil, err
	}
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	cfg.Bindings = p.bindings
	repl := caddy.NewReplacer()
	for i, audience := range cfg.Policy.Audience {
		if cfg.Policy.Audience[i], err = repl.ReplaceOrErr(audience, true, true); err != nil {
			return nil, fmt.Errorf("audience: %w", err)
		}
	}
	if p.RevokedFile != "" {
		path, err := Secret(p.RevokedFile).expandQuietly("the path of revoked")
		if err != nil {
			return nil, err
		}
		if cfg.Revoked, err = jwks.NewRevocationFile(path, lastingLogger("signpost.revoked")); err != nil {
			return nil, err
		}
	}
	v, err := jwks.New(cfg)
	if err != nil {
		return nil, err
	}
	p.warn(ctx.Logger())
	return v, nil
}

func (p *JWKSPolicy) warn(log *zap.Logger) {
	if len(p.Audience) == 0 {
		log.Warn("no audience is configured: tokens that the issuer made for other services pass too")
	}
	if len(p.Require) > 0 && !slices.Contains(p.Require, "exp") && p.MaxLifetime == 0 {
		log.Warn("require does not name exp: tokens without it never expire")
	}
}

func (p *JWKSPolicy) findKeys(ctx caddy.Context, who string) error {
	if p.Keys != nil {
		if len(p.KeySets) > 0 {
			return errors.New("name key sets, or give sources of keys here, not both")
		}
		if p.Keys.Name == "" {
			// The same name for the same keys, so that a reload finds them again.
			sum := sha256.Sum256(caddyconfig.JSON(p.Keys, nil))
			p.Keys.Name = who + "-" + hex.EncodeToString(sum[:4])
		}
		if err := p.app.addKeySet(ctx, p.Keys); err != nil {
			return err
		}
		p.bindings = []jwks.Binding{{Issuer: p.Keys.Issuer, Keys: p.Keys.pooled}}
		return nil
	}
	names := p.KeySets
	if len(names) == 0 {
		switch len(p.app.KeySets) {
		case 0:
			return errors.New("there are no keys: write `key_set <name> { … }` in the global option signpost and name it here")
		case 1:
			names = []string{p.app.KeySets[0].Name}
		default:
			return fmt.Errorf("the configuration has %d key sets: say with `key_set` which of them verify tokens here", len(p.app.KeySets))
		}
	}
	for _, name := range names {
		k, err := p.app.keySet(name)
		if err != nil {
			return err
		}
		p.bindings = append(p.bindings, jwks.Binding{Issuer: k.Issuer, Keys: k.pooled})
	}
	return nil
}

// config reads the settings that stand for themselves.
func (p *JWKSPolicy) config() (jwks.Config, error) {
	if p.RSAVerify != "" && p.RSAVerify != "fast" && p.RSAVerify != "stdlib" {
		return jwks.Config{}, fmt.Errorf("rsa_verify %q: it must be fast or stdlib", p.RSAVerify)
	}
	return jwks.Config{
		Policy: jwks.Policy{
			Algorithms: p.Algorithms, MinKeyBits: int(p.MinKeyBits), Types: p.Types,
			Audience: slices.Clone(p.Audience), Require: p.Require,
			Leeway: time.Duration(p.Leeway), MaxLifetime: time.Duration(p.MaxLifetime),
		},
		StandardRSA: p.RSAVerify == "stdlib",
		Now:         clock,
	}, nil
}

// check finds what a verifier would refuse, so that the error has file and
// line.
func (p *JWKSPolicy) check(d *caddyfile.Dispenser) error {
	cfg, err := p.config()
	if err == nil {
		nobody, _ := jwks.NewIndex(nil)
		cfg.Bindings = []jwks.Binding{{Keys: nobody}}
		_, err = jwks.New(cfg)
	}
	switch {
	case err != nil:
		return d.Err(err.Error())
	case p.Keys != nil && len(p.KeySets) > 0:
		return d.Err("name key sets with key_set, or give source and issuer here, not both")
	case p.Keys != nil && len(p.Keys.SourcesRaw) == 0:
		return d.Err("issuer and fail_startup belong to a source: write `source url`, `source file` or `source inline`")
	}
	return nil
}

// unmarshalOption reads one option of the block; known is false when it isn't
// one of these.
func (p *JWKSPolicy) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "key_set":
		return true, wordsOption(d, &p.KeySets)
	case "source", "issuer", "fail_startup":
		if p.Keys == nil {
			p.Keys = new(KeySet)
		}
		return p.Keys.unmarshalOption(d)
	case "algorithms":
		return true, wordsOption(d, &p.Algorithms)
	case "min_key_bits":
		return true, countOption(d, &p.MinKeyBits)
	case "audience":
		return true, wordsOption(d, &p.Audience)
	case "require":
		return true, wordsOption(d, &p.Require)
	case "types":
		return true, wordsOption(d, &p.Types)
	case "leeway":
		return true, durationOption(d, &p.Leeway)
	case "max_lifetime":
		return true, durationOption(d, &p.MaxLifetime)
	case "revoked":
		return true, revokedOption(d, &p.RevokedFile)
	case "rsa_verify":
		return true, wordOption(d, &p.RSAVerify, "fast", "stdlib")
	}
	return false, nil
}

// revokedOption reads `revoked file <path>`.
func revokedOption(d *caddyfile.Dispenser, to *string) error {
	var kind string
	if !d.AllArgs(&kind, to) {
		return d.ArgErr()
	}
	if kind != "file" {
		return d.Errf("revoked %q: it must be: revoked file <path>", kind)
	}
	return nil
}

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
		if from.Kind == jwksauth.Query {
			ctx.Logger().Warn("tokens are taken from the query: they end up in access logs, histories and referrers", zap.String("parameter", from.Name))
		}
	}
	cfg.Verifier = verifier
	cfg.Logger = ctx.Slogger()
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
	if token != nil {
		caddyhttp.SetVar(r.Context(), tokenVar, token)
	}
	return token, err
}

// tokenVar is where the verified token is kept for the matcher and the
// placeholders.
const tokenVar = "signpost.token"

// tokenOf returns the verified token of a request, or nil.
func tokenOf(r *http.Request) *jwks.Token {
	token, _ := caddyhttp.GetVar(r.Context(), tokenVar).(*jwks.Token)
	return token
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
	if err := j.check(d); err != nil {
		return err
	}
	cfg, err := j.authConfig()
	if err == nil {
		cfg.Verifier, cfg.Logger = new(jwks.Verifier), slog.New(slog.DiscardHandler)
		_, err = jwksauth.New(cfg)
	}
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}

var jwksRuleNames = []string{"token_from", "claim", "forward_token", "optional", "allow_preflight", "realm"}

func (j *JWKSRules) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "token_from":
		return true, j.unmarshalTokenFrom(d)
	case "claim":
		return true, j.unmarshalClaim(d)
	case "forward_token":
		var on *bool
		if err := switchOption(d, &on); err != nil {
			return true, err
		}
		j.ForwardToken = *on
		return true, nil
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
