package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// slow takes that long for each message, unless its context ends.
func slow(d time.Duration, sends *atomic.Int64) providerFunc {
	return func(ctx context.Context, _ Message) (Sent, error) {
		sends.Add(1)
		select {
		case <-time.After(d):
			return Sent{Delivered: true}, nil
		case <-ctx.Done():
			return Sent{}, &SendError{Reason: "ended", Err: ctx.Err()}
		}
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sends atomic.Int64
		d := b.dispatcher(b.store, slow(8*time.Second, &sends), func(c *Config) {
			c.Concurrency = map[storage.Channel]int{storage.SMS: 2}
		})
		var all []storage.Notification
		for range 5 {
			all = append(all, b.create("fake"))
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- d.Run(ctx) }()
		synctest.Wait()
		before := time.Now()
		cancel()
		require.NoError(t, <-ran)
		assert.Equal(t, before, time.Now(), "Run returns at once")
		require.NoError(t, d.Wait(context.Background()))
		assert.Equal(t, 8*time.Second, time.Since(before), "Wait returns when the sends have ended")
		assert.EqualValues(t, 2, sends.Load(), "nothing begins after the stop")
		for i, n := range all {
			want := storage.StatusCreated
			if i < 2 {
				want = storage.StatusDelivered
			}
			assert.Equal(t, want, b.get(n.ID).Status, i)
		}
		require.ErrorContains(t, d.Run(t.Context()), "runs once")
	})
}

func TestWaitCancelsWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sends atomic.Int64
		d := b.dispatcher(b.store, slow(50*time.Second, &sends))
		n := b.create("fake")
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- d.Run(ctx) }()
		synctest.Wait()
		cancel()
		require.NoError(t, <-ran)
		grace, end := context.WithTimeout(context.Background(), 10*time.Second)
		defer end()
		before := time.Now()
		require.NoError(t, d.Wait(grace))
		assert.Equal(t, 10*time.Second, time.Since(before))
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusCreated, n.Status)
		assert.Equal(t, "the server stopped during the attempt", n.Reason)
		due, err := b.store.NextDue(t.Context(), storage.SMS)
		require.NoError(t, err)
		assert.False(t, due.After(time.Now()), "its lease is released")
	})
}

func TestWaitReportsStuckSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		release := make(chan struct{})
		d := b.dispatcher(b.store, providerFunc(func(context.Context, Message) (Sent, error) {
			<-release // deaf to its context
			return Sent{Delivered: true}, nil
		}))
		b.create("fake")
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- d.Run(ctx) }()
		synctest.Wait()
		cancel()
		require.NoError(t, <-ran)
		grace, end := context.WithTimeout(context.Background(), time.Second)
		defer end()
		require.ErrorContains(t, d.Wait(grace), "1 sends did not end")
		close(release)
		require.NoError(t, d.Wait(context.Background()))
	})
}

func TestWaitWithoutRun(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.dispatcher(b.store, newScript(nil)).Wait(t.Context()))
}

// hookedOutbox lets a test step in.
type hookedOutbox struct {
	Outbox
	afterClaim func()
	renew      func() error
	complete   func() error
	claim      func() error
	sweep      func() (storage.Swept, error)
}

func (o *hookedOutbox) Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error) {
	if o.claim != nil {
		if err := o.claim(); err != nil {
			return nil, err
		}
	}
	c, err := o.Outbox.Claim(ctx, r)
	if o.afterClaim != nil {
		o.afterClaim()
	}
	return c, err
}

func (o *hookedOutbox) Renew(ctx context.Context, c storage.Claim, until time.Time) error {
	if o.renew != nil {
		return o.renew()
	}
	return o.Outbox.Renew(ctx, c, until)
}

func (o *hookedOutbox) Complete(ctx context.Context, c storage.Claim, r storage.Outcome) error {
	if o.complete != nil {
		if err := o.complete(); err != nil {
			return err
		}
	}
	return o.Outbox.Complete(ctx, c, r)
}

func (o *hookedOutbox) Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error) {
	if o.sweep != nil {
		return o.sweep()
	}
	return o.Outbox.Sweep(ctx, r)
}

func TestClaimsThatComeTooLateAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancel(context.Background())
		o := &hookedOutbox{Outbox: b.store, afterClaim: cancel}
		p := newScript(nil)
		d := b.dispatcher(o, p)
		n := b.create("fake")
		require.NoError(t, d.Run(ctx))
		require.NoError(t, d.Wait(context.Background()))
		assert.Empty(t, p.attempts)
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusCreated, n.Status)
		assert.Zero(t, n.Attempts)
		// The next generation sends it at once.
		start := time.Now()
		stop := b.run(b.dispatcher(b.store, p))
		synctest.Wait()
		stop()
		assert.Equal(t, start, time.Now())
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
	})
}

func TestLeaseIsRenewedWhileASendRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sends atomic.Int64
		long := func(c *Config) { c.SendTimeout = 10 * time.Minute }
		stop1 := b.run(b.dispatcher(b.store, slow(5*time.Minute, &sends), long))
		stop2 := b.run(b.dispatcher(b.store, slow(5*time.Minute, &sends), long))
		n := b.create("fake")
		time.Sleep(6 * time.Minute)
		stop1()
		stop2()
		assert.EqualValues(t, 1, sends.Load())
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
		assert.Equal(t, 1, b.get(n.ID).Attempts)
	})
}

func TestSendTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.run(b.dispatcher(b.store, providerFunc(func(ctx context.Context, _ Message) (Sent, error) {
			<-ctx.Done()
			return Sent{}, ctx.Err()
		})))
		n := b.create("fake")
		time.Sleep(61 * time.Second)
		synctest.Wait()
		assert.Equal(t, "the provider did not answer within 1m0s", b.get(n.ID).Reason)
		time.Sleep(2 * time.Second)
		stop()
	})
}

// A worker that was frozen (drill F10) finds its lease taken: what it records
// late changes nothing.
func TestLateOutcomeIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var deaf atomic.Bool
		frozen := &hookedOutbox{Outbox: b.store, renew: func() error { return nil }, claim: func() error {
			if deaf.Load() {
				return errors.New("frozen")
			}
			return nil
		}}
		thaw := make(chan struct{})
		stop1 := b.run(b.dispatcher(frozen, providerFunc(func(context.Context, Message) (Sent, error) {
			<-thaw
			return Sent{}, &SendError{Permanent: true, Reason: "late"}
		})))
		n := b.create("fake")
		synctest.Wait()
		deaf.Store(true)
		p := newScript(nil)
		stop2 := b.run(b.dispatcher(b.store, p))
		time.Sleep(DefaultLease + DefaultPoll)
		synctest.Wait()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
		close(thaw)
		stop1()
		stop2()
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusDelivered, n.Status)
		assert.Empty(t, n.Reason)
		assert.Len(t, p.attempts, 1)
		lost := b.logs.lines("lease lost during a send; whoever claims the notification next decides")
		require.Len(t, lost, 1)
		assert.Equal(t, "INFO", lost[0]["level"])
	})
}

// A heartbeat that finds the lease taken ends the send.
func TestLostLeaseEndsTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		o := &hookedOutbox{Outbox: b.store, renew: func() error { return storage.ErrLeaseLost }}
		var sends atomic.Int64
		var result atomic.Value
		stop := b.run(b.dispatcher(o, slow(25*time.Second, &sends), func(c *Config) {
			c.Observe = func(e Event) { result.Store(e.Result); assert.Equal(t, DefaultLease/3, e.Duration) }
		}))
		b.create("fake")
		time.Sleep(DefaultLease/3 + time.Second)
		synctest.Wait()
		assert.Equal(t, ResultLeaseLost, result.Load())
		stop()
	})
}

// The process was stopped, or the clock set, so that a lease ran out although
// its send still runs here: no second send, and its outcome counts.
func TestOwnLapsedLeaseIsTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		o := &hookedOutbox{Outbox: b.store, renew: func() error { return storage.Unavailable("renewing", errors.New("away")) }}
		var sends atomic.Int64
		stop := b.run(b.dispatcher(o, slow(50*time.Second, &sends)))
		n := b.create("fake")
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		assert.EqualValues(t, 1, sends.Load())
		n = b.get(n.ID)
		assert.Equal(t, storage.StatusDelivered, n.Status)
		assert.Equal(t, 2, n.Attempts, "claimed twice")
	})
}

func TestStorageAway(t *testing.T) {
	away := storage.Unavailable("test", errors.New("disk gone"))
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var down atomic.Bool
		fail := func() error {
			if down.Load() {
				return away
			}
			return nil
		}
		o := &hookedOutbox{Outbox: b.store, claim: fail, renew: fail, complete: fail}
		var sends atomic.Int64
		d := b.dispatcher(o, slow(time.Second, &sends), func(c *Config) {
			c.Concurrency = map[storage.Channel]int{storage.SMS: 1}
		})
		stop := b.run(d)
		first, second := b.create("fake"), b.create("fake")
		synctest.Wait()
		down.Store(true) // while the first is being sent
		time.Sleep(10 * time.Minute)
		assert.Equal(t, storage.StatusCreated, b.get(first.ID).Status)
		down.Store(false)
		time.Sleep(time.Minute)
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(first.ID).Status)
		assert.Equal(t, storage.StatusDelivered, b.get(second.ID).Status)
		assert.EqualValues(t, 2, sends.Load(), "the result of the first was kept, not sent for again")
		assert.Len(t, b.logs.lines("delivery waits for storage"), 1)
		assert.Len(t, b.logs.lines("storage is back, delivery goes on"), 1)
	})
}

func TestClaimFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var calls int
		o := &hookedOutbox{Outbox: b.store, claim: func() error {
			calls++
			return storage.Unavailable("claiming", errors.New("away"))
		}}
		stop := b.run(b.dispatcher(o, newScript(nil)))
		b.create("fake")
		time.Sleep(5 * time.Minute)
		stop()
		assert.InDelta(t, 66, calls, 5, "every five seconds in the end")
		assert.Len(t, b.logs.lines("delivery waits for storage"), 1, "although the queue can be read")
	})
}

func TestOutcomeThatStorageRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var once sync.Once
		o := &hookedOutbox{Outbox: b.store, complete: func() (err error) {
			once.Do(func() { err = storage.ErrInvalid })
			return err
		}}
		p := newScript(nil)
		stop := b.run(b.dispatcher(o, p))
		n := b.create("fake")
		time.Sleep(DefaultLease + DefaultPoll)
		stop()
		assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
		assert.Len(t, p.attempts, 2, "once more after the lease")
		assert.Len(t, b.logs.lines("the outcome of a send can't be recorded; the notification is sent again after its lease"), 1)
	})
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := providerFunc(func(context.Context, Message) (Sent, error) { return Sent{}, nil })
		stop := b.run(b.dispatcher(b.store, p, func(c *Config) { c.SweepInterval = time.Minute }))
		n := b.create("fake")
		time.Sleep(71 * time.Hour)
		assert.Equal(t, storage.StatusSending, b.get(n.ID).Status)
		time.Sleep(time.Hour + 2*time.Minute)
		assert.Equal(t, storage.StatusTemporaryFailure, b.get(n.ID).Status, "no receipt in 72 h")
		time.Sleep(97 * time.Hour)
		stop()
		_, err := b.store.NotificationByID(t.Context(), testService, n.ID)
		require.ErrorIs(t, err, storage.ErrNotFound, "swept after its retention")
	})
}

func TestSweepGoesOnUntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var calls atomic.Int64
		o := &hookedOutbox{Outbox: b.store, sweep: func() (storage.Swept, error) {
			switch n := calls.Add(1); {
			case n == 4:
				return storage.Swept{}, storage.Unavailable("sweeping", errors.New("away"))
			case n < 4:
				return storage.Swept{Notifications: 1000, More: true}, nil
			}
			return storage.Swept{}, nil
		}}
		stop := b.run(b.dispatcher(o, newScript(nil), func(c *Config) { c.SweepInterval = time.Hour }))
		time.Sleep(time.Second)
		assert.EqualValues(t, 4, calls.Load(), "in batches, at the start, until done or failed")
		time.Sleep(time.Hour)
		stop()
		assert.EqualValues(t, 5, calls.Load())
	})
}
