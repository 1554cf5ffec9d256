package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Delivery says by what the notifications of a channel are delivered.
type Delivery struct {
	// The channel: `sms` or `email`.
	Channel string `json:"channel"`

	// The provider. The default is `log`.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=signpost.delivery inline_key=module"`
}

// deliveryModule is a guest in the namespace signpost.delivery.
type deliveryModule interface {
	// senderName is the configured name, which notifications carry as their
	// sender.
	senderName() string
	provider() delivery.Provider
	// receipts returns what takes the provider's reports, nil when it posts
	// none.
	receipts(outbox delivery.Outbox) (http.Handler, error)
}

// outlets is the delivery of a configuration, ready to use.
type outlets struct {
	providers map[string]delivery.Provider
	senders   map[storage.Channel]string
	receipts  map[string]http.Handler // by the sender's name
}

func provisionDelivery(ctx caddy.Context, configured []*Delivery, outbox delivery.Outbox) (outlets, error) {
	out := outlets{
		providers: make(map[string]delivery.Provider),
		senders:   make(map[storage.Channel]string),
		receipts:  make(map[string]http.Handler),
	}
	for _, d := range configured {
		if err := out.add(ctx, d, outbox); err != nil {
			return out, fmt.Errorf("delivery %s: %w", d.Channel, err)
		}
	}
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		if _, ok := out.senders[channel]; ok {
			continue
		}
		if err := out.add(ctx, &Delivery{Channel: string(channel)}, outbox); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (o *outlets) add(ctx caddy.Context, d *Delivery, outbox delivery.Outbox) error {
	channel := storage.Channel(d.Channel)
	if !channel.Known() {
		return fmt.Errorf("channel %q: it must be sms or email", d.Channel)
	}
	if _, twice := o.senders[channel]; twice {
		return fmt.Errorf("the channel is configured twice")
	}
	if d.ProviderRaw == nil {
		d.ProviderRaw = json.RawMessage(`{"module":"log"}`)
	}
	v, err := ctx.LoadModule(d, "ProviderRaw")
	if err != nil {
		return fmt.Errorf("loading the provider: %w", err)
	}
	module, ok := v.(deliveryModule)
	if !ok {
		return fmt.Errorf("module %T is not a delivery of signpost", v)
	}
	name := module.senderName()
	if _, taken := o.providers[name]; taken {
		if _, isLog := v.(*DeliveryLog); !isLog {
			return fmt.Errorf("the name %q is taken by the provider of another channel: choose one with `name`", name)
		}
	}
	o.senders[channel] = name
	o.providers[name] = module.provider()
	h, err := module.receipts(outbox)
	if err != nil {
		return err
	}
	if h != nil {
		o.receipts[name] = h
	}
	return nil
}

// close lets go of the providers' connections.
func (o *outlets) close() {
	for _, p := range o.providers {
		if c, ok := p.(interface{ Close() error }); ok {
			_ = c.Close() // closes idle connections, which can't fail
		}
	}
}

// unmarshalDelivery reads:
//
//	delivery <sms|email> <module> ...
func unmarshalDelivery(d *caddyfile.Dispenser) (*Delivery, error) {
	if !d.NextArg() {
		return nil, d.Err("write: delivery <sms|email> <module>")
	}
	out := &Delivery{Channel: d.Val()}
	if !storage.Channel(out.Channel).Known() {
		return nil, d.Errf("delivery %q: it must be sms or email", out.Channel)
	}
	name, v, err := unmarshalGuest(d, "signpost.delivery")
	if err != nil {
		return nil, err
	}
	out.ProviderRaw = caddyconfig.JSONModuleObject(v, "module", name, nil)
	return out, nil
}
