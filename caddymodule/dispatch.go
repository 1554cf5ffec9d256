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
	// `technical-failure`. The default is 4h.
	RetryFor caddy.Duration `json:"retry_for,omitempty"`

	// How long a notification that a provider has taken waits for a receipt
	// before it ends as `temporary-failure`. The default is 72h.
	ReceiptTimeout caddy.Duration `json:"receipt_timeout,omitempty"`

	// How long the end of the process waits for sends that are under way; they
	// are tried again at the next start. The default is 10s.
	Grace caddy.Duration `json:"grace,omitempty"`
}

const defaultGrace = 10 * time.Second

// unmarshal reads the block:
//
//	dispatch {
//		concurrency     <number>
//		retry_for       <duration>
//		receipt_timeout <duration>
//		grace           <duration>
//	}
func (c *Dispatch) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "concurrency":
			var n int64
			err = countOption(d, &n)
			if err == nil && (n < 1 || n > 10_000) {
				err = d.Errf("concurrency %d: it must be between 1 and 10000", n)
			}
			c.Concurrency = int(n)
		case "retry_for":
			err = durationOption(d, &c.RetryFor)
		case "receipt_timeout":
			err = durationOption(d, &c.ReceiptTimeout)
		case "grace":
			err = durationOption(d, &c.Grace)
		default:
			err = unknownOption(d, "dispatch", "concurrency", "retry_for", "receipt_timeout", "grace")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dispatcher is a running delivery.Dispatcher. It holds the storage, and the
// providers' connections, until its last send is recorded.
type dispatcher struct {
	d      *delivery.Dispatcher
	cancel context.CancelFunc
	loops  sync.WaitGroup
	end    func()
	grace  time.Duration
	logger *zap.Logger
}

func (a *App) startDispatcher() (*dispatcher, error) {
	if a.Dispatch.Concurrency < 0 {
		return nil, errors.New("dispatch: concurrency is negative")
	}
	cfg := delivery.Config{
		Outbox:         a.handle.Backend(),
		Providers:      a.outlets.providers,
		Channels:       a.outlets.senders,
		Retry:          delivery.Retry{Budget: time.Duration(a.Dispatch.RetryFor)},
		ReceiptTimeout: time.Duration(a.Dispatch.ReceiptTimeout),
		ServiceName:    a.serviceName,
		Now:            clock,
		Logger:         a.slogger,
		Observe:        observeDelivery,
	}
	if n := a.Dispatch.Concurrency; n > 0 {
		cfg.Concurrency = map[storage.Channel]int{storage.SMS: n, storage.Email: n}
	}
	d, err := delivery.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := a.handle.Acquire(context.Background(), awaitTimeout); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &dispatcher{d: d, cancel: cancel, grace: time.Duration(a.Dispatch.Grace), logger: a.logger}
	if r.grace == 0 {
		r.grace = defaultGrace
	}
	r.end = func() {
		a.outlets.close()
		a.handle.Release()
	}
	r.loops.Go(func() {
		if err := d.Run(ctx); err != nil {
			a.logger.Error("delivery ended", zap.Error(err))
		}
	})
	return r, nil
}

// stop ends claiming and returns; when the process exits it first waits for the
// sends under way, otherwise they end in the background.
func (r *dispatcher) stop(exiting bool) error {
	r.cancel()
	r.loops.Wait()
	drain := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), r.grace)
		defer cancel()
		err := r.d.Wait(ctx)
		r.end()
		return err
	}
	if exiting {
		return drain()
	}
	go func() {
		if err := drain(); err != nil {
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
