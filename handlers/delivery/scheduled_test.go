package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func (b *bench) scheduled(after time.Duration) storage.Notification {
	b.t.Helper()
	return b.createAs(func(n *storage.Notification) { n.Details.ScheduledFor = n.CreatedAt.Add(after) })
}

// Nothing goes before its time, nothing waits for what is due later, and a restart
// changes neither.
func TestScheduled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := newScript(nil)
		stop := b.run(b.dispatcher(b.store, s))
		late := b.scheduled(24 * time.Hour)
		early := b.scheduled(time.Hour)
		synctest.Wait()
		assert.Empty(t, s.times())

		b.create("fake")
		synctest.Wait()
		assert.Equal(t, []time.Duration{0}, s.times(), "at once")

		time.Sleep(30 * time.Minute)
		stop()
		assert.Equal(t, storage.StatusCreated, b.get(early.ID).Status)
		assert.Zero(t, b.get(early.ID).Attempts)
		time.Sleep(20 * time.Minute)
		stop = b.run(b.dispatcher(b.store, s))
		synctest.Wait()
		assert.Len(t, s.times(), 1)
		b.scheduled(-time.Hour) // its time is past already
		synctest.Wait()
		assert.Len(t, s.times(), 2)

		time.Sleep(10*time.Minute - time.Nanosecond)
		synctest.Wait()
		assert.Len(t, s.times(), 2)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, time.Hour, s.times()[2])
		assert.Equal(t, storage.StatusDelivered, b.get(early.ID).Status)

		stop()
		time.Sleep(48 * time.Hour) // the process was down
		stop = b.run(b.dispatcher(b.store, s))
		synctest.Wait()
		assert.Equal(t, storage.StatusDelivered, b.get(late.ID).Status)
		assert.Len(t, s.times(), 4)
		stop()
	})
}

// The time for attempts begins when a notification is due.
func TestScheduledRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const day = 24 * time.Hour
		s := newScript(errors.New("down"))
		seldom := func(cfg *Config) { cfg.Poll = 5 * time.Hour }
		stop := b.run(b.dispatcher(b.store, s, seldom))
		n := b.scheduled(day)
		time.Sleep(day + 3*time.Hour)
		assert.Equal(t, storage.StatusCreated, b.get(n.ID).Status)
		time.Sleep(2 * time.Hour)
		got := b.get(n.ID)
		assert.Equal(t, storage.StatusTechnicalFailure, got.Status)
		assert.Regexp(t, `^given up after \d+ attempts in 4h`, got.Reason)
		stop()
		times := s.times()
		assert.Equal(t, day, times[0])
		assert.Equal(t, 5*time.Second, times[1]-times[0])
		assert.Equal(t, day+4*time.Hour, times[len(times)-1])

		// Nor does one end whose provider isn't configured at its hour.
		stop = b.run(b.dispatcher(b.store, s, seldom))
		n = b.createAs(func(n *storage.Notification) {
			n.Sender, n.Details.ScheduledFor = "gone", n.CreatedAt.Add(day)
		})
		time.Sleep(day + time.Hour)
		assert.Equal(t, storage.StatusCreated, b.get(n.ID).Status)
		time.Sleep(day)
		assert.Equal(t, storage.StatusTechnicalFailure, b.get(n.ID).Status)
		stop()
	})
}

// Whatever is scheduled when, everything goes in its own minute.
func TestEverythingGoesOnTime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 1440), 1, 20).Draw(r, "minutes")
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			sent := make(chan Message, len(delays))
			stop := b.run(b.dispatcher(b.store, providerFunc(func(_ context.Context, m Message) (Sent, error) {
				sent <- m
				return Sent{Delivered: true}, nil
			}), func(cfg *Config) { cfg.Poll = 5 * time.Hour }))
			start := time.Now()
			due := make(map[string]time.Time)
			for _, minutes := range delays {
				n := b.scheduled(time.Duration(minutes) * time.Minute)
				due[n.UUID.String()] = n.DueAt()
			}
			for range delays {
				m := <-sent
				if late := time.Since(due[m.Reference]); late < 0 || late > time.Minute {
					t.Errorf("%s after its time", late)
				}
			}
			if over := time.Since(start); over > 24*time.Hour+time.Minute {
				t.Errorf("it took %s", over)
			}
			stop()
		})
	})
}
