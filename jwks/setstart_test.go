package jwks

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file look keys up while the sources are loaded for the
// first time, and before. Their time is faked.

// slowSource blocks for a time, then has its keys, or fails.
type slowSource struct {
	*poller
}

func newSlowSource(keys Keys, takes time.Duration, fault error) *slowSource {
	return &slowSource{newPoller(pollerConfig{
		kind: "slow", clock: time.Now, askEvery: time.Hour, maxWaiters: maxWaiters, retryMin: time.Hour, retryMax: time.Hour,
		load: func(ctx context.Context) (document, error) {
			if err := pause(ctx, takes); err != nil {
				return document{}, err
			}
			return document{keys: keys, next: time.Hour}, fault
		},
	})}
}

func (s *slowSource) Start(ctx context.Context, changed func()) error { return s.start(ctx, changed) }
func (s *slowSource) Snapshot() Snapshot                              { return s.snapshot() }
func (s *slowSource) Status() SourceStatus                            { return s.describe() }
func (s *slowSource) Refresh() (<-chan struct{}, func(), Verdict)     { return s.refresh() }
func (s *slowSource) Close() error                                    { s.close(); return nil }

func TestKeyWaitsForTheFirstLoad(t *testing.T) {
	k1, k2 := inlineOf(t, jwkOf(t, "k1", 0)).snap.Keys, inlineOf(t, jwkOf(t, "k2", 1)).snap.Keys
	type recipe func() Source
	inline := func(keys Keys) recipe {
		return func() Source { return &Inline{snap: Snapshot{Keys: keys, Loaded: true}} }
	}
	slow := func(keys Keys, takes time.Duration) recipe {
		return func() Source { return newSlowSource(keys, takes, nil) }
	}
	failing := func() Source { return newSlowSource(nil, time.Second/4, errors.New("away")) }
	const never = -1
	tests := []struct {
		name    string
		start   time.Duration // when Start is called; Key is called at 0
		sources []recipe
		kid     string
		want    error
		after   time.Duration // when Key returns
	}{
		{"after Start", 0, []recipe{slow(k1, time.Second)}, "k1", nil, time.Second},
		{"before Start", time.Second, []recipe{slow(k1, time.Second/2)}, "k1", nil, 1500 * time.Millisecond},
		{"no kid", time.Second, []recipe{slow(k1, 0)}, "", nil, time.Second},
		{"too slow", 0, []recipe{slow(k1, 3*time.Second)}, "k1", ErrUnavailable, maxRefreshWait},
		{"started too late", 3 * time.Second, []recipe{slow(k1, 0)}, "k1", ErrUnavailable, maxRefreshWait},
		{"never started", never, []recipe{slow(k1, 0)}, "k1", ErrUnavailable, maxRefreshWait},
		{"the first load fails", time.Second, []recipe{failing}, "k1", ErrUnavailable, 1500 * time.Millisecond},
		{"unknown when all is loaded", time.Second, []recipe{slow(k1, 0), slow(k2, time.Second/4)}, "k9", ErrUnknownKid, 1500 * time.Millisecond},
		{"the other source is slow", 0, []recipe{slow(k1, time.Minute), slow(k2, time.Second)}, "k2", nil, time.Second},
		{"the other source is slow, too", 0, []recipe{slow(k2, time.Second), slow(k1, time.Minute)}, "k2", nil, time.Second},
		{"the other source fails", 0, []recipe{failing, slow(k2, time.Second)}, "k2", nil, time.Second},
		{"one needs no loading", never, []recipe{slow(k1, 0), inline(k2)}, "k2", nil, 0},
		{"the other one isn't loaded", time.Second, []recipe{slow(k1, 0), inline(k2)}, "k1", nil, time.Second},
		{"nothing to load", never, []recipe{inline(k1), inline(k2)}, "k9", ErrUnknownKid, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sources []Source
				for _, build := range tt.sources {
					sources = append(sources, build())
				}
				set := setOf(t, sources...)
				begin := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					if tt.start >= 0 {
						time.Sleep(tt.start)
						_ = set.Start(t.Context())
					}
				}()
				k, err := set.Key(t.Context(), tt.kid)
				require.ErrorIs(t, err, tt.want)
				assert.Equal(t, tt.after, time.Since(begin))
				if tt.want == nil && tt.kid != "" {
					assert.Equal(t, tt.kid, k.Kid)
				}
				<-done
			})
		})
	}
}

func TestStatusBeforeTheFirstLoad(t *testing.T) {
	k1 := inlineOf(t, jwkOf(t, "k1", 0)).snap.Keys
	synctest.Test(t, func(t *testing.T) {
		set := setOf(t, newSlowSource(k1, time.Second, nil))
		for range 2 {
			st := set.Status()
			assert.False(t, st.Ready)
			assert.Equal(t, StateWaiting, st.Sources[0].State)
			assert.Empty(t, st.KeyIDs)
			go func() { _ = set.Start(t.Context()) }()
			synctest.Wait()
		}
		requireKey(t, set, "k1")
		synctest.Wait()
		assert.Equal(t, StateOK, set.Status().Sources[0].State)
	})
}

func TestWaitingForTheFirstLoadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := setOf(t, newSlowSource(nil, time.Hour, nil))
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := set.Key(ctx, "k1")
		require.ErrorIs(t, err, ErrUnavailable)
		assert.Equal(t, time.Second, time.Since(begin), "with the context")

		go func() {
			time.Sleep(time.Second)
			_ = set.Close()
		}()
		requireNoKey(t, set, "k1", ErrUnavailable)
		assert.Equal(t, 2*time.Second, time.Since(begin), "with the set")
		requireNoKey(t, set, "k1", ErrUnavailable)
		assert.Equal(t, 2*time.Second, time.Since(begin), "for good")
	})
}

// A reload under load: many wait for the first keys, far more than for a new
// key, and all get them.
func TestManyWaitForTheFirstLoad(t *testing.T) {
	k1 := inlineOf(t, jwkOf(t, "k1", 0)).snap.Keys
	synctest.Test(t, func(t *testing.T) {
		set := setOf(t, newSlowSource(k1, time.Second, nil))
		var wg sync.WaitGroup
		for range 20 * maxWaiters {
			wg.Go(func() {
				_, err := set.Key(t.Context(), "k1")
				assert.NoError(t, err)
			})
		}
		synctest.Wait()
		set.waiters.Add(maxStartWaiters) // as if there were more
		begin := time.Now()
		requireNoKey(t, set, "k1", ErrUnavailable)
		assert.Equal(t, begin, time.Now(), "too many: no waiting")
		set.waiters.Add(-maxStartWaiters)

		require.NoError(t, set.Start(t.Context()))
		wg.Wait()
		assert.Zero(t, set.waiters.Load())
	})
}
