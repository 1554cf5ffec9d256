package bucket

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestRate is the property that a bucket gives no more than its capacity and
// what it regained, and that the wait that it tells is enough.
func TestRate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s Set
		b := storage.Bucket{
			Key: "k", Capacity: float64(rapid.IntRange(1, 10).Draw(rt, "capacity")),
			PerSecond: rapid.Float64Range(0.01, 1000).Draw(rt, "rate"),
		}
		now, taken := noon, 0
		for range rapid.IntRange(1, 50).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(rt, "pause")))
			wait := s.Take(b, now)
			if wait > 0 {
				now = now.Add(wait)
				require.Zero(rt, s.Take(b, now), "after the wait that it told")
			}
			taken++
			most := b.Capacity + now.Sub(noon).Seconds()*b.PerSecond
			require.LessOrEqual(rt, float64(taken), most+0.001)
		}
	})
}

func TestFullBucketsAreForgotten(t *testing.T) {
	var s Set
	b := storage.Bucket{Capacity: 1, PerSecond: 1}
	for i := range 10 * pruneFrom {
		b.Key = fmt.Sprint(i)
		require.Zero(t, s.Take(b, noon.Add(time.Duration(i)*time.Second)))
	}
	assert.LessOrEqual(t, len(s.buckets), pruneFrom+1)
	// Those that aren't full stay.
	var busy Set
	for i := range 3 * pruneFrom {
		b.Key = fmt.Sprint(i)
		require.Zero(t, busy.Take(b, noon))
	}
	b.Key = "0"
	assert.Positive(t, busy.Take(b, noon))
	assert.Len(t, busy.buckets, 3*pruneFrom)
}

func TestLongestWait(t *testing.T) {
	var s Set
	slow := storage.Bucket{Key: "slow", Capacity: 1, PerSecond: 1e-12}
	assert.Zero(t, s.Take(slow, noon))
	assert.Equal(t, longest, s.Take(slow, noon))
	assert.Equal(t, longest, s.Take(storage.Bucket{Key: "none"}, noon))
	assert.Equal(t, longest, s.Take(storage.Bucket{Key: "small", Capacity: 0.5, PerSecond: 1}, noon))
}
