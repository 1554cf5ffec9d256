package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
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
	Reassign(ctx context.Context, c storage.Claim, sender string) (queued bool, err error)
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
	DefaultSlowAfter      = 5 * time.Second
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
	// Failover names further providers of a channel. When the one in Channels
	// fails, they are called at once, in this order: after a 5xx answer, a
	// refused connection, any other failure that isn't a refusal for good, and
	// when no answer comes within SlowAfter. Who takes the notification becomes
	// its sender.
	Failover map[storage.Channel][]string
	// SlowAfter is how long an answer is waited for while another provider is
	// at hand; default 5 s. A provider that answers later may have taken the
	// notification that the other one then sends too.
	SlowAfter time.Duration
	// Breaker says when a failing provider is passed over.
	Breaker Breaker
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

	// Callbacks, unless nil, are told to services whose notifications become
	// final. They are run by their owner.
	Callbacks *Callbacks
	// ServiceName looks up Message.ServiceName; optional. It is
	// called concurrently and must be fast.
	ServiceName func(ctx context.Context, serviceID string) string
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Observe hears of each call to a provider; optional. It is called concurrently and
	// must be fast.
	Observe func(Event)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Lease, DefaultLease)
	setDefault(&c.SendTimeout, DefaultSendTimeout)
	setDefault(&c.SlowAfter, DefaultSlowAfter)
	setDefault(&c.Poll, DefaultPoll)
	setDefault(&c.ReceiptTimeout, DefaultReceiptTimeout)
	setDefault(&c.SweepInterval, DefaultSweepInterval)
	c.Retry = c.Retry.withDefaults()
	c.Breaker = c.Breaker.withDefaults()
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
	if c.Lease < 0 || c.SendTimeout < 0 || c.SlowAfter < 0 || c.Poll < 0 {
		return errors.New("delivery: lease, send time-out, slow threshold and poll interval must not be negative")
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
	if err := c.validateFailover(); err != nil {
		return err
	}
	for channel, n := range c.Concurrency {
		if n < 1 {
			return fmt.Errorf("delivery: the concurrency of %s is %d, it must be at least 1", channel, n)
		}
	}
	return errors.Join(c.Retry.validate(), c.Breaker.validate())
}

func (c Config) validateFailover() error {
	for channel, names := range c.Failover {
		first, ok := c.Channels[channel]
		if !ok && len(names) > 0 {
			return fmt.Errorf("delivery: the channel %q has providers to fail over to, but no first one", channel)
		}
		seen := map[string]bool{first: true}
		for _, name := range names {
			if _, ok := c.Providers[name]; !ok {
				return fmt.Errorf("delivery: the channel %s names the provider %q, which is not configured", channel, name)
			}
			if seen[name] {
				return fmt.Errorf("delivery: the channel %s names the provider %q twice", channel, name)
			}
			seen[name] = true
		}
	}
	return nil
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

	routes   map[storage.Channel][]string
	breakers map[string]*breaker // by provider

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

		routes:   make(map[storage.Channel][]string),
		breakers: make(map[string]*breaker),
	}
	for channel, first := range cfg.Channels {
		d.routes[channel] = append([]string{first}, cfg.Failover[channel]...)
	}
	for name := range cfg.Providers {
		d.breakers[name] = newBreaker(cfg.Breaker, cfg.Now, func(to BreakerState) { d.breakerChanged(name, to) })
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
	return await(ctx, d.idle, d.abort, func() error { return fmt.Errorf("delivery: %d sends did not end", d.inFlight()) })
}

// await returns when idle is closed. When ctx ends before, it aborts what runs,
// and then says what did not end even so.
func await(ctx context.Context, idle <-chan struct{}, abort context.CancelCauseFunc, left func() error) error {
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	abort(errStopped)
	t := time.NewTimer(afterAbort)
	defer t.Stop()
	select {
	case <-idle:
		return nil
	case <-t.C:
		return fmt.Errorf("%w: %w", left(), context.Cause(ctx))
	}
}

// Stats describes the queue and this dispatcher's part in it.
type Stats struct {
	storage.Stats
	InFlight  int             // sends of this dispatcher that run now
	Providers []ProviderStats // by name
}

// Stats asks the outbox.
func (d *Dispatcher) Stats(ctx context.Context) (Stats, error) {
	s, err := d.cfg.Outbox.Stats(ctx)
	return Stats{Stats: s, InFlight: d.inFlight(), Providers: d.Providers()}, err
}

// Providers describes the providers, by name, without asking the outbox.
func (d *Dispatcher) Providers() []ProviderStats {
	out := make([]ProviderStats, 0, len(d.breakers))
	for _, name := range slices.Sorted(maps.Keys(d.breakers)) {
		out = append(out, d.breakers[name].stats(name))
	}
	return out
}

func (d *Dispatcher) breakerChanged(provider string, to BreakerState) {
	if to == BreakerOpen {
		d.cfg.Logger.Error("a delivery provider keeps failing; others are preferred, if there are any",
			slog.String("provider", provider), slog.Duration("for", d.cfg.Breaker.OpenFor))
		return
	}
	d.cfg.Logger.Info("a delivery provider works again", slog.String("provider", provider))
}

func (d *Dispatcher) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.byID)
}
