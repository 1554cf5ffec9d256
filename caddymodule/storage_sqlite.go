package caddymodule

import (
	"encoding/base64"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// StorageSQLite keeps everything in one SQLite database file. It suits a
// single node: one process at a time may hold the file.
type StorageSQLite struct {
	// The path of the database. The default is `signpost.db` in Caddy's data
	// directory; a relative path is relative to the working directory. The
	// file, and a missing folder for it, are created readable for their owner
	// only.
	Path string `json:"path,omitempty"`

	// The key under which the secrets of stored services are encrypted
	// (AES-256-GCM): 32 bytes as base64. Write a placeholder, `{env.NAME}` or
	// `{file./path}`. By default a key is made in a file beside the database,
	// named like it with `.key` at the end. A database that holds stored keys
	// does not open under another key.
	SecretsKey Secret `json:"secrets_key,omitempty"`

	path string
	key  []byte
}

// CaddyModule returns the Caddy module information.
func (StorageSQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.storage.sqlite", New: func() caddy.Module { return new(StorageSQLite) }}
}

// Provision works out the path and the key; it touches no file.
func (s *StorageSQLite) Provision(ctx caddy.Context) error {
	s.path = caddy.NewReplacer().ReplaceKnown(s.Path, "")
	if s.path == "" {
		s.path = filepath.Join(caddy.AppDataDir(), "signpost.db")
	}
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return fmt.Errorf("path of the database: %w", err)
	}
	s.path = abs
	s.key, err = expandSecretsKey(s.SecretsKey, ctx)
	return err
}

func (s *StorageSQLite) poolKey() string { return "sqlite:" + s.path }

func (s *StorageSQLite) secretsKey() []byte { return s.key }

func (s *StorageSQLite) backend() storage.Backend {
	return sqlite.New(sqlite.Config{Path: s.path, SecretsKey: s.key, Logger: lastingLogger("signpost.storage.sqlite"), OpenWait: openTimeout})
}

// UnmarshalCaddyfile sets up the storage. Syntax:
//
//	storage sqlite [<path>] {
//		secrets_key <base64>
//	}
func (s *StorageSQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "secrets_key":
			var v string
			if !d.AllArgs(&v) {
				return d.ArgErr()
			}
			s.SecretsKey = Secret(v)
		default:
			return unknownOption(d, "storage sqlite", "secrets_key")
		}
	}
	return nil
}

// expandSecretsKey returns nil for an empty setting.
func expandSecretsKey(s Secret, ctx caddy.Context) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	text, err := s.expand("secrets_key", ctx.Logger())
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != storage.SecretsKeySize {
		return nil, fmt.Errorf("secrets_key must be %d bytes as base64; `caddy signpost key generate --secrets-key` makes one", storage.SecretsKeySize)
	}
	return key, nil
}

// Interface guards
var (
	_ storageModule         = (*StorageSQLite)(nil)
	_ caddy.Provisioner     = (*StorageSQLite)(nil)
	_ caddyfile.Unmarshaler = (*StorageSQLite)(nil)
)
