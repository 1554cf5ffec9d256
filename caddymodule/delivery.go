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

// A deliveryModule may have more of these.
type (
	// emailSender knows the address that its emails are from, empty when that is
	// not its own affair.
	emailSender interface{ emailFrom() string }
	// oneChannel serves one channel only.
	oneChannel interface{ channel() storage.Channel }
	// receiver returns what takes the text messages that the provider has
	// received, nil when it posts none.
	receiver interface {
		inbound(cfg delivery.InboundConfig) (http.Handler, error)
	}
)

// outlets is the delivery of a configuration, ready to use.
type outlets struct {
	providers map[string]delivery.Provider
	senders   map[storage.Channel]string   // the first of each channel
	failover  map[storage.Channel][]string // the others, in their order
	receipts  map[string]http.Handler      // by the sender's name
	inbound   map[string]http.Handler      // likewise
	emailFrom string                       // of the first email provider that has one
}

// provisionDelivery makes the providers, and what takes their posts.
func (a *App) provisionDelivery(ctx caddy.Context) (outlets, error) {
	out := outlets{
		providers: make(map[string]delivery.Provider),
		senders:   make(map[storage.Channel]string),
		failover:  make(map[storage.Channel][]string),
		receipts:  make(map[string]http.Handler),
		inbound:   make(map[string]http.Handler),
	}
	for _, d := range a.Delivery {
		if err := out.add(ctx, d, a); err != nil {
			return out, fmt.Errorf("delivery %s: %w", d.Channel, err)
		}
	}
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		if _, ok := out.senders[channel]; ok {
			continue
		}
		if err := out.add(ctx, &Delivery{Channel: string(channel)}, a); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (o *outlets) add(ctx caddy.Context, d *Delivery, a *App) error {
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
	if e, ok := module.(emailSender); ok && channel == storage.Email && o.emailFrom == "" {
		o.emailFrom = e.emailFrom()
	}
	h, err := module.receipts(a.handle.Backend(), a.callbacks)
	if err != nil {
		return err
	}
	if h != nil {
		o.receipts[name] = h
	}
	r, ok := module.(receiver)
	if !ok {
		return nil
	}
	h, err = r.inbound(delivery.InboundConfig{
		Store: a.handle.Backend(), ServiceOf: a.directory.ServiceOfNumber, Now: clock,
	})
	if h != nil && err == nil {
		o.inbound[name] = h
	}
	return err
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

// add refuses a channel that the provider is not for, and a name that is taken:
// it says in each notification who has it. Only `log` may serve both channels.
func (s senderNames) add(channel storage.Channel, m deliveryModule) error {
	name := m.senderName()
	taken := s[name]
	_, isLog := m.(*DeliveryLog)
	only, isOne := m.(oneChannel)
	switch {
	case isOne && only.channel() != channel:
		return fmt.Errorf("the provider is for the channel %s only", only.channel())
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
