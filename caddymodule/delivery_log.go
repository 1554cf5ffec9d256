package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// DeliveryLog writes a line with a masked recipient for each notification and
// reports it as delivered. Nothing is sent: it is for trials and development.
type DeliveryLog struct {
	sender delivery.Provider
}

// CaddyModule returns the Caddy module information.
func (DeliveryLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.delivery.log", New: func() caddy.Module { return new(DeliveryLog) }}
}

// Provision makes the provider.
func (l *DeliveryLog) Provision(ctx caddy.Context) error {
	l.sender = delivery.NewLog(moduleLogger(ctx))
	return nil
}

func (*DeliveryLog) senderName() string            { return "log" }
func (l *DeliveryLog) provider() delivery.Provider { return l.sender }

func (*DeliveryLog) receipts(delivery.Outbox, *delivery.Callbacks) (http.Handler, error) {
	return nil, nil
}

// UnmarshalCaddyfile sets up the provider. Syntax:
//
//	delivery <channel> log
func (l *DeliveryLog) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("delivery log has no options, found %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ deliveryModule        = (*DeliveryLog)(nil)
	_ caddy.Provisioner     = (*DeliveryLog)(nil)
	_ caddyfile.Unmarshaler = (*DeliveryLog)(nil)
)
