package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestDelivery(t *testing.T) {
	for name, tc := range map[string]struct {
		sent   Sent
		status storage.Status
		result Result
	}{
		"delivered": {Sent{Delivered: true}, storage.StatusDelivered, ResultDelivered},
		"sent":      {Sent{Reference: "theirs-1"}, storage.StatusSending, ResultSent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				var got Message
				var events []Event
				d := b.dispatcher(b.store, providerFunc(func(_ context.Context, m Message) (Sent, error) {
					got = m
					return tc.sent, nil
				}), func(c *Config) {
					c.Observe = func(e Event) { events = append(events, e) }
					c.ServiceName = func(context.Context, string) string { return "Booking" }
				})
				stop := b.run(d)
				synctest.Wait()
				start := time.Now()
				n := b.create("fake")
				synctest.Wait()
				assert.Equal(t, start, time.Now(), "a creation must wake the dispatcher at once")
				stop()

				assert.Equal(t, Message{
					Reference: n.UUID.String(), ServiceID: testService, ServiceName: "Booking",
					Channel: storage.SMS, To: testNumber, Body: testText, Sender: "fake",
				}, got)
				n = b.get(n.ID)
				assert.Equal(t, tc.status, n.Status)
				assert.Equal(t, tc.sent.Reference, n.ProviderReference)
				assert.Equal(t, 1, n.Attempts)
				assert.False(t, n.SentAt.IsZero())
				assert.Equal(t, []Event{{Channel: storage.SMS, Provider: "fake", Result: tc.result}}, events)
			})
		})
	}
}

func TestSimulatedSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d := b.dispatcher(b.store, providerFunc(func(context.Context, Message) (Sent, error) {
			t.Error("the channel's provider must not see it")
			return Sent{}, nil
		}))
		stop := b.run(d)
		n := b.create(Simulated)
		synctest.Wait()
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
	})
}

func TestLogProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d := b.dispatcher(b.store, NewLog(b.logs.logger()))
		stop := b.run(d)
		n := b.create("fake")
		synctest.Wait()
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
		lines := b.logs.lines("notification")
		require.Len(t, lines, 1)
		assert.Equal(t, "***417", lines[0]["to"])
		assert.Equal(t, n.UUID.String(), lines[0]["reference"])
		assert.NotContains(t, lines[0], "from")
		assert.NotContains(t, lines[0], "reply_to")
	})
}

func TestLogProviderTellsTheSender(t *testing.T) {
	logs := &logBuffer{}
	_, err := NewLog(logs.logger()).Send(t.Context(), Message{From: "BOOKING", ReplyTo: "help@example.org"})
	require.NoError(t, err)
	_, err = NewLog(logs.logger()).Send(t.Context(), Message{From: testNumber})
	require.NoError(t, err)
	lines := logs.lines("notification")
	assert.Equal(t, "BOOKING", lines[0]["from"])
	assert.Equal(t, "h***@example.org", lines[0]["reply_to"])
	assert.Equal(t, "***417", lines[1]["from"])
}

func TestRetries(t *testing.T) {
	again := &SendError{Reason: "the provider answered 500"}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(again, again, &SendError{Reason: "busy", RetryAfter: 40 * time.Second}, errors.New("text of "+testNumber), nil)
		stop := b.run(b.dispatcher(b.store, p))
		n := b.create("fake")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		queued := b.get(n.ID)
		assert.Equal(t, storage.StatusCreated, queued.Status)
		assert.Equal(t, "the provider answered 500", queued.Reason)
		time.Sleep(10 * time.Minute)
		stop()
		// 5 s, 10 s, then 40 s as asked and an eighth of it, then 40 s.
		assert.Equal(t, []time.Duration{0, 5 * time.Second, 15 * time.Second, 60 * time.Second, 100 * time.Second}, p.times())
		for _, a := range p.attempts {
			assert.Equal(t, n.UUID.String(), a.reference)
		}
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusDelivered, n.Status)
		assert.Equal(t, 5, n.Attempts)
		assert.Empty(t, n.Reason)
	})
}

// The next attempt is kept to the moment, whenever the next poll would be.
func TestRetriesDontWaitForThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(errors.New("once"), nil)
		stop := b.run(b.dispatcher(b.store, p, func(c *Config) { c.Retry.Initial = 300 * time.Millisecond }))
		b.create("fake")
		time.Sleep(time.Minute)
		stop()
		assert.Equal(t, []time.Duration{0, 300 * time.Millisecond}, p.times())
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(&SendError{Reason: "the provider answered 503"})
		stop := b.run(b.dispatcher(b.store, p))
		n := b.create("fake")
		time.Sleep(5 * time.Hour)
		stop()
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusTechnicalFailure, n.Status)
		assert.Equal(t, fmt.Sprintf("given up after %d attempts in 4h0m0s: the provider answered 503", n.Attempts), n.Reason)
		assert.Len(t, p.attempts, n.Attempts)
		assert.InDelta(t, 54, n.Attempts, 2, "about one attempt every five minutes")
		assert.Len(t, b.logs.lines("notification given up"), 1)
	})
}

func TestPermanentRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(&SendError{Permanent: true, Reason: "the provider answered 422", RetryAfter: time.Second})
		stop := b.run(b.dispatcher(b.store, p))
		n := b.create("fake")
		time.Sleep(time.Hour)
		stop()
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusPermanentFailure, n.Status)
		assert.Equal(t, "the provider answered 422", n.Reason)
		assert.Len(t, p.attempts, 1)
	})
}

func TestPanicIsOneFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var poison atomic.Value
		poison.Store("")
		p := providerFunc(func(_ context.Context, m Message) (Sent, error) {
			if m.Reference == poison.Load() {
				panic("can't send " + m.Body + " to " + m.To)
			}
			return Sent{Delivered: true}, nil
		})
		d := b.dispatcher(b.store, p, func(c *Config) { c.Concurrency = map[storage.Channel]int{storage.SMS: 1} })
		bad := b.create("fake")
		poison.Store(bad.UUID.String())
		stop := b.run(d)
		others := make([]storage.Notification, 20)
		for i := range others {
			others[i] = b.create("fake")
		}
		synctest.Wait()
		for _, n := range others {
			assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
		}
		time.Sleep(5 * time.Hour)
		stop()
		got := b.get(bad.ID)
		assert.Equal(t, storage.StatusTechnicalFailure, got.Status)
		assert.Contains(t, got.Reason, "the provider panicked")
		assert.NotEmpty(t, b.logs.lines("a delivery provider panicked"))
	})
}

func TestUnknownSenderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var mu sync.Mutex
		var events []Event
		stop := b.run(b.dispatcher(b.store, newScript(nil), func(c *Config) {
			c.Observe = func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e)
			}
		}))
		n := b.create("gone")
		other := b.createOn(storage.Email, "gone") // a channel that isn't configured at all
		time.Sleep(24 * time.Hour)
		stop()
		for _, n := range []storage.Notification{b.get(n.ID), b.get(other.ID)} {
			assert.Equal(t, storage.StatusCreated, n.Status)
			assert.Equal(t, `no delivery provider named "gone"`, n.Reason)
			assert.Zero(t, n.Attempts)
		}
		assert.InDelta(t, 2*24*12, len(events), 40, "slowly: about every five minutes")
		assert.Equal(t, UnknownProvider, events[0].Provider)

		errorsLogged := 0
		for _, line := range b.logs.lines("notifications wait for a provider that is not configured") {
			if line["level"] == "ERROR" {
				errorsLogged++
			}
		}
		assert.Equal(t, 1, errorsLogged, "once per sender")

		// The configuration is mended: it is sent, and has its attempts still.
		p := newScript(&SendError{Reason: "not yet"}, nil)
		stop = b.run(b.dispatcher(b.store, p, func(c *Config) {
			c.Providers = map[string]Provider{"gone": p}
			c.Channels = nil
		}))
		time.Sleep(10 * time.Minute)
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
	})
}

// countingOutbox sees how much is claimed.
type countingOutbox struct {
	Outbox
	mu     sync.Mutex
	limits []int
	leased int
}

func (o *countingOutbox) Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error) {
	c, err := o.Outbox.Claim(ctx, r)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limits = append(o.limits, r.Limit)
	o.leased += len(c)
	return c, err
}

// A worker sends the next while the outcome of the last is recorded, but not
// without end.
func TestSendsGoOnWhileOutcomesAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		record := make(chan struct{})
		o := &hookedOutbox{Outbox: b.store, complete: func() error {
			<-record
			return nil
		}}
		var sends atomic.Int64
		d := b.dispatcher(o, providerFunc(func(context.Context, Message) (Sent, error) {
			sends.Add(1)
			return Sent{Delivered: true}, nil
		}), func(c *Config) { c.Concurrency = map[storage.Channel]int{storage.SMS: 2} })
		for range 20 {
			b.create("fake")
		}
		stop := b.run(d)
		synctest.Wait()
		assert.EqualValues(t, 2*maxHeld, sends.Load())
		close(record)
		synctest.Wait()
		stop()
		assert.EqualValues(t, 20, sends.Load())
		s, err := d.Stats(t.Context())
		require.NoError(t, err)
		assert.Zero(t, s.Queued)
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		o := &countingOutbox{Outbox: b.store}
		release := make(chan struct{})
		var running, most atomic.Int64
		d := b.dispatcher(o, providerFunc(func(context.Context, Message) (Sent, error) {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
			return Sent{Delivered: true}, nil
		}), func(c *Config) { c.Concurrency = map[storage.Channel]int{storage.SMS: 3} })
		for range 20 {
			b.create("fake")
		}
		stop := b.run(d)
		synctest.Wait()
		assert.Equal(t, 3, o.leased, "never more claimed than there are workers")
		s, err := d.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 3, s.InFlight)
		assert.EqualValues(t, 20, s.Queued)
		close(release)
		synctest.Wait()
		stop()
		assert.EqualValues(t, 3, most.Load())
		for _, l := range o.limits {
			assert.LessOrEqual(t, l, 3)
		}
		s, err = d.Stats(t.Context())
		require.NoError(t, err)
		assert.Zero(t, s.InFlight)
		assert.Zero(t, s.Queued)
	})
}

func TestPollsWithoutWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.run(b.dispatcher(noWake{b.store}, newScript(nil)))
		synctest.Wait()
		n := b.create("fake") // as if by another node
		time.Sleep(DefaultPoll)
		synctest.Wait()
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
	})
}

type noWake struct{ Outbox }

func (noWake) Wake() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestConfigIsChecked(t *testing.T) {
	b := newBench(t)
	good := providerFunc(func(context.Context, Message) (Sent, error) { return Sent{}, nil })
	for want, change := range map[string]func(*Config){
		"no outbox":              func(c *Config) { c.Outbox = nil },
		"is reserved":            func(c *Config) { c.Providers = map[string]Provider{Simulated: good} },
		"has no name":            func(c *Config) { c.Providers = map[string]Provider{"": good} },
		"is nil":                 func(c *Config) { c.Providers = map[string]Provider{"x": nil} },
		"not configured":         func(c *Config) { c.Channels = map[storage.Channel]string{storage.SMS: "x"} },
		`unknown channel "fax"`:  func(c *Config) { c.Channels = map[storage.Channel]string{"fax": "fake"} },
		"at least 1":             func(c *Config) { c.Concurrency = map[storage.Channel]int{storage.SMS: -1} },
		"must not be negative":   func(c *Config) { c.Lease = -1 },
		"retry policy must not":  func(c *Config) { c.Retry.Budget = -1 },
		"shorter than the first": func(c *Config) { c.Retry = Retry{Initial: time.Minute, Max: time.Second} },
		"bound of Retry-After":   func(c *Config) { c.Retry = Retry{Initial: time.Minute, MaxRetryAfter: time.Second} },
		"must be shorter than the lease": func(c *Config) {
			c.Providers = map[string]Provider{"slow": slowProvider{}}
		},
	} {
		t.Run(want, func(t *testing.T) {
			cfg := Config{Outbox: b.store, Providers: map[string]Provider{"fake": good}}
			change(&cfg)
			_, err := New(cfg)
			require.ErrorContains(t, err, want)
		})
	}
	_, err := New(Config{Outbox: b.store})
	require.NoError(t, err)
}

type slowProvider struct{ Provider }

func (slowProvider) Timeout() time.Duration { return 30 * time.Second }

func TestNothingPrivateInLogsAndReasons(t *testing.T) {
	quote := testText + " for " + testNumber + " (07700 900417) someone.else@example.org"
	synctest.Test(t, func(t *testing.T) {
		logs := &logBuffer{}
		for name, p := range map[string]Provider{
			"foreign error": newScript(errors.New(quote)),
			"temporary":     newScript(&SendError{Reason: quote}),
			"permanent":     newScript(&SendError{Reason: quote, Permanent: true}),
			"log":           NewLog(logs.logger()),
			"panic":         providerFunc(func(context.Context, Message) (Sent, error) { panic(errors.New(quote)) }),
		} {
			b := newBench(t)
			b.logs = logs
			stop := b.run(b.dispatcher(b.store, p))
			n := b.create("fake")
			lost := b.create("lost")
			time.Sleep(5 * time.Hour)
			stop()
			for _, text := range []string{b.logs.text(), b.get(n.ID).Reason, b.get(lost.ID).Reason} {
				for _, private := range []string{"marker", "7700900", "900417", "900 417", "58213", "someone.else"} {
					assert.NotContains(t, text, private, name)
				}
			}
		}
	})
}
