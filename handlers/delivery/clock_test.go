package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// wall is a clock that can be set.
type wall struct{ offset atomic.Int64 }

func (w *wall) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

var jumps = []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour}

// The clock is set while a provider is away: no storm of attempts follows.
func TestClockIsSetDuringRetries(t *testing.T) {
	const queued = 20
	inTheHourAfter := func(t *testing.T, jump time.Duration) int64 {
		b, w := newBench(t), &wall{}
		var calls atomic.Int64
		p := providerFunc(func(context.Context, Message) (Sent, error) {
			calls.Add(1)
			return Sent{}, &SendError{Reason: "away"}
		})
		stop := b.run(b.dispatcher(b.store, p, func(c *Config) { c.Now, c.Retry.Budget = w.now, 48*time.Hour }))
		for range queued {
			b.create("fake")
		}
		time.Sleep(30 * time.Minute)
		before := calls.Load()
		assert.Positive(t, before)
		w.offset.Store(int64(jump))
		time.Sleep(time.Hour)
		stop()
		return calls.Load() - before
	}
	synctest.Test(t, func(t *testing.T) {
		normal := inTheHourAfter(t, 0)
		assert.InDelta(t, 12*queued, normal, queued, "every five minutes")
		for _, jump := range jumps {
			assert.LessOrEqual(t, inTheHourAfter(t, jump), 2*normal, "%s", jump)
		}
	})
}

// The clock is set while a send is under way: it is the only one.
func TestClockIsSetDuringSend(t *testing.T) {
	for _, jump := range jumps {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, w := newBench(t), &wall{}
				var sends atomic.Int64
				stop := b.run(b.dispatcher(b.store, slow(50*time.Second, &sends), func(c *Config) { c.Now = w.now }))
				n := b.create("fake")
				time.Sleep(15 * time.Second)
				w.offset.Store(int64(jump))
				time.Sleep(time.Minute)
				stop()
				assert.EqualValues(t, 1, sends.Load())
				assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
			})
		})
	}
}
