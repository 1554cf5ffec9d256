package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/jwks"
)

// KeySourceInline has public keys in the configuration itself.
type KeySourceInline struct {
	// A JWK, a JSON Web Key Set, or public keys or certificates in PEM. It may
	// be one placeholder as a whole, such as `{env.NAME}` or `{file./path}`,
	// which is expanded when the configuration loads.
	Keys string `json:"keys"`

	expanded string
}

// CaddyModule returns the Caddy module information.
func (KeySourceInline) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.key_sources.inline", New: func() caddy.Module { return new(KeySourceInline) }}
}

// Provision expands the placeholder.
func (s *KeySourceInline) Provision(caddy.Context) (err error) {
	s.expanded = s.Keys
	// JSON has braces of its own, so only a whole placeholder is one.
	if strings.HasPrefix(s.Keys, "{env.") || strings.HasPrefix(s.Keys, "{file.") {
		s.expanded, err = Secret(s.Keys).expandQuietly("the keys of an inline source")
	}
	return err
}

func (s *KeySourceInline) identity() string { return s.expanded }

// place is the same for none: there is nothing to load.
func (s *KeySourceInline) place() string { return "" }

func (s *KeySourceInline) source(jwks.Snapshot) (jwks.Source, error) {
	return jwks.NewInline([]byte(s.expanded))
}

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	source inline <jwk, jwks or pem>
func (s *KeySourceInline) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // inline
	return argumentOnly(d, &s.Keys)
}

// argumentOnly reads a source that has one argument and no options.
func argumentOnly(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if err := textOption(d, to); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s has no options, found %q", name, d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*KeySourceInline)(nil)
	_ caddyfile.Unmarshaler = (*KeySourceInline)(nil)
	_ keySourceModule       = (*KeySourceInline)(nil)
)
