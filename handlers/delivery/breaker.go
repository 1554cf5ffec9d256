package delivery

import (
	"errors"
	"sync"
	"time"
)

// Breaker is the policy by which a provider that keeps failing is passed over
// for a while, as long as its channel has another one. The zero value means the
// defaults.
//
// Each provider has a breaker of its own in each process, which starts closed.
// Failures in a row open it; after OpenFor it is half open and lets one call
// pass at a time; Probes successes close it, a failure opens it again. Refusals
// for good are successes here, since the provider does its work. When the
// breakers of all providers of a channel are open, they are called as if all
// were closed: a notification is never held back for a breaker's sake.
type Breaker struct {
	// Failures in a row that open the breaker; default 5.
	Failures int
	// OpenFor is how long it stays open; default 30 s.
	OpenFor time.Duration
	// Probes is how many calls must succeed in a row to close it; default 1.
	Probes int
}

// BreakerState is the state of a provider's breaker.
type BreakerState string

// The states. They are safe as labels of metrics.
const (
	BreakerClosed   BreakerState = "closed"
	BreakerOpen     BreakerState = "open"
	BreakerHalfOpen BreakerState = "half-open"
)

func (p Breaker) withDefaults() Breaker {
	if p.Failures == 0 {
		p.Failures = 5
	}
	if p.OpenFor == 0 {
		p.OpenFor = 30 * time.Second
	}
	if p.Probes == 0 {
		p.Probes = 1
	}
	return p
}

func (p Breaker) validate() error {
	if p.Failures < 0 || p.OpenFor < 0 || p.Probes < 0 {
		return errors.New("delivery: the numbers and times of the breaker must not be negative")
	}
	return nil
}

// breaker is one provider's.
type breaker struct {
	policy  Breaker
	now     func() time.Time
	changed func(to BreakerState) // called without the lock

	mu         sync.Mutex
	open       bool // or half open, once OpenFor is over
	since      time.Time
	failures   int // in a row
	successes  int // in a row, since it was opened
	probing    bool
	generation int // counts changes: reports of calls from before one don't count
}

// pass permits one call, whose end must be reported.
type pass struct {
	generation int
	probe      bool
}

func newBreaker(p Breaker, now func() time.Time, changed func(BreakerState)) *breaker {
	return &breaker{policy: p, now: now, changed: changed, since: now()}
}

// ready reports whether allow would permit a call.
func (b *breaker) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.permits()
}

func (b *breaker) permits() bool {
	return b.state() == BreakerClosed || b.state() == BreakerHalfOpen && !b.probing
}

func (b *breaker) state() BreakerState {
	switch {
	case !b.open:
		return BreakerClosed
	case b.now().Sub(b.since) < b.policy.OpenFor:
		return BreakerOpen
	}
	return BreakerHalfOpen
}

// allow permits a call, or doesn't.
func (b *breaker) allow() (p pass, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.permits() {
		return p, false
	}
	b.probing = b.open
	return pass{b.generation, b.open}, true
}

// force permits a call whatever the state.
func (b *breaker) force() pass {
	b.mu.Lock()
	defer b.mu.Unlock()
	return pass{generation: b.generation}
}

// verdict is what a call says about its provider.
type verdict int

const (
	noVerdict verdict = iota // the call was ended from this side
	works
	fails
)

// report ends a permitted call.
func (b *breaker) report(p pass, v verdict) {
	b.mu.Lock()
	was := b.open
	b.apply(p, v)
	is := b.open
	b.mu.Unlock()
	switch {
	case is && !was:
		b.changed(BreakerOpen)
	case was && !is:
		b.changed(BreakerClosed)
	}
}

func (b *breaker) apply(p pass, v verdict) {
	if p.generation != b.generation {
		return
	}
	if p.probe {
		b.probing = false
	}
	switch v {
	case works:
		b.failures = 0
		if b.successes++; b.open && b.successes >= b.policy.Probes {
			b.turn(false)
		}
	case fails:
		b.failures++
		b.successes = 0
		if !b.open && b.failures >= b.policy.Failures || b.state() == BreakerHalfOpen {
			b.turn(true)
		}
	case noVerdict:
	}
}

// turn opens, also anew, or closes.
func (b *breaker) turn(open bool) {
	b.open, b.since = open, b.now()
	b.successes, b.probing = 0, false
	b.generation++
}

// ProviderStats describes a provider as this process sees it.
type ProviderStats struct {
	Name     string
	State    BreakerState
	Failures int       // in a row
	Since    time.Time // when its breaker was last opened or closed
}

func (b *breaker) stats(name string) ProviderStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ProviderStats{Name: name, State: b.state(), Failures: b.failures, Since: b.since}
}
