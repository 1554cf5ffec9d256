package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// BenchmarkDispatch is the dispatcher's own cost: a queue in memory and a
// provider that takes no time.
func BenchmarkDispatch(b *testing.B) {
	bb := newBench(b)
	now := time.Now()
	for range b.N {
		_, err := bb.store.Create(b.Context(), storage.Creation{Notification: storage.Notification{
			UUID: uuid.New(), ServiceID: testService, Channel: storage.SMS, To: testNumber, Body: testText,
			Sender: "fake", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}})
		require.NoError(b, err)
	}
	var sent atomic.Int64
	done := make(chan struct{})
	d, err := New(Config{
		Outbox: bb.store,
		Providers: map[string]Provider{"fake": providerFunc(func(context.Context, Message) (Sent, error) {
			if sent.Add(1) == int64(b.N) {
				close(done)
			}
			return Sent{Delivered: true}, nil
		})},
		SweepInterval: -1,
	})
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	stop := bb.run(d)
	<-done
	stop()
}

// BenchmarkCallbacks is the same for callbacks to one service.
func BenchmarkCallbacks(b *testing.B) {
	bb := newBench(b)
	for range b.N {
		bb.finished(testService, storage.StatusDelivered)
	}
	e := newEndpoint()
	var told atomic.Int64
	done := make(chan struct{})
	c := bb.callbacks(e, bb.store, func(c *CallbacksConfig) {
		c.Logger = nil
		c.Observe = func(CallbackEvent) {
			if told.Add(1) == int64(b.N) {
				close(done)
			}
		}
	})
	b.ReportAllocs()
	b.ResetTimer()
	stop := bb.runCallbacks(c)
	<-done
	stop()
}
