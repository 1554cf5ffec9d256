package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Health answers health checks: a path that ends in `/live` is 200 as long as
// the process serves, one that ends in `/ready` is 200 when the storage that
// the configuration needs reads and writes and every key set has keys to use,
// and 503 otherwise; the log has the reason. Other paths go on to the next handler. Put it into a `handle` block,
// or every path with such an end is a health check.
type Health struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.signpost_health", New: func() caddy.Module { return new(Health) }}
}

// Provision finds the app.
func (h *Health) Provision(ctx caddy.Context) (err error) {
	h.app, err = appOf(ctx)
	return err
}

func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	switch {
	case strings.HasSuffix(r.URL.Path, "/live"):
		return writeHealth(w, r, http.StatusOK, healthReport{Status: "ok"})
	case strings.HasSuffix(r.URL.Path, "/ready"):
		report := h.app.ready(r.Context())
		status := http.StatusOK
		if report.Status != "ok" {
			w.Header().Set("Retry-After", "5")
			status = http.StatusServiceUnavailable
		}
		return writeHealth(w, r, status, report)
	}
	return next.ServeHTTP(w, r)
}

func writeHealth(w http.ResponseWriter, r *http.Request, status int, report healthReport) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	return json.NewEncoder(w).Encode(report)
}

// parseHealth reads the directive:
//
//	signpost_health [<matcher>]
func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(Health)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile accepts no arguments.
func (h *Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("signpost_health has no options, found %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
	_ caddyfile.Unmarshaler       = (*Health)(nil)
)
