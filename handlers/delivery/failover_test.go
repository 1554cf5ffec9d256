package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// gateway is a provider whose behaviour a test sets.
type gateway struct {
	name string
	log  *callLog

	mu   sync.Mutex
	does func(ctx context.Context, m Message) (Sent, error)
}

// callLog is who was called, in order.
type callLog struct {
	mu    sync.Mutex
	calls []string
	refs  map[string]int
}

func (l *callLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := strings.Join(l.calls, " ")
	l.calls = nil
	return out
}

func (g *gateway) Send(ctx context.Context, m Message) (Sent, error) {
	g.log.mu.Lock()
	g.log.calls = append(g.log.calls, g.name)
	g.log.refs[m.Reference]++
	g.log.mu.Unlock()
	g.mu.Lock()
	does := g.does
	g.mu.Unlock()
	if m.Sender != g.name {
		return Sent{}, fmt.Errorf("the message says %q", m.Sender)
	}
	return does(ctx, m)
}

func (g *gateway) set(does func(context.Context, Message) (Sent, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.does = does
}

func takes(context.Context, Message) (Sent, error) { return Sent{Reference: "theirs"}, nil }

func answers(err error) func(context.Context, Message) (Sent, error) {
	return func(context.Context, Message) (Sent, error) { return Sent{}, err }
}

func hangs(ctx context.Context, _ Message) (Sent, error) {
	<-ctx.Done()
	return Sent{}, &SendError{Reason: "no answer", Uncertain: true, Err: ctx.Err()}
}

var (
	errBusy = &SendError{Reason: "the provider answered 503"}
	errLost = &SendError{Reason: "the connection broke before an answer came", Uncertain: true}
)

// trio is a channel with the providers a, b and c, in this order.
type trio struct {
	*bench
	log     *callLog
	a, b, c *gateway
	events  chan Event
	d       *Dispatcher
}

func newTrio(t *testing.T, change ...func(*Config)) *trio {
	log := &callLog{refs: map[string]int{}}
	r := &trio{
		bench: newBench(t), log: log, events: make(chan Event, 1000),
		a: &gateway{name: "a", log: log, does: takes}, b: &gateway{name: "b", log: log, does: takes}, c: &gateway{name: "c", log: log, does: takes},
	}
	r.d = r.dispatcher(r.store, nil, append([]func(*Config){func(c *Config) {
		c.Providers = map[string]Provider{"a": r.a, "b": r.b, "c": r.c}
		c.Channels = map[storage.Channel]string{storage.SMS: "a"}
		c.Failover = map[storage.Channel][]string{storage.SMS: {"b", "c"}}
		c.Observe = func(e Event) { r.events <- e }
	}}, change...)...)
	return r
}

func (r *trio) results() string {
	var out []string
	for len(r.events) > 0 {
		e := <-r.events
		out = append(out, e.Provider+":"+string(e.Result))
	}
	return strings.Join(out, " ")
}

func (r *trio) state(name string) BreakerState {
	for _, p := range r.d.Providers() {
		if p.Name == name {
			return p.State
		}
	}
	return ""
}

func TestFailover(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b, c func(context.Context, Message) (Sent, error)
		calls   string
		results string
		status  storage.Status
		sender  string
		reason  string
		took    time.Duration
	}{
		"the first takes it": {takes, takes, takes, "a", "a:sent", storage.StatusSending, "a", "", 0},
		"5xx": {
			answers(errBusy), takes, takes, "a b", "a:failed_over b:sent", storage.StatusSending, "b", "", 0,
		},
		"foreign error": {
			answers(errors.New("x")), answers(errBusy), takes, "a b c", "a:failed_over b:failed_over c:sent", storage.StatusSending, "c", "", 0,
		},
		"panic": {
			func(context.Context, Message) (Sent, error) { panic("x") }, takes, takes, "a b", "a:failed_over b:sent", storage.StatusSending, "b", "", 0,
		},
		"slow": {
			hangs, takes, takes, "a b", "a:failed_over b:sent", storage.StatusSending, "b", "", 5 * time.Second,
		},
		"refused for good": {
			answers(&SendError{Permanent: true, Reason: "422"}), takes, takes, "a", "a:refused", storage.StatusPermanentFailure, "a", "422", 0,
		},
		"refused for good by the next": {
			answers(errBusy), answers(&SendError{Permanent: true, Reason: "422"}), takes, "a b", "a:failed_over b:refused",
			storage.StatusPermanentFailure, "b", "422", 0,
		},
		"answer lost once": {
			lostOnce(), takes, takes, "a a", "a:repeated a:sent", storage.StatusSending, "a", "", 0,
		},
		"answer lost for good": {
			answers(errLost), takes, takes, "a a b", "a:repeated a:failed_over b:sent", storage.StatusSending, "b", "", 0,
		},
		"each loses its answer once": {
			answers(errLost), lostOnce(), takes, "a a b b", "a:repeated a:failed_over b:repeated b:sent", storage.StatusSending, "b", "", 0,
		},
		"all fail": {
			answers(errBusy), answers(errLost), hangs, "a b b c", "a:failed_over b:repeated b:failed_over c:retry", storage.StatusCreated, "c",
			"a: the provider answered 503; b: the connection broke before an answer came; c: no answer", time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTrio(t, func(c *Config) { c.Retry.Initial = 4 * time.Minute })
				r.a.set(tc.a)
				r.b.set(tc.b)
				r.c.set(tc.c)
				n := r.create("a")
				began := time.Now()
				stop := r.run(r.d)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				assert.Equal(t, tc.calls, r.log.take())
				assert.Equal(t, tc.results, r.results())
				stop()
				n = r.get(n.ID)
				assert.Equal(t, tc.status, n.Status)
				assert.Equal(t, tc.sender, n.Sender)
				assert.Equal(t, tc.reason, n.Reason)
				assert.Equal(t, 1, n.Attempts)
				assert.Equal(t, tc.took, n.UpdatedAt.Sub(storage.Micro(began)))
				if tc.status == storage.StatusSending {
					assert.Equal(t, "theirs", n.ProviderReference)
				}
				assert.Len(t, r.log.refs, 1, "one reference for all")
			})
		})
	}
}

// lostOnce loses one answer.
func lostOnce() func(context.Context, Message) (Sent, error) {
	lost := false
	return func(ctx context.Context, m Message) (Sent, error) {
		if !lost {
			lost = true
			return Sent{}, errLost
		}
		return takes(ctx, m)
	}
}

func TestRetryAfterOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		r.a.set(answers(&SendError{Reason: "429", RetryAfter: time.Hour}))
		r.b.set(answers(&SendError{Reason: "429", RetryAfter: 20 * time.Second}))
		r.c.set(answers(&SendError{Reason: "429", RetryAfter: time.Minute}))
		r.create("a")
		stop := r.run(r.d)
		time.Sleep(22 * time.Second)
		assert.Equal(t, "a b c", r.log.take())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, "a b c", r.log.take(), "after the shortest, and an eighth of it")
		stop()
	})
}

func TestBreakerPassesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		r.a.set(answers(errBusy))
		stop := r.run(r.d)
		for range 5 {
			r.create("a")
			synctest.Wait()
		}
		assert.Equal(t, "a b a b a b a b a b", r.log.take())
		assert.Equal(t, BreakerOpen, r.state("a"))
		assert.Len(t, r.logs.lines("a delivery provider keeps failing; others are preferred, if there are any"), 1)
		n := r.create("a")
		synctest.Wait()
		assert.Equal(t, "b", r.log.take(), "a is passed over")
		assert.Equal(t, "b", r.get(n.ID).Sender)

		time.Sleep(30 * time.Second)
		assert.Equal(t, BreakerHalfOpen, r.state("a"))
		r.create("a")
		synctest.Wait()
		assert.Equal(t, "a b", r.log.take(), "the probe fails, and the notification does not suffer")
		assert.Equal(t, BreakerOpen, r.state("a"))

		r.a.set(takes)
		time.Sleep(30 * time.Second)
		r.create("a")
		r.create("a")
		synctest.Wait()
		assert.Equal(t, BreakerClosed, r.state("a"))
		r.log.take()
		r.create("a")
		synctest.Wait()
		assert.Equal(t, "a", r.log.take(), "the first is preferred again")
		assert.Len(t, r.logs.lines("a delivery provider works again"), 1)
		stop()
	})
}

// One probe at a time, while the others go elsewhere; slow answers open the
// breaker too.
func TestBreakerOpensOnSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t, func(c *Config) { c.Breaker.Failures = 2 })
		r.a.set(hangs)
		stop := r.run(r.d)
		r.create("a")
		r.create("a")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Equal(t, "a a b b", r.log.take())
		assert.Equal(t, BreakerOpen, r.state("a"))
		time.Sleep(30 * time.Second)
		r.create("a")
		synctest.Wait()
		for range 5 {
			r.create("a")
		}
		synctest.Wait()
		assert.Equal(t, "a b b b b b", r.log.take())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Equal(t, "b", r.log.take())
		stop()
	})
}

// When all breakers are open, none is: a notification isn't held back.
func TestAllBreakersOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t, func(c *Config) { c.Breaker.Failures = 1 })
		for _, g := range []*gateway{r.a, r.b, r.c} {
			g.set(answers(errBusy))
		}
		n := r.create("a")
		stop := r.run(r.d)
		synctest.Wait()
		assert.Equal(t, "a b c", r.log.take())
		r.c.set(takes)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Equal(t, "a b c", r.log.take())
		assert.Equal(t, "c", r.get(n.ID).Sender)
		assert.Equal(t, BreakerClosed, r.state("c"))
		assert.Equal(t, BreakerOpen, r.state("a"))
		r.create("a")
		synctest.Wait()
		assert.Equal(t, "c", r.log.take())
		stop()
	})
}

// A provider that is alone is always called, and its state is still told.
func TestLoneProviderIsNeverPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(errBusy)
		d := b.dispatcher(b.store, p)
		b.create("fake")
		stop := b.run(d)
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		assert.Len(t, p.times(), 6, "5, 10, 20, 40 and 80 s apart")
		st, err := d.Stats(t.Context())
		require.NoError(t, err)
		require.Len(t, st.Providers, 1)
		assert.Equal(t, BreakerHalfOpen, st.Providers[0].State)
		stop()
	})
}

// A receipt that comes while the first provider's answer is waited for says
// that it has taken the notification: nobody else gets it.
func TestReceiptEndsFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		r.a.set(hangs)
		n := r.create("a")
		stop := r.run(r.d)
		synctest.Wait()
		_, changed, err := r.store.Receipt(t.Context(), storage.Receipt{
			Sender: "a", Reference: n.UUID.String(), Status: storage.StatusSending, At: time.Now(),
		})
		require.NoError(t, err)
		require.True(t, changed)
		time.Sleep(10 * time.Minute)
		stop()
		assert.Equal(t, "a", r.log.take())
		assert.Equal(t, "a:failed_over a:sent", r.results())
		n = r.get(n.ID)
		assert.Equal(t, storage.StatusSending, n.Status)
		assert.Equal(t, "a", n.Sender)
	})
}

// The receipt of the provider that takes over is matched before its answer is
// recorded.
func TestReceiptOfTheNextProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		r.a.set(answers(errBusy))
		r.b.set(func(ctx context.Context, m Message) (Sent, error) {
			_, changed, err := r.store.Receipt(ctx, storage.Receipt{
				Sender: "b", Reference: m.Reference, Status: storage.StatusDelivered, At: time.Now(),
			})
			assert.NoError(t, err)
			assert.True(t, changed)
			return Sent{}, nil
		})
		n := r.create("a")
		stop := r.run(r.d)
		synctest.Wait()
		stop()
		assert.Equal(t, storage.StatusDelivered, r.get(n.ID).Status)
	})
}

// awayReassign can't name another provider.
type awayReassign struct{ Outbox }

func (awayReassign) Reassign(context.Context, storage.Claim, string) (bool, error) {
	return false, storage.Unavailable("test", errors.New("away"))
}

func TestNoFailoverWithoutStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		r.a.set(answers(errBusy))
		d := r.dispatcher(awayReassign{r.store}, nil, func(c *Config) {
			c.Providers, c.Channels, c.Failover = r.d.cfg.Providers, r.d.cfg.Channels, r.d.cfg.Failover
		})
		n := r.create("a")
		stop := r.run(d)
		synctest.Wait()
		stop()
		assert.Equal(t, "a", r.log.take())
		assert.Equal(t, storage.StatusCreated, r.get(n.ID).Status)
		assert.Equal(t, "the provider answered 503", r.get(n.ID).Reason)
	})
}

// A probe that came to nothing is given back, or its provider would never be
// called again.
func TestProbeIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		d := r.dispatcher(awayReassign{r.store}, nil, func(c *Config) {
			c.Providers, c.Channels, c.Failover = r.d.cfg.Providers, r.d.cfg.Channels, r.d.cfg.Failover
			c.Breaker.Failures = 1
		})
		r.a.set(answers(errBusy))
		p, ok := d.breakers["b"].allow()
		require.True(t, ok)
		d.breakers["b"].report(p, fails)
		time.Sleep(30 * time.Second)
		r.create("a")
		stop := r.run(d)
		synctest.Wait()
		stop()
		assert.Equal(t, "a", r.log.take())
		assert.True(t, d.breakers["b"].ready())
	})
}

// Senders outside the list go to nobody else.
func TestOtherSendersDontFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t, func(c *Config) { c.Failover = map[storage.Channel][]string{storage.SMS: {"b"}} })
		r.c.set(answers(errBusy))
		r.create("c")
		stop := r.run(r.d)
		synctest.Wait()
		stop()
		assert.Equal(t, "c", r.log.take())
	})
}

func TestFailoverConfigIsChecked(t *testing.T) {
	b := newBench(t)
	for want, change := range map[string]func(*Config){
		`provider "x", which is not`:  func(c *Config) { c.Failover = map[storage.Channel][]string{storage.SMS: {"x"}} },
		`"a" twice`:                   func(c *Config) { c.Failover = map[storage.Channel][]string{storage.SMS: {"a"}} },
		`"b" twice`:                   func(c *Config) { c.Failover = map[storage.Channel][]string{storage.SMS: {"b", "b"}} },
		"no first one":                func(c *Config) { c.Failover = map[storage.Channel][]string{storage.Email: {"b"}} },
		"breaker must not be":         func(c *Config) { c.Breaker.OpenFor = -1 },
		"slow threshold and poll int": func(c *Config) { c.SlowAfter = -1 },
	} {
		cfg := Config{
			Outbox:    b.store,
			Providers: map[string]Provider{"a": newScript(nil), "b": newScript(nil)},
			Channels:  map[storage.Channel]string{storage.SMS: "a"},
		}
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
}
