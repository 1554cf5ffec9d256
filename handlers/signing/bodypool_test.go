package signing

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestPoolModel: whatever bodies take, settle and give back, the sum is right,
// and the one that has the most can have all that it may need.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const need = 100
		size := rapid.Int64Range(need, 5*need).Draw(t, "size")
		p := newPool(size, need)
		var all []*share
		pick := func(t *rapid.T) *share {
			if len(all) == 0 {
				t.Skip("there is none")
			}
			return rapid.SampledFrom(all).Draw(t, "which")
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(*rapid.T) { all = append(all, &share{pool: p}) },
			"grow": func(t *rapid.T) {
				s := pick(t)
				if s.whole || s.held == need {
					t.Skip("it has all")
				}
				n := rapid.Int64Range(1, need-s.held).Draw(t, "n")
				before := s.held
				if !s.tryGrow(n) {
					n = 0
				}
				if s.held != before+n {
					t.Fatalf("%d and %d more are %d", before, n, s.held)
				}
			},
			"settle": func(t *rapid.T) { pick(t).settle() },
			"close": func(t *rapid.T) {
				s := pick(t)
				s.close()
				all = slices.DeleteFunc(all, func(other *share) bool { return other == s })
			},
			"": func(t *rapid.T) {
				var held, settled, most int64
				growing := 0
				for _, s := range all {
					held += s.held
					switch {
					case s.whole:
						settled += s.held
					case s.age > 0:
						growing++
						most = max(most, s.held)
					}
				}
				if p.free < 0 || p.free+held != size || p.settled != settled || len(p.growing) != growing {
					t.Fatalf("%d free, %d held, %d settled, %d growing of %d", p.free, held, settled, growing, size)
				}
				if growing > 0 && (p.top.held != most || p.free+settled < need-most) {
					t.Fatalf("%d free, %d settled, and one has %d of %d", p.free, settled, most, need)
				}
			},
		})
	})
}

// TestNoDeadlock: of many bodies at once that each have a part of what they
// need, all become whole.
func TestNoDeadlock(t *testing.T) {
	for _, size := range []int64{400, 401, 500, 2000} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(size, 400)
			var all sync.WaitGroup
			for range 300 {
				all.Go(func() {
					s := share{pool: p}
					defer s.close()
					for range 50 {
						time.Sleep(rand.N(20 * time.Millisecond))
						if !assert.NoError(t, s.grow(context.Background(), 2, time.Hour)) {
							return
						}
					}
					if !assert.NoError(t, s.grow(context.Background(), 300, time.Hour)) {
						return
					}
					s.settle()
					time.Sleep(time.Millisecond)
				})
			}
			all.Wait()
			assert.Equal(t, size, p.free)
			assert.Empty(t, p.growing)
		})
	}
}

// Those that have the most are served first, and among equals the first.
func TestPrecedence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(100, 50)
		shares := make([]share, 5)
		for i := range shares {
			shares[i].pool = p
		}
		require.True(t, shares[0].tryGrow(30))
		require.True(t, shares[1].tryGrow(5))
		require.True(t, shares[2].tryGrow(20))
		require.True(t, shares[3].tryGrow(20))
		require.False(t, shares[4].tryGrow(6), "20 are for the one with 30")
		ctx, cancel := context.WithCancel(t.Context())
		var refused atomic.Int32
		wait := func(i int, n int64) {
			go func() {
				if shares[i].grow(ctx, n, time.Hour) != nil {
					refused.Add(1)
				}
			}()
			synctest.Wait()
		}
		wait(1, 20)
		wait(3, 15)
		wait(2, 14)
		require.Equal(t, []*share{&shares[2], &shares[3], &shares[1]}, p.waiting)
		require.False(t, shares[4].tryGrow(1), "it would overtake")
		require.True(t, shares[0].tryGrow(20), "it never waits")
		shares[0].settle()
		synctest.Wait()
		require.Len(t, p.waiting, 3, "what it has is not back yet")
		shares[0].close()
		synctest.Wait()
		require.Equal(t, []*share{&shares[1]}, p.waiting)
		wait(4, 50)
		cancel()
		synctest.Wait()
		require.Equal(t, int32(2), refused.Load())
		for i, held := range []int64{0, 5, 34, 35, 0} {
			assert.Equal(t, held, shares[i].held)
			shares[i].close()
		}
		require.Equal(t, int64(100), p.free)
		require.Empty(t, p.waiting)
	})
}

// A grant that comes together with the end of the wait isn't lost.
func TestGrantAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			p := newPool(10, 10)
			first, second := share{pool: p}, share{pool: p}
			require.True(t, first.tryGrow(10))
			go func() {
				time.Sleep(time.Second)
				first.close()
			}()
			if second.grow(t.Context(), 10, time.Second) == nil {
				assert.Equal(t, int64(10), second.held)
			} else {
				assert.Zero(t, second.held)
			}
			synctest.Wait()
			second.close()
			require.Equal(t, int64(10), p.free)
		}
	})
}
