package jwks

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// document is the outcome of a load that succeeded.
type document struct {
	keys    Keys
	skipped []Skipped
	// unchanged means that the keys are those of the load before.
	unchanged bool
	// next is when to load again.
	next time.Duration
}

// pollerConfig is how a poller works. All durations are positive, but for
// stale: 0 means that keys don't age.
type pollerConfig struct {
	kind, location string
	// load fetches the document, within a bounded time; only one runs at once.
	load  func(context.Context) (document, error)
	clock func() time.Time
	stale time.Duration
	// askEvery is the shortest time between two loads for unknown key ids.
	askEvery time.Duration
	// maxWaiters is how many may wait for one load.
	maxWaiters int
	// After n failures in a row the pause is retryMin doubled n-1 times, at most
	// retryMax.
	retryMin, retryMax time.Duration
}

// poller keeps the keys of one source fresh: one goroutine does all loads, so
// there is never more than one at a time. It is the common part of [File] and
// [URL].
type poller struct {
	cfg     pollerConfig
	snap    atomic.Pointer[Snapshot]
	changed func()

	kick   chan struct{} // a flight waits to be flown
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	started  bool
	closed   bool
	flight   *flight
	asked    time.Time // start of the last load for an unknown key id
	failures int       // in a row
	status   SourceStatus
	told     State // at the last call of changed
}

// flight is one load and those who wait for it.
type flight struct {
	done    chan struct{}
	waiters int
	err     error // set before done is closed
}

func newPoller(cfg pollerConfig) *poller {
	p := &poller{cfg: cfg, kick: make(chan struct{}, 1), done: make(chan struct{})}
	p.snap.Store(&Snapshot{})
	p.status = sourceStatus(cfg.kind, cfg.location, Snapshot{})
	p.told = StateWaiting
	return p
}

// seed gives keys for the time before the first load. It is called before
// start.
func (p *poller) seed(snap Snapshot) {
	st := sourceStatus(p.cfg.kind, p.cfg.location, snap)
	p.status.KeyIDs, p.status.Skipped, p.status.UsableUntil = st.KeyIDs, st.Skipped, st.UsableUntil
	p.snap.Store(&snap)
}

// start begins the loop and waits for the first load to end.
func (p *poller) start(ctx context.Context, changed func()) error {
	p.mu.Lock()
	if p.started || p.closed {
		p.mu.Unlock()
		return errSourceReused
	}
	p.started = true
	p.changed = changed
	// The loop outlives ctx, which bounds the start only.
	loopCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	f := p.takeOff()
	p.mu.Unlock()
	go p.loop(loopCtx)

	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends the loop and whatever load it is in.
func (p *poller) close() {
	p.mu.Lock()
	started := p.started
	p.closed = true
	p.mu.Unlock()
	if started {
		p.cancel()
		<-p.done
	}
}

func (p *poller) snapshot() Snapshot { return *p.snap.Load() }

func (p *poller) describe() SourceStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.status
	st.KeyIDs = slices.Clone(st.KeyIDs)
	st.State = p.state(p.cfg.clock())
	return st
}

// state is called with the lock held.
func (p *poller) state(now time.Time) State {
	switch snap := p.snapshot(); {
	case p.status.LastAttempt.IsZero():
		return StateWaiting
	case !snap.Loaded:
		return StateAbsent
	case !snap.usable(now):
		return StateExpired
	case p.failures > 0:
		return StateFailing
	}
	return StateOK
}

// refresh is [Refresher.Refresh].
func (p *poller) refresh() (done <-chan struct{}, release func(), verdict Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started || p.closed {
		return nil, nil, Limited
	}
	if p.flight == nil {
		now := p.cfg.clock()
		if !p.asked.IsZero() && now.Sub(p.asked) < p.cfg.askEvery {
			return nil, nil, Limited
		}
		p.asked = now
		p.takeOff()
	}
	f := p.flight
	if f.waiters >= p.cfg.maxWaiters {
		return nil, nil, Crowded
	}
	f.waiters++
	return f.done, func() {
		p.mu.Lock()
		f.waiters--
		p.mu.Unlock()
	}, Joined
}

// takeOff makes the flight that the loop is to fly. The lock is held and no
// flight is on its way.
func (p *poller) takeOff() *flight {
	p.flight = &flight{done: make(chan struct{})}
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return p.flight
}

func (p *poller) loop(ctx context.Context) {
	defer close(p.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.land(context.Cause(ctx))
			return
		case <-p.kick:
		case <-timer.C:
			p.mu.Lock()
			if p.flight == nil {
				p.flight = &flight{done: make(chan struct{})}
			}
			p.mu.Unlock()
		}
		p.mu.Lock()
		flying := p.flight != nil
		p.mu.Unlock()
		if !flying {
			// The kick was for a flight that the timer's turn has flown. The
			// timer has been set again since, so it isn't touched.
			continue
		}
		doc, err := p.cfg.load(ctx)
		if ctx.Err() != nil {
			p.land(context.Cause(ctx))
			return
		}
		timer.Reset(p.settle(doc, err))
		p.land(err)
	}
}

// land ends the flight, if there is one. It comes after settle and the callback,
// so that those who waited find the new keys.
func (p *poller) land(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flight == nil {
		return
	}
	p.flight.err = err
	close(p.flight.done)
	p.flight = nil
}

// settle records the outcome of a load and returns the pause before the next.
func (p *poller) settle(doc document, err error) time.Duration {
	now := p.cfg.clock()
	p.mu.Lock()
	p.status.LastAttempt = now
	var pause time.Duration
	if err != nil {
		// What is at hand stays: an error never evicts.
		p.failures++
		p.status.Error = err.Error()
		pause = p.retryPause()
	} else {
		p.failures = 0
		p.status.Error = ""
		p.status.LastSuccess = now
		pause = doc.next
		next := p.snapshot()
		next.Loaded = true
		if !doc.unchanged {
			if !sameKeys(next.Keys, doc.keys) || p.status.LastChange.IsZero() {
				p.status.LastChange = now
			}
			next.Keys, next.Skipped = doc.keys, doc.skipped
		}
		if p.cfg.stale > 0 {
			next.Until = now.Add(p.cfg.stale)
		}
		st := sourceStatus(p.cfg.kind, p.cfg.location, next)
		p.status.KeyIDs, p.status.Skipped, p.status.UsableUntil = st.KeyIDs, st.Skipped, st.UsableUntil
		p.snap.Store(&next)
	}
	p.status.NextRefresh = now.Add(pause)
	// Keys expire between two loads, so what counts is what was told last.
	before := p.told
	p.told = p.state(now)
	other := before != p.told
	p.mu.Unlock()
	if other || (err == nil && (!doc.unchanged || p.cfg.stale > 0)) {
		p.changed()
	}
	return pause
}

// retryPause is called with the lock held.
func (p *poller) retryPause() time.Duration {
	pause := p.cfg.retryMax
	if shift := p.failures - 1; shift < 16 {
		pause = min(pause, p.cfg.retryMin<<shift)
	}
	return jitter(pause)
}

// jitter takes up to a tenth off, so that nodes that started together don't ask
// together, and a load never comes later than promised.
func jitter(d time.Duration) time.Duration {
	return d - rand.N(d/10+1) //nolint:gosec // spreads load, guards nothing
}
