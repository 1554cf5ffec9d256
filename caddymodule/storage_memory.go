package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

// StorageMemory keeps everything in memory: it survives reloads of the
// configuration, but not the end of the process. It is meant for trials and
// tests.
type StorageMemory struct {
	// The name of this memory. Configurations that name the same one share
	// it across reloads. The default is `default`.
	Name string `json:"name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (StorageMemory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.storage.memory", New: func() caddy.Module { return new(StorageMemory) }}
}

func (s *StorageMemory) poolKey() string { return "memory:" + s.Name }

func (s *StorageMemory) secretsKey() []byte { return nil }

func (s *StorageMemory) backend() storage.Backend { return memory.New() }

// Provision warns, because an operator may have forgotten the trial.
func (s *StorageMemory) Provision(ctx caddy.Context) error {
	if s.Name == "" {
		s.Name = "default"
	}
	ctx.Logger().Warn("notifications are kept in memory and lost when the process ends; use `storage sqlite` in production")
	return nil
}

// UnmarshalCaddyfile sets up the storage. Syntax:
//
//	storage memory [<name>]
func (s *StorageMemory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		s.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("storage memory has no options, found %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ storageModule         = (*StorageMemory)(nil)
	_ caddy.Provisioner     = (*StorageMemory)(nil)
	_ caddyfile.Unmarshaler = (*StorageMemory)(nil)
)
