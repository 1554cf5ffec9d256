package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// mishap is how one attempt goes.
type mishap struct {
	takes time.Duration
	err   error
	panic bool
}

// Whatever providers and storage do, with two dispatchers at work and
// reloads in between: every notification comes to its end, is accepted once
// only, and is never given to two workers at a time.
func TestEveryNotificationComesToItsEnd(t *testing.T) {
	mishaps := rapid.Custom(func(t *rapid.T) mishap {
		m := mishap{takes: time.Duration(rapid.IntRange(0, 90_000).Draw(t, "takes")) * time.Millisecond}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			m.err = errors.New("foreign")
		case 1:
			m.err = &SendError{Reason: "busy", RetryAfter: time.Duration(rapid.IntRange(0, 100).Draw(t, "after")) * time.Second}
		case 2:
			m.err = &SendError{Reason: "no", Permanent: true}
		case 3:
			m.panic = true
		}
		return m
	})
	rapid.Check(t, func(rt *rapid.T) {
		lives := rapid.SliceOfN(rapid.SliceOfN(mishaps, 0, 5), 1, 10).Draw(rt, "lives")
		outages := rapid.SliceOfN(rapid.IntRange(1, 120), 0, 4).Draw(rt, "outages")
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = live(t, lives, outages) })
		for _, fault := range faults {
			rt.Error(fault)
		}
	})
}

// live plays the lives of some notifications and says what went wrong.
func live(t *testing.T, lives [][]mishap, outages []int) (faults []string) {
	b := newBench(t)
	w := &world{lives: map[string][]mishap{}, attempts: map[string]int{}, accepted: map[string]int{}, running: map[string]bool{}}
	var all []storage.Notification
	for _, life := range lives {
		n := b.create("fake")
		w.lives[n.UUID.String()] = life
		all = append(all, n)
	}
	o := &hookedOutbox{Outbox: b.store, claim: w.fault, complete: w.fault}
	few := func(c *Config) { c.Concurrency = map[storage.Channel]int{storage.SMS: 2} }
	stops := []func(){b.run(b.dispatcher(o, w, few)), b.run(b.dispatcher(o, w, few))}
	for _, seconds := range outages {
		time.Sleep(time.Duration(seconds) * time.Second)
		w.setDown(true)
		// Shorter than what is left of any lease: after longer outages the
		// other dispatcher may lawfully send once more.
		time.Sleep(time.Duration(seconds) * time.Second / 10)
		w.setDown(false)
		old := stops[0] // a reload: the new one starts before the old one stops
		stops = append(stops[1:], b.run(b.dispatcher(o, w, few)))
		old()
	}
	time.Sleep(40 * time.Minute)
	for _, stop := range stops {
		stop()
	}
	for _, n := range all {
		n = b.get(n.ID)
		life := w.lives[n.UUID.String()]
		want := fate(life)
		if n.Status != want {
			faults = append(faults, fmt.Sprintf("%v: %s, want %s (%s)", life, n.Status, want, n.Reason))
		}
		if a := w.accepted[n.UUID.String()]; (want == storage.StatusDelivered) != (a == 1) {
			faults = append(faults, fmt.Sprintf("%v: accepted %d times", life, a))
		}
	}
	if w.twins != "" {
		faults = append(faults, w.twins)
	}
	return faults
}

// fate is how a notification must end.
func fate(life []mishap) storage.Status {
	for _, m := range life {
		var failure *SendError
		switch {
		case m.takes >= DefaultSendTimeout || m.panic: // another attempt
		case m.err == nil:
			return storage.StatusDelivered
		case errors.As(m.err, &failure) && failure.Permanent:
			return storage.StatusPermanentFailure
		}
	}
	return storage.StatusDelivered
}

// world plays provider and storage.
type world struct {
	mu       sync.Mutex
	lives    map[string][]mishap // by reference; after their mishaps all goes well
	attempts map[string]int
	accepted map[string]int
	running  map[string]bool
	twins    string
	down     bool
}

func (w *world) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

func (w *world) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return storage.Unavailable("test", errors.New("away"))
	}
	return nil
}

func (w *world) Send(ctx context.Context, m Message) (Sent, error) {
	w.mu.Lock()
	if w.running[m.Reference] {
		w.twins = fmt.Sprintf("%s is sent by two workers at once", m.Reference)
	}
	w.running[m.Reference] = true
	var step mishap
	if i := w.attempts[m.Reference]; i < len(w.lives[m.Reference]) {
		step = w.lives[m.Reference][i]
	}
	w.attempts[m.Reference]++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running[m.Reference] = false
	}()
	select {
	case <-time.After(step.takes):
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	}
	if step.panic {
		panic("poison")
	}
	if step.err != nil {
		return Sent{}, step.err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[m.Reference]++
	return Sent{Delivered: true}, nil
}
