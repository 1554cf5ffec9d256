package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Outbox is what the dispatcher needs of a storage.Backend, where the methods
// are described.
type Outbox interface {
	Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error)
	Renew(ctx context.Context, c storage.Claim, until time.Time) error
	Complete(ctx context.Context, c storage.Claim, o storage.Outcome) error
	Receipt(ctx context.Context, r storage.Receipt) (n storage.Notification, changed bool, err error)
	Wake() <-chan struct{}
	NextDue(ctx context.Context, channel storage.Channel) (time.Time, error)
	Stats(ctx context.Context) (storage.Stats, error)
	Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error)
}

// Defaults of Config.
const (
	DefaultConcurrency    = 8
	DefaultLease          = 30 * time.Second
	DefaultSendTimeout    = time.Minute
	DefaultPoll           = 5 * time.Second
	DefaultReceiptTimeout = 72 * time.Hour
	DefaultSweepInterval  = time.Minute
)

// Config configures a Dispatcher.
type Config struct {
	// Outbox is required.
	Outbox Outbox
	// Providers by configured name: what Notification.Sender says. One name
	// stands for one account, as receipts are matched by it.
	Providers map[string]Provider
	// Channels names the provider that new notifications of a channel are to
	// carry as their sender; each must be in Providers. Queued notifications
	// go to the sender that they carry, whatever their channel's entry.
	Channels map[storage.Channel]string
	// Concurrency is how many sends of a channel run at once; a channel
	// without an entry has DefaultConcurrency.
	Concurrency map[storage.Channel]int

	// Lease is how long a claimed notification is kept from other workers
	// after the last sign of life; default 30 s. It is renewed while a send
	// runs, and must be longer than any provider's own time-out, so that a
	// storage outage during a send doesn't make a twin.
	Lease time.Duration
	// SendTimeout ends a send of a provider without a time-out of its own;
	// default 1 min.
	SendTimeout time.Duration
	Retry       Retry
	// Poll is the longest time between two looks at the queue; default 5 s.
	// Creations in this process wake the dispatcher at once.
	Poll time.Duration

	// ReceiptTimeout is how long a sent notification waits for its receipt
	// before it becomes storage.StatusTemporaryFailure; default 72 h, negative
	// means for ever.
	ReceiptTimeout time.Duration
	// SweepInterval is the pause between two sweeps of expired rows; default
	// 1 min, negative means that this dispatcher never sweeps.
	SweepInterval time.Duration

	// ServiceName looks up Message.ServiceName; optional. It is
	// called concurrently and must be fast.
	ServiceName func(ctx context.Context, serviceID string) string
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Observe hears of each attempt; optional. It is called concurrently and
	// must be fast.
	Observe func(Event)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Lease, DefaultLease)
	setDefault(&c.SendTimeout, DefaultSendTimeout)
	setDefault(&c.Poll, DefaultPoll)
	setDefault(&c.ReceiptTimeout, DefaultReceiptTimeout)
	setDefault(&c.SweepInterval, DefaultSweepInterval)
	c.Retry = c.Retry.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	if c.ServiceName == nil {
		c.ServiceName = func(context.Context, string) string { return "" }
	}
	return c
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

func (c Config) validate() error {
	if c.Outbox == nil {
		return errors.New("delivery: no outbox given")
	}
	if c.Lease < 0 || c.SendTimeout < 0 || c.Poll < 0 {
		return errors.New("delivery: lease, send time-out and poll interval must not be negative")
	}
	for name, p := range c.Providers {
		switch {
		case name == "":
			return errors.New("delivery: a provider has no name")
		case name == Simulated || name == UnknownProvider:
			return fmt.Errorf("delivery: the provider name %q is reserved, choose another", name)
		case p == nil:
			return fmt.Errorf("delivery: the provider %q is nil", name)
		}
		if t, ok := p.(interface{ Timeout() time.Duration }); ok && t.Timeout() >= c.Lease {
			return fmt.Errorf("delivery: the time-out of provider %q (%s) must be shorter than the lease (%s): lower the one or raise the other",
				name, t.Timeout(), c.Lease)
		}
	}
	for channel, name := range c.Channels {
		if !channel.Known() {
			return fmt.Errorf("delivery: unknown channel %q, known are sms and email", channel)
		}
		if _, ok := c.Providers[name]; !ok {
			return fmt.Errorf("delivery: the channel %s names the provider %q, which is not configured", channel, name)
		}
	}
	for channel, n := range c.Concurrency {
		if n < 1 {
			return fmt.Errorf("delivery: the concurrency of %s is %d, it must be at least 1", channel, n)
		}
	}
	return c.Retry.validate()
}

// Dispatcher moves notifications from the outbox to their providers.
//
// Its life: Run claims and sends until its context ends; Wait then waits for
// the sends in flight. For a reload, call Wait in the background and release
// what the providers need afterwards; for an exit, call it with the grace
// period.
type Dispatcher struct {
	cfg    Config
	lanes  []*lane
	reads  storageState
	writes storageState
	random func() float64

	started atomic.Bool
	idle    chan struct{} // closed when Run has returned and nothing is in flight

	sends context.Context // the life of all sends, ended by Wait
	abort context.CancelCauseFunc

	flying sync.WaitGroup
	mu     sync.Mutex
	byID   map[int64]*flight

	missing sync.Map // senders without a provider that have been logged
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Dispatcher, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Dispatcher{
		cfg:    cfg,
		reads:  storageState{logger: cfg.Logger, what: "read"},
		writes: storageState{logger: cfg.Logger, what: "write"},
		random: rand.Float64, //nolint:gosec // G404: it spreads retries and guards nothing
		idle:   make(chan struct{}),
		byID:   make(map[int64]*flight),
	}
	d.sends, d.abort = context.WithCancelCause(context.Background())
	// Every channel has its lane, configured or not: queued notifications of a
	// channel that has lost its provider must not be forgotten in silence.
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		n := cfg.Concurrency[channel]
		if n == 0 {
			n = DefaultConcurrency
		}
		d.lanes = append(d.lanes, newLane(channel, n))
	}
	return d, nil
}

// Run claims and sends, and sweeps, until ctx ends. It returns as soon as
// claiming has stopped; sends in flight go on, see Wait. Storage failures
// don't end it. It can be called once.
func (d *Dispatcher) Run(ctx context.Context) error {
	if !d.started.CompareAndSwap(false, true) {
		return errors.New("delivery: a dispatcher runs once; make a new one")
	}
	var loops sync.WaitGroup
	for _, l := range d.lanes {
		loops.Go(func() { d.pull(ctx, l) })
	}
	loops.Go(func() { d.spreadWake(ctx) })
	if d.cfg.SweepInterval > 0 {
		loops.Go(func() { d.sweep(ctx) })
	}
	loops.Wait()
	go func() {
		d.flying.Wait()
		close(d.idle)
	}()
	return nil
}

// errStopped is the cause with which Wait ends sends.
var errStopped = errors.New("delivery: stopped")

// afterAbort is how long Wait gives cancelled sends to record their end.
const afterAbort = 2 * time.Second

// Wait returns when Run has returned and the sends in flight have ended and
// are recorded. When ctx ends before, it cancels them, so that they are queued
// again, and reports how many did not end even then; their leases run out by
// themselves.
func (d *Dispatcher) Wait(ctx context.Context) error {
	if !d.started.Load() {
		return nil
	}
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
	}
	d.abort(errStopped)
	t := time.NewTimer(afterAbort)
	defer t.Stop()
	select {
	case <-d.idle:
		return nil
	case <-t.C:
		return fmt.Errorf("delivery: %d sends did not end: %w", d.inFlight(), context.Cause(ctx))
	}
}

// Stats describes the queue and this dispatcher's part in it.
type Stats struct {
	storage.Stats
	InFlight int // sends of this dispatcher that run now
}

// Stats asks the outbox.
func (d *Dispatcher) Stats(ctx context.Context) (Stats, error) {
	s, err := d.cfg.Outbox.Stats(ctx)
	return Stats{Stats: s, InFlight: d.inFlight()}, err
}

func (d *Dispatcher) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.byID)
}
