package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Dispatch says how notifications go from the storage to their providers.
type Dispatch struct {
	// How many sends of each channel run at once. The default is 8.
	Concurrency int `json:"concurrency,omitempty"`

	// How long after its creation a notification is tried before it ends as
	// `technical-failure`. Between two attempts lie 5 s at first, up to 5 min
	// later, or what the provider asks for by `Retry-After`, up to 1 h. The
	// default is 4h.
	RetryFor caddy.Duration `json:"retry_for,omitempty"`

	// How long a notification that a provider has taken waits for a receipt
	// before it ends as `temporary-failure`. The default is 72h.
	ReceiptTimeout caddy.Duration `json:"receipt_timeout,omitempty"`

	// How long the end of the process waits for sends that are under way. Those
	// that have not ended by then are cancelled, and tried again at the next
	// start with the same reference. The default is 10s.
	Grace caddy.Duration `json:"grace,omitempty"`

	// How long a provider's answer is waited for while its channel has another
	// one, which is then called. A provider that answers later may have taken
	// what the other one then sends too. The default is 5s.
	SlowAfter caddy.Duration `json:"slow_after,omitempty"`

	// When a provider that keeps failing is passed over.
	Breaker *Breaker `json:"breaker,omitempty"`

	// How calls to services are repeated that did not take what they were told.
	Callbacks *CallbackRetries `json:"callbacks,omitempty"`
}

// CallbackRetries says how the calls of a service's `callback` are repeated. GOV.UK
// Notify's own schedule is 5 retries, a pause of 5m and the factor 1.
type CallbackRetries struct {
	// How often a call is repeated; 0 means never. The default is 5.
	Retries *int `json:"retries,omitempty"`

	// How long the pause before the first repetition is, on average: each is
	// multiplied by a random 0.5 to 1.5. The default is 5s.
	Pause caddy.Duration `json:"pause,omitempty"`

	// By how much each further pause is longer. The default is 4: 5s, 20s, 80s,
	// 5min and 21min.
	Factor int `json:"factor,omitempty"`
}

// Breaker says when a provider that keeps failing is passed over for a while, as
// long as its channel has another one.
type Breaker struct {
	// How many failures in a row open it. The default is 5.
	Failures int `json:"failures,omitempty"`

	// How long it stays open; then one call at a time is let through. The
	// default is 30s.
	OpenFor caddy.Duration `json:"open_for,omitempty"`

	// How many such calls must succeed in a row to close it. The default is 1.
	Probes int `json:"probes,omitempty"`
}

const defaultGrace = 10 * time.Second

// unmarshal reads the block:
//
//	dispatch {
//		concurrency     <number>
//		retry_for       <duration>
//		receipt_timeout <duration>
//		grace           <duration>
//		slow_after      <duration>
//		breaker {
//			failures <number>
//			open_for <duration>
//			probes   <number>
//		}
//		callbacks {
//			retries <number>
//			pause   <duration>
//			factor  <number>
//		}
//	}
func (c *Dispatch) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "concurrency":
			err = numberOption(d, &c.Concurrency, 1, 10_000)
		case "retry_for":
			err = durationOption(d, &c.RetryFor)
		case "receipt_timeout":
			err = durationOption(d, &c.ReceiptTimeout)
		case "grace":
			err = durationOption(d, &c.Grace)
		case "slow_after":
			err = durationOption(d, &c.SlowAfter)
		case "breaker":
			if c.Breaker != nil {
				return d.Err("breaker is given twice")
			}
			c.Breaker = new(Breaker)
			err = c.Breaker.unmarshal(d)
		case "callbacks":
			if c.Callbacks != nil {
				return d.Err("callbacks is given twice")
			}
			c.Callbacks = new(CallbackRetries)
			err = c.Callbacks.unmarshal(d)
		default:
			err = unknownOption(d, "dispatch", "concurrency", "retry_for", "receipt_timeout", "grace", "slow_after", "breaker", "callbacks")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarshal reads the block of a Dispatch.
func (b *Breaker) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "failures":
			err = numberOption(d, &b.Failures, 1, 10_000)
		case "open_for":
			err = durationOption(d, &b.OpenFor)
		case "probes":
			err = numberOption(d, &b.Probes, 1, 10_000)
		default:
			err = unknownOption(d, "breaker", "failures", "open_for", "probes")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarshal reads the block of a Dispatch.
func (r *CallbackRetries) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "retries":
			if r.Retries != nil {
				return d.Err("retries is given twice")
			}
			r.Retries = new(int)
			err = numberOption(d, r.Retries, 0, 100)
		case "pause":
			err = durationOption(d, &r.Pause)
		case "factor":
			err = numberOption(d, &r.Factor, 1, 100)
		default:
			err = unknownOption(d, "callbacks", "retries", "pause", "factor")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newDispatcher checks how notifications are delivered. It starts nothing.
func (a *App) newDispatcher() (*delivery.Dispatcher, error) {
	if a.Dispatch.Concurrency < 0 {
		return nil, errors.New("dispatch: concurrency is negative")
	}
	cfg := delivery.Config{
		Outbox:         a.handle.Backend(),
		Providers:      a.outlets.providers,
		Channels:       a.outlets.senders,
		Failover:       a.outlets.failover,
		SlowAfter:      time.Duration(a.Dispatch.SlowAfter),
		Callbacks:      a.callbacks,
		Retry:          delivery.Retry{Budget: time.Duration(a.Dispatch.RetryFor)},
		ReceiptTimeout: time.Duration(a.Dispatch.ReceiptTimeout),
		ServiceName:    a.serviceName,
		Now:            clock,
		Logger:         a.slogger,
		Observe:        observeDelivery,
	}
	if b := a.Dispatch.Breaker; b != nil {
		cfg.Breaker = delivery.Breaker{Failures: b.Failures, OpenFor: time.Duration(b.OpenFor), Probes: b.Probes}
	}
	if n := a.Dispatch.Concurrency; n > 0 {
		cfg.Concurrency = map[storage.Channel]int{storage.SMS: n, storage.Email: n}
	}
	return delivery.New(cfg)
}

// running is a dispatcher that runs. It holds the storage, and the providers'
// connections, until its last send is recorded.
type running struct {
	d         *delivery.Dispatcher
	callbacks *delivery.Callbacks
	cancel    context.CancelFunc
	loops     sync.WaitGroup
	end       func()
	grace     time.Duration
	longest   time.Duration // that what is under way can take
	logger    *zap.Logger
}

func (a *App) runDispatcher() (*running, error) {
	if err := a.handle.Acquire(context.Background(), awaitTimeout); err != nil {
		return nil, err
	}
	if err := a.callbacks.Load(context.Background()); err != nil {
		// Until it succeeds, callbacks are kept for all services.
		a.logger.Warn("the callbacks of stored services are not known yet", zap.Error(err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		d: a.dispatcher, callbacks: a.callbacks, cancel: cancel, grace: time.Duration(a.Dispatch.Grace), logger: a.logger,
		// Each of a channel's providers may be called in turn, and one of them twice.
		longest: time.Duration(len(a.outlets.providers)+1)*delivery.DefaultSendTimeout + defaultGrace,
	}
	if r.grace == 0 {
		r.grace = defaultGrace
	}
	r.end = func() {
		a.outlets.close()
		_ = a.callbacks.Close() // closes idle connections, which can't fail
		a.handle.Release()
	}
	r.loops.Go(func() {
		a.awaitActive(ctx)
		if err := r.d.Run(ctx); err != nil {
			a.logger.Error("delivery ended", zap.Error(err))
		}
	})
	r.loops.Go(func() {
		a.awaitActive(ctx)
		if err := r.callbacks.Run(ctx); err != nil {
			a.logger.Error("callbacks ended", zap.Error(err))
		}
	})
	return r, nil
}

// activePoll is the pause between two looks whether the configuration runs.
const activePoll = 20 * time.Millisecond

// awaitActive returns when this app's configuration is the one that runs: apps
// start in any order, and a configuration whose other apps fail must not have
// sent anything.
func (a *App) awaitActive(ctx context.Context) {
	t := time.NewTicker(activePoll)
	defer t.Stop()
	for {
		if v, err := caddy.ActiveContext().AppIfConfigured(appID); err == nil && v == a {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// stop ends claiming and returns; when the process exits it first waits for the
// sends under way, otherwise they end in the background.
func (r *running) stop(exiting bool) error {
	r.cancel()
	r.loops.Wait()
	drain := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		err := errors.Join(r.d.Wait(ctx), r.callbacks.Wait(ctx))
		r.end()
		return err
	}
	if exiting {
		return drain(r.grace)
	}
	go func() {
		// No provider takes longer, so nothing is cut off, which would be sent
		// again.
		if err := drain(r.longest); err != nil {
			r.logger.Warn("sends of the previous configuration were cut off and will be tried again", zap.Error(err))
		}
	}()
	return nil
}

// serviceName names a service to providers.
func (a *App) serviceName(ctx context.Context, id string) string {
	s, err := a.directory.Service(ctx, id)
	if err != nil {
		return ""
	}
	return s.Name
}
