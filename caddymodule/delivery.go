package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Delivery is one of the providers by which the notifications of a channel are
// delivered. The first of a channel is called first; the others, in their order,
// when it fails or doesn't answer in time.
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
	// none. callbacks may be nil.
	receipts(outbox delivery.Outbox, callbacks *delivery.Callbacks) (http.Handler, error)
}

// outlets is the delivery of a configuration, ready to use.
type outlets struct {
	providers map[string]delivery.Provider
	senders   map[storage.Channel]string   // the first of each channel
	failover  map[storage.Channel][]string // the others, in their order
	receipts  map[string]http.Handler      // by the sender's name
	callbacks *delivery.Callbacks
}

func provisionDelivery(ctx caddy.Context, configured []*Delivery, outbox delivery.Outbox, callbacks *delivery.Callbacks) (outlets, error) {
	out := outlets{
		providers: make(map[string]delivery.Provider),
		senders:   make(map[storage.Channel]string),
		failover:  make(map[storage.Channel][]string),
		receipts:  make(map[string]http.Handler),
		callbacks: callbacks,
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
	if err := o.names().add(channel, module); err != nil {
		return err
	}
	if _, ok := o.senders[channel]; ok {
		o.failover[channel] = append(o.failover[channel], name)
	} else {
		o.senders[channel] = name
	}
	o.providers[name] = module.provider()
	h, err := module.receipts(outbox, o.callbacks)
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

// route returns the names of a channel's providers in their order.
func (o *outlets) route(channel storage.Channel) []string {
	first, ok := o.senders[channel]
	if !ok {
		return nil
	}
	return append([]string{first}, o.failover[channel]...)
}

// names returns which channels have a provider of each name.
func (o *outlets) names() senderNames {
	out := make(senderNames)
	for channel := range o.senders {
		for _, name := range o.route(channel) {
			out[name] = append(out[name], channel)
		}
	}
	return out
}

// senderNames are the channels of the providers, by name.
type senderNames map[string][]storage.Channel

// add refuses a name that is taken: it says in each notification who has it.
// Only `log` may serve both channels.
func (s senderNames) add(channel storage.Channel, m deliveryModule) error {
	name := m.senderName()
	taken := s[name]
	_, isLog := m.(*DeliveryLog)
	switch {
	case isLog && slices.Contains(taken, channel):
		return errors.New("the provider log is given twice")
	case len(taken) > 0 && !isLog:
		return fmt.Errorf("the name %q is taken by another provider: choose one with `name`", name)
	}
	s[name] = append(taken, channel)
	return nil
}

// unmarshalDelivery reads:
//
//	delivery <sms|email> <module> ...
func unmarshalDelivery(d *caddyfile.Dispenser, names senderNames) (*Delivery, error) {
	if !d.NextArg() {
		return nil, d.Err("write: delivery <sms|email> <module>")
	}
	out := &Delivery{Channel: d.Val()}
	channel := storage.Channel(out.Channel)
	if !channel.Known() {
		return nil, d.Errf("delivery %q: it must be sms or email", out.Channel)
	}
	name, v, err := unmarshalGuest(d, "signpost.delivery")
	if err != nil {
		return nil, err
	}
	if m, ok := v.(deliveryModule); ok {
		if err := names.add(channel, m); err != nil {
			return nil, d.Errf("delivery %s: %v", channel, err)
		}
	}
	out.ProviderRaw = caddyconfig.JSONModuleObject(v, "module", name, nil)
	return out, nil
}
