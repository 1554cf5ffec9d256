package caddymodule

import (
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/jwks"
)

// KeySourceFile has public keys in a file, which is watched: a changed file is
// read within a second, without a reload. A file that is missing or faulty is
// reported in the log, and the keys from before stay in use.
type KeySourceFile struct {
	// The path of the file: a JWK, a JSON Web Key Set, or public keys or
	// certificates in PEM; at most 1000 keys and 4 MiB. A relative path starts
	// at the working directory. Placeholders such as `{env.NAME}` are expanded.
	Path string `json:"path"`

	path string
}

// CaddyModule returns the Caddy module information.
func (KeySourceFile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.key_sources.file", New: func() caddy.Module { return new(KeySourceFile) }}
}

// Provision expands the path.
func (s *KeySourceFile) Provision(caddy.Context) (err error) {
	if s.path, err = Secret(s.Path).expandQuietly("the path of a file of keys"); err != nil {
		return err
	}
	s.path, err = filepath.Abs(s.path)
	return err
}

func (s *KeySourceFile) identity() string { return s.path }

// place tells what is read.
func (s *KeySourceFile) place() string { return s.path }

func (s *KeySourceFile) source(jwks.Snapshot) (jwks.Source, error) { return jwks.NewFile(s.path) }

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	source file <path>
func (s *KeySourceFile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // file
	return argumentOnly(d, &s.Path)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*KeySourceFile)(nil)
	_ caddyfile.Unmarshaler = (*KeySourceFile)(nil)
	_ keySourceModule       = (*KeySourceFile)(nil)
)
