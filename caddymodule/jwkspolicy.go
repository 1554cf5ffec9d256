package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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

	// The claims that must be there and be neither null nor an empty text,
	// instead of the default, `exp` alone. Members of objects are written with dots. Tokens without
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
		names = []string{""}
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("key set %q is named twice", name)
		}
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

// checkPolicy finds what a verifier would refuse, so that the error has file and
// line.
func (p *JWKSPolicy) checkPolicy(d *caddyfile.Dispenser) error {
	cfg, err := p.config()
	if err == nil {
		nobody, _ := jwks.NewIndex(nil)
		cfg.Bindings = []jwks.Binding{{Keys: nobody}}
		_, err = jwks.New(cfg)
	}
	if err != nil {
		return d.Err(optionNames.Replace(err.Error()))
	}
	return nil
}

// optionNames turns the names of the Go package into those of the options.
var optionNames = strings.NewReplacer("jwks: ", "", "MinKeyBits", "min_key_bits", "Audience", "audience",
	"Require", "require", "Leeway", "leeway", "MaxLifetime", "max_lifetime")

// check finds sources of keys that don't go together.
func (p *JWKSPolicy) check(d *caddyfile.Dispenser) error {
	switch {
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
	if known, err = p.readOption(d); known && err == nil {
		err = p.checkPolicy(d) // now, so that the error has this option's line
	}
	return known, err
}

func (p *JWKSPolicy) readOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "key_set":
		return true, p.unmarshalKeySets(d)
	case "source", "issuer", "fail_startup":
		if p.Keys == nil {
			p.Keys = new(KeySet)
		}
		return p.Keys.unmarshalOption(d)
	case "algorithms":
		return true, wordsOption(d, &p.Algorithms)
	case "min_key_bits":
		if err := countOption(d, &p.MinKeyBits); err != nil {
			return true, err
		}
		if p.MinKeyBits == 0 {
			return true, d.Err("min_key_bits is 0; it must be 2048 to 16384")
		}
		return true, nil
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

func (p *JWKSPolicy) unmarshalKeySets(d *caddyfile.Dispenser) error {
	before := len(p.KeySets)
	if err := wordsOption(d, &p.KeySets); err != nil {
		return err
	}
	for i, name := range p.KeySets {
		if i >= before && slices.Contains(p.KeySets[:i], name) {
			return d.Errf("key_set %s is given twice", name)
		}
	}
	return nil
}

// revokedOption reads `revoked file <path>`.
func revokedOption(d *caddyfile.Dispenser, to *string) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	var kind string
	if !d.AllArgs(&kind, to) {
		return d.ArgErr()
	}
	if kind != "file" {
		return d.Errf("revoked %q: it must be: revoked file <path>", kind)
	}
	return nil
}
