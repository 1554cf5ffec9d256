package storagetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func (s *suite) counter(t *testing.T, key string) int64 {
	t.Helper()
	n, err := s.Counter(t.Context(), key)
	require.NoError(t, err)
	return n
}

func testLimits(t *testing.T, s *suite) {
	ctx := t.Context()
	assert.Zero(t, s.counter(t, "unknown"))
	limited := func(limits ...storage.Limit) storage.Creation {
		c := sample(serviceA, at(0))
		c.Limits = limits
		return c
	}
	day := func(key string, most int64) storage.Limit {
		return storage.Limit{Key: key, Max: most, ExpiresAt: at(24 * time.Hour)}
	}
	s.create(t, limited(day("a", 2), day("free", 0), day("b", 3)))
	s.create(t, limited(day("a", 2), day("free", -1), day("b", 3)))
	_, err := s.Create(ctx, limited(day("b", 3), day("free", 0), day("a", 2)))
	var limit *storage.LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, storage.LimitError{Key: "a", Max: 2}, *limit)
	assert.Equal(t, []int64{2, 2, 2}, []int64{s.counter(t, "a"), s.counter(t, "b"), s.counter(t, "free")}, "all or none")
	assert.EqualValues(t, 2, s.total(t, serviceA), "nothing was stored")
	s.create(t, limited(day("b", 3)))

	// A lowered limit refuses, a raised one lets on.
	_, err = s.Create(ctx, limited(day("b", 1)))
	require.ErrorAs(t, err, &limit)
	s.create(t, limited(day("b", 4)))

	// Twice the same counter needs room for two.
	_, err = s.Create(ctx, limited(day("twice", 1), day("twice", 1)))
	require.ErrorAs(t, err, &limit)
	assert.Zero(t, s.counter(t, "twice"))
	s.create(t, limited(day("twice", 2), day("twice", 2)))
	assert.EqualValues(t, 2, s.counter(t, "twice"))
}

func testLimitsConcurrently(t *testing.T, s *suite) {
	const most = 25
	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			c := withKey(sample(serviceA, at(0)), fmt.Sprint("key", i), "", at(time.Hour))
			c.Limits = []storage.Limit{{Key: "tries", ExpiresAt: at(time.Hour)}, {Key: "day", Max: most, ExpiresAt: at(time.Hour)}}
			_, err := s.Create(t.Context(), c)
			if err == nil {
				stored.Add(1)
				return
			}
			var limit *storage.LimitError
			assert.ErrorAs(t, err, &limit)
			refused.Add(1)
			_, err = s.Idempotent(t.Context(), serviceA, c.Idempotency.Key)
			assert.ErrorIs(t, err, storage.ErrNotFound, "a refusal is not remembered")
		})
	}
	wg.Wait()
	assert.EqualValues(t, most, stored.Load())
	assert.EqualValues(t, 64-most, refused.Load())
	assert.EqualValues(t, most, s.counter(t, "day"))
	assert.EqualValues(t, most, s.counter(t, "tries"))
	assert.EqualValues(t, most, s.total(t, serviceA))
}

func testLimitsAndReplays(t *testing.T, s *suite) {
	c := withKey(sample(serviceA, at(0)), "key", "", at(time.Hour))
	c.Limits = []storage.Limit{{Key: "day", Max: 1, ExpiresAt: at(time.Hour)}}
	first := s.create(t, c)
	c.Notification = sample(serviceA, at(0)).Notification
	again, err := s.Create(t.Context(), c)
	require.NoError(t, err, "a replay isn't limited")
	assert.True(t, again.Replayed)
	assert.Equal(t, first.ID, again.Notification.ID)
	assert.EqualValues(t, 1, s.counter(t, "day"))
}

func testBuckets(t *testing.T, s *suite) {
	ctx := t.Context()
	b := storage.Bucket{Key: "b", Capacity: 3, PerSecond: 0.5}
	take := func(b storage.Bucket, now time.Time) time.Duration {
		wait, err := s.Take(ctx, b, now)
		require.NoError(t, err)
		return wait
	}
	for range 3 {
		assert.Zero(t, take(b, at(0)))
	}
	assert.InDelta(t, 2*time.Second, take(b, at(0)), float64(time.Millisecond))
	assert.Zero(t, take(storage.Bucket{Key: "other", Capacity: 1, PerSecond: 1}, at(0)))

	wait := take(b, at(500*time.Millisecond))
	require.Positive(t, wait)
	assert.InDelta(t, 1500*time.Millisecond, wait, float64(time.Millisecond))
	assert.Zero(t, take(b, at(500*time.Millisecond+wait)), "after exactly that wait there is one")

	require.NoError(t, s.GiveBack(ctx, b, at(3*time.Second)))
	assert.Zero(t, take(b, at(3*time.Second)))
	// It never holds more than its capacity.
	for range 10 {
		require.NoError(t, s.GiveBack(ctx, b, at(time.Hour)))
	}
	for range 3 {
		assert.Zero(t, take(b, at(time.Hour)))
	}
	assert.Positive(t, take(b, at(time.Hour)))
	// A clock that jumped ahead and back must not stop it for the jump.
	assert.Positive(t, take(b, at(0)))
	assert.Zero(t, take(b, at(3*time.Second)))

	empty := storage.Bucket{Key: "never", Capacity: 0, PerSecond: 0}
	assert.Positive(t, take(empty, at(0)))
	assert.Positive(t, take(empty, at(time.Hour)))
	require.NoError(t, s.GiveBack(ctx, storage.Bucket{Key: "fresh", Capacity: 1, PerSecond: 1}, at(0)))
	assert.Zero(t, take(storage.Bucket{Key: "fresh", Capacity: 1, PerSecond: 1}, at(0)))
	assert.Positive(t, take(storage.Bucket{Key: "fresh", Capacity: 1, PerSecond: 1}, at(0)))
}

func testReplayKeys(t *testing.T, s *suite) {
	remember := func(service, key string, expires, now time.Duration) bool {
		first, err := s.Remember(t.Context(), storage.ReplayKey{ServiceID: service, Key: []byte(key), ExpiresAt: at(expires)}, at(now))
		require.NoError(t, err)
		return first
	}
	assert.True(t, remember(serviceA, "k", time.Minute, 0))
	assert.False(t, remember(serviceA, "k", time.Hour, 0))
	assert.True(t, remember(serviceB, "k", time.Minute, 0))
	assert.True(t, remember(serviceA, "k2", time.Minute, 0))
	assert.False(t, remember(serviceA, "k", time.Hour, time.Minute), "the last instant counts")
	assert.True(t, remember(serviceA, "k", time.Hour, time.Minute+time.Microsecond), "expired")
	assert.False(t, remember(serviceA, "k", time.Hour, 30*time.Minute))
	// Sweeping the first use must not take the second with it.
	_, err := s.Sweep(t.Context(), storage.SweepRequest{Now: at(30 * time.Minute)})
	require.NoError(t, err)
	assert.False(t, remember(serviceA, "k", time.Hour, 30*time.Minute))
}

func testReplayKeysConcurrently(t *testing.T, s *suite) {
	for i := range 20 {
		var first atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				ok, err := s.Remember(t.Context(), storage.ReplayKey{ServiceID: serviceA, Key: []byte{byte(i)}, ExpiresAt: at(time.Hour)}, at(0))
				assert.NoError(t, err)
				if ok {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, first.Load())
	}
}
