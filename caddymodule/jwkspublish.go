package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/jwks"
)

// JWKSPublish publishes the public keys of a key set as a JSON Web Key Set
// (RFC 7517), with ETag and Cache-Control. It answers paths that end in its
// `path`; others go on to the next handler.
type JWKSPublish struct {
	// The name of the key set in the global option `signpost`. It may be left
	// out when the configuration has just one.
	KeySet string `json:"key_set,omitempty"`

	// The path, or its end. The default is `/.well-known/jwks.json`.
	Path string `json:"path,omitempty"`

	// How long others may keep the keys without asking again. The default is
	// 10m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	handler http.Handler
}

const wellKnownJWKS = "/.well-known/jwks.json"

// CaddyModule returns the Caddy module information.
func (JWKSPublish) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.jwks_publish", New: func() caddy.Module { return new(JWKSPublish) }}
}

// Provision finds the key set.
func (p *JWKSPublish) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	k, err := app.keySet(p.KeySet)
	if err != nil {
		return err
	}
	if p.Path == "" {
		p.Path = wellKnownJWKS
	}
	p.handler = jwks.Publish(k.pooled, time.Duration(p.MaxAge))
	return nil
}

func (p *JWKSPublish) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !strings.HasSuffix(r.URL.Path, p.Path) {
		return next.ServeHTTP(w, r)
	}
	p.handler.ServeHTTP(w, r)
	return nil
}

// parseJWKSPublish reads the directive, see UnmarshalCaddyfile.
func parseJWKSPublish(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(JWKSPublish)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	jwks_publish [<matcher>] [<key_set>] {
//		path    <path>
//		max_age <duration>
//	}
func (p *JWKSPublish) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		p.KeySet = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "path":
			if err = textOption(d, &p.Path); err == nil && !strings.HasPrefix(p.Path, "/") {
				err = d.Errf("path %q: it must start with a slash", p.Path)
			}
		case "max_age":
			err = durationOption(d, &p.MaxAge)
		default:
			err = unknownOption(d, "jwks_publish", "path", "max_age")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*JWKSPublish)(nil)
	_ caddyhttp.MiddlewareHandler = (*JWKSPublish)(nil)
	_ caddyfile.Unmarshaler       = (*JWKSPublish)(nil)
)
