package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/signpost-gateway/signpost/jwks"
)

// KeySourceURL has public keys at a URL, from which they are fetched in the
// background: when the configuration starts, before the keys in use run out,
// and when a token names an unknown key, for that at most once in 30 seconds.
// A fetch that fails leaves the keys from before in use, for as long as
// `stale_if_error` says.
type KeySourceURL struct {
	// The URL of the JSON Web Key Set: https, or http on a loopback address. At
	// most 100 keys and 512 KiB are read, within 5 seconds, with at most 3
	// redirects on the same host and scheme. Placeholders such as `{env.NAME}`
	// are expanded.
	URL string `json:"url"`

	// The pause between two fetches, at least 1s. By default the server says it
	// with `max-age` (at least 1m and at most 24h); 10m when it doesn't.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How long keys are used after the last fetch that succeeded; beyond it,
	// tokens are answered with 503. It must not be below `refresh`. The default
	// is 24h, or twice `refresh` when that is longer.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// The certificate authorities of the server, instead of the system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	url  string
	pool *x509.CertPool
	// authorities tells the pool from others.
	authorities int
}

// CaddyModule returns the Caddy module information.
func (KeySourceURL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.key_sources.url", New: func() caddy.Module { return new(KeySourceURL) }}
}

// Provision expands the URL and loads the authorities. It fetches nothing.
func (s *KeySourceURL) Provision(ctx caddy.Context) (err error) {
	if s.url, err = Secret(s.URL).expandQuietly("the URL of a key set"); err != nil {
		return err
	}
	if s.pool, err = loadTrustPool(ctx, s, s.TrustPoolRaw, "TrustPoolRaw"); err != nil {
		return err
	}
	s.authorities = numberOf(s.pool)
	return nil
}

// poolNumbers has every pool of authorities that a key source of this process
// has had, without its twins.
var poolNumbers struct {
	sync.Mutex
	pools []*x509.CertPool
}

// numberOf returns the same number for pools with the same certificates, for a
// pool can't be made a text. A file of authorities that is replaced makes
// another pool, although its name stays.
func numberOf(pool *x509.CertPool) int {
	if pool == nil {
		return 0
	}
	poolNumbers.Lock()
	defer poolNumbers.Unlock()
	i := slices.IndexFunc(poolNumbers.pools, pool.Equal)
	if i < 0 {
		i = len(poolNumbers.pools)
		poolNumbers.pools = append(poolNumbers.pools, pool)
	}
	return i + 1
}

// loadTrustPool loads Caddy's module of certificate authorities; nil when none
// is configured.
func loadTrustPool(ctx caddy.Context, of any, raw json.RawMessage, field string) (*x509.CertPool, error) {
	if raw == nil {
		return nil, nil
	}
	v, err := ctx.LoadModule(of, field)
	if err != nil {
		return nil, fmt.Errorf("loading trust_pool: %w", err)
	}
	pool, ok := v.(caddytls.CA)
	if !ok {
		return nil, fmt.Errorf("module %T is not a source of certificate authorities", v)
	}
	return pool.CertPool(), nil
}

func (s *KeySourceURL) identity() string {
	return fmt.Sprintf("%s %d %d", s.place(), s.Refresh, s.StaleIfError)
}

// place tells what is fetched, however often that is.
func (s *KeySourceURL) place() string { return fmt.Sprintf("%s %d", s.url, s.authorities) }

func (s *KeySourceURL) source(seed jwks.Snapshot) (jwks.Source, error) {
	cfg := s.config(s.url)
	cfg.Seed = seed
	if s.pool != nil {
		cfg.TLS = &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}
	}
	return jwks.NewURL(cfg)
}

func (s *KeySourceURL) config(url string) jwks.URLConfig {
	return jwks.URLConfig{
		URL: url, Refresh: time.Duration(s.Refresh), StaleIfError: time.Duration(s.StaleIfError),
		UserAgent: "signpost-jwks", Clock: clock,
	}
}

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	source url <url> {
//		refresh        <duration>
//		stale_if_error <duration>
//		trust_pool     <module> ...
//	}
func (s *KeySourceURL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // url
	if err := textOption(d, &s.URL); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "refresh":
			err = durationOption(d, &s.Refresh)
		case "stale_if_error":
			err = durationOption(d, &s.StaleIfError)
		case "trust_pool":
			err = trustPoolOption(d, &s.TrustPoolRaw)
		default:
			err = unknownOption(d, "source url", "refresh", "stale_if_error", "trust_pool")
		}
		if err != nil {
			return err
		}
	}
	if strings.Contains(s.URL, "{") {
		return nil // its value comes when the configuration loads
	}
	if _, err := jwks.NewURL(s.config(s.URL)); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// trustPoolOption reads one of Caddy's modules of certificate authorities.
func trustPoolOption(d *caddyfile.Dispenser, to *json.RawMessage) error {
	if *to != nil {
		return d.Errf("%s is given twice", d.Val())
	}
	name, v, err := unmarshalGuest(d, "tls.ca_pool.source")
	if err != nil {
		return err
	}
	if _, ok := v.(caddytls.CA); !ok {
		return d.Errf("module tls.ca_pool.source.%s is not a source of certificate authorities", name)
	}
	*to = caddyconfig.JSONModuleObject(v, "provider", name, nil)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*KeySourceURL)(nil)
	_ caddyfile.Unmarshaler = (*KeySourceURL)(nil)
	_ keySourceModule       = (*KeySourceURL)(nil)
)
