package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// ServiceCallback is where a service is told what became of its notifications:
// a POST for each that has reached a final state, repeated up to five times
// over half an hour until the service takes it.
type ServiceCallback struct {
	// The URL to call. It must be https; http is for this machine itself. A
	// host name may not resolve to a private, loopback or link-local address
	// unless `allow_private` has it; an address written literally may be any.
	URL string `json:"url"`

	// The token that goes into the Authorization header, by which the service
	// knows who calls. Write a placeholder, `{env.NAME}` or `{file./path}`.
	Bearer Secret `json:"bearer"`

	// Host names, addresses or CIDR ranges that may be called although they are
	// not public.
	AllowPrivate []string `json:"allow_private,omitempty"`

	target delivery.CallbackTarget
}

// provision expands the placeholders; it calls nobody. A nil callback is none.
func (c *ServiceCallback) provision(service string, logger *zap.Logger) error {
	if c == nil {
		return nil
	}
	what := "callback of service " + service
	url, err := caddy.NewReplacer().ReplaceOrErr(c.URL, true, true)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	bearer, err := c.Bearer.expand("the bearer token of the "+what, logger)
	if err != nil {
		return err
	}
	c.target = delivery.CallbackTarget{URL: url, Bearer: bearer, Outgoing: outgoing.Policy{AllowPrivate: c.AllowPrivate}}
	return nil
}

// newCallbacks makes what calls the services, those of the configuration and the
// stored ones.
func (a *App) newCallbacks() (*delivery.Callbacks, error) {
	targets := make(map[string]delivery.CallbackTarget)
	for _, s := range a.Services {
		if s.Callback != nil {
			targets[s.ID] = s.Callback.target
		}
	}
	cfg := delivery.CallbacksConfig{
		Outbox: a.handle.Backend(), Targets: targets, Stored: a.storedCallbacks,
		Now: clock, Logger: a.slogger, Observe: observeCallback,
	}
	if c := a.Dispatch.Callbacks; c != nil {
		cfg.Pause, cfg.Factor = time.Duration(c.Pause), c.Factor
		if c.Retries != nil {
			if cfg.Retries = *c.Retries; cfg.Retries == 0 {
				cfg.Retries = -1 // which means none
			}
		}
	}
	return delivery.NewCallbacks(cfg)
}

// storedCallbacks returns the callbacks of the stored services.
func (a *App) storedCallbacks(ctx context.Context) (map[string]delivery.CallbackTarget, error) {
	stored, err := a.directory.CallbackTargets(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]delivery.CallbackTarget, len(stored))
	for id, c := range stored {
		out[id] = delivery.CallbackTarget{URL: c.URL, Bearer: string(c.Bearer)}
	}
	return out, nil
}

// unmarshalServiceCallback reads:
//
//	callback <url> <bearer> {
//		allow_private <host|address|cidr>...
//	}
func unmarshalServiceCallback(d *caddyfile.Dispenser) (*ServiceCallback, error) {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return nil, d.Err("write: callback <url> <bearer>")
	}
	c := &ServiceCallback{URL: args[0], Bearer: Secret(args[1])}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "allow_private" {
			return nil, unknownOption(d, "callback", "allow_private")
		}
		if err := wordsOption(d, &c.AllowPrivate); err != nil {
			return nil, err
		}
	}
	url := c.URL
	if strings.Contains(url, "{") {
		url = "https://placeholder.invalid/"
	}
	if err := delivery.CheckCallback(delivery.CallbackTarget{URL: url, Outgoing: outgoing.Policy{AllowPrivate: c.AllowPrivate}}); err != nil {
		return nil, d.Errf("callback: %v", err)
	}
	return c, nil
}
