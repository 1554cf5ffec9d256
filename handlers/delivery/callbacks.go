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

	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// CallbackOutbox is what Callbacks need of a storage.Backend, where the methods
// are described.
type CallbackOutbox interface {
	ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) ([]storage.CallbackClaim, error)
	CompleteCallback(ctx context.Context, c storage.CallbackClaim, next time.Time) error
	NextCallbacks(ctx context.Context, services []string) (map[string]time.Time, error)
}

// CallbackTarget is where a service is told what became of its notifications.
type CallbackTarget struct {
	// URL is called by POST. It must be https; http is for this machine itself
	// (localhost, 127.0.0.1, [::1]).
	URL string
	// Bearer goes into the Authorization header. It is required, and is never
	// logged.
	Bearer string
	// Outgoing says what may be called. AllowHTTP has no meaning here.
	Outgoing outgoing.Policy
}

// Defaults of CallbacksConfig.
const (
	DefaultCallbackConcurrency = 4
	DefaultCallbackTimeout     = 5 * time.Second
	DefaultCallbackRetries     = 5
	DefaultCallbackPause       = 5 * time.Second
	DefaultCallbackFactor      = 4
)

// CallbacksConfig configures Callbacks.
type CallbacksConfig struct {
	// Outbox is required.
	Outbox CallbackOutbox
	// Targets by service id. Services without one here or in Stored get no
	// callbacks.
	Targets map[string]CallbackTarget
	// Stored returns further targets by service id, which may change at any time;
	// optional. It is asked at each Poll and, at most once a second, when a
	// notification has become final whose service has no target. While it fails,
	// the targets that it returned last stay. One that can't be meant is logged
	// and passed over; those in Targets go before.
	Stored func(ctx context.Context) (map[string]CallbackTarget, error)
	// Concurrency is how many calls to one service run at once; default 4.
	Concurrency int
	// Timeout bounds a call, from resolution to the end of the answer; default
	// 5 s. It must be shorter than half the Lease.
	Timeout time.Duration
	// Retries is how often a failed call is repeated; default 5, negative means
	// never.
	Retries int
	// Pause is the mean pause before the first repetition; default 5 s. All pauses
	// are spread by a random factor of 0.5 to 1.5.
	Pause time.Duration
	// Factor is by how much each further pause is longer; default 4: 5 s, 20 s,
	// 80 s, 5 min, 21 min, half an hour in all. A Pause of 5 min with Factor 1 is
	// the schedule of GOV.UK Notify.
	Factor int
	// Lease is how long a claimed callback is kept from other workers; default
	// 30 s.
	Lease time.Duration
	// Poll is the longest time between two looks at the queue; default 5 s.
	// What becomes final in this process is told at once.
	Poll time.Duration
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Observe hears of each call; optional. It is called concurrently and must
	// be fast.
	Observe func(CallbackEvent)
}

// CallbackResult names what became of a callback.
type CallbackResult string

// The results. They are safe as labels of metrics.
const (
	CallbackDone      CallbackResult = "done"       // the service has taken it
	CallbackRetry     CallbackResult = "retry"      // failed, another call will follow
	CallbackRefused   CallbackResult = "refused"    // refused for good, and dropped
	CallbackGaveUp    CallbackResult = "gave_up"    // failed too often, and dropped
	CallbackReturned  CallbackResult = "returned"   // given back because the process stops
	CallbackLeaseLost CallbackResult = "lease_lost" // another worker has it now, or it is owed no more
)

// CallbackEvent describes one call to a service.
type CallbackEvent struct {
	ServiceID string
	Result    CallbackResult
	Duration  time.Duration // 0 without a call
}

// Callbacks tell services what became of their notifications: one POST for each
// that has reached a final state, with a JSON object of id (the UUID),
// reference, to, status, created_at, completed_at, sent_at, notification_type,
// template_id and template_version, as GOV.UK Notify has it: to is the recipient
// as the client wrote it, template_id a UUID. A reference and a sent_at that
// don't exist are null.
//
// Any 2xx answer means that the service has taken it. A broken connection, a
// time-out, 429, 5xx and 3xx (redirects are not followed) are repeated later,
// after Retry-After if the answer has one; other 4xx answers end the callback.
// So does the last repetition, and a day. Like notifications, callbacks are
// durable and told at least once; their order is not that of the events. Each
// service has its own calls, so that one that doesn't answer holds up nobody
// else.
//
// The life of Callbacks is that of a Dispatcher: Run, then Wait; then Close.
type Callbacks struct {
	cfg     CallbacksConfig
	targets targets
	state   storageState
	random  func() float64

	started atomic.Bool
	idle    chan struct{}
	calls   context.Context
	abort   context.CancelCauseFunc
	flying  sync.WaitGroup

	wake   chan struct{}
	mu     sync.Mutex
	marked map[string]bool // services that may have something due
	busy   map[string]int  // calls under way by service
}

// NewCallbacks checks the configuration. It starts nothing and calls nobody.
func NewCallbacks(cfg CallbacksConfig) (*Callbacks, error) {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultCallbackConcurrency
	}
	if cfg.Retries == 0 {
		cfg.Retries = DefaultCallbackRetries
	}
	setDefault(&cfg.Timeout, DefaultCallbackTimeout)
	setDefault(&cfg.Pause, DefaultCallbackPause)
	setDefault(&cfg.Lease, DefaultLease)
	setDefault(&cfg.Poll, DefaultPoll)
	if cfg.Factor == 0 {
		cfg.Factor = DefaultCallbackFactor
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(CallbackEvent) {}
	}
	switch {
	case cfg.Outbox == nil:
		return nil, errors.New("delivery: callbacks need an outbox")
	case cfg.Concurrency < 0, cfg.Timeout < 0, cfg.Pause < 0, cfg.Factor < 0, cfg.Lease < 0, cfg.Poll < 0:
		return nil, errors.New("delivery: the numbers and times of callbacks must not be negative")
	case 2*cfg.Timeout > cfg.Lease:
		return nil, fmt.Errorf("delivery: the time-out of callbacks (%s) must be at most half the lease (%s)", cfg.Timeout, cfg.Lease)
	}
	c := &Callbacks{
		cfg:    cfg,
		state:  storageState{logger: cfg.Logger, what: "callbacks"},
		random: rand.Float64, //nolint:gosec // G404: it spreads retries and guards nothing
		idle:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
		marked: make(map[string]bool),
		busy:   make(map[string]int),
	}
	if err := c.targets.configure(cfg); err != nil {
		return nil, err
	}
	c.calls, c.abort = context.WithCancelCause(context.Background())
	return c, nil
}

// Wait is like that of a Dispatcher: it returns when Run has returned and the
// calls under way have ended and are recorded, and cancels them when ctx ends
// before.
func (c *Callbacks) Wait(ctx context.Context) error {
	if !c.started.Load() {
		return nil
	}
	return await(ctx, c.idle, c.abort, func() error { return errors.New("delivery: callbacks did not end") })
}

// Close closes the connections that are idle. Call it when nothing runs.
func (c *Callbacks) Close() error {
	c.targets.close()
	return nil
}
