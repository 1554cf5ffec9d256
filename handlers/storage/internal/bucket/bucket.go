// Package bucket keeps token buckets in memory, for the back ends whose data
// belongs to one process.
package bucket

import (
	"math"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// longest is the wait that Take reports when no token will ever come.
const longest = 24 * time.Hour

// epsilon forgives the rounding of float64, so that a caller who asks again
// after exactly the wait that it was told finds its token.
const epsilon = 1e-6

// pruneFrom is the number of buckets from which full ones are looked for: a
// full bucket equals an unknown one, so it need not be kept.
const pruneFrom = 1024

// Set is a set of token buckets. The zero value is ready.
type Set struct {
	mu      sync.Mutex
	buckets map[string]*state
	prune   int // prune when the map is as large as this
}

type state struct {
	tokens, capacity, perSecond float64
	at                          time.Time
}

// fill brings the bucket to now. A clock that went back neither adds nor takes
// away, and the bucket fills from the new time on.
func (s *state) fill(now time.Time) {
	if d := now.Sub(s.at); d > 0 {
		s.tokens += d.Seconds() * s.perSecond
	}
	s.tokens = min(s.tokens, s.capacity)
	s.at = now
}

// Take takes one token; a positive wait says that there was none.
func (b *Set) Take(k storage.Bucket, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now = now.Round(0)
	s, ok := b.buckets[k.Key]
	if !ok {
		b.makeRoom(now)
		s = &state{tokens: k.Capacity, at: now}
		b.buckets[k.Key] = s
	}
	s.capacity, s.perSecond = k.Capacity, k.PerSecond
	s.fill(now)
	if s.tokens >= 1-epsilon {
		s.tokens = max(s.tokens-1, 0)
		return 0
	}
	if s.perSecond <= 0 || s.capacity < 1 {
		return longest
	}
	seconds := (1 - s.tokens) / s.perSecond
	if seconds >= longest.Seconds() {
		return longest
	}
	return max(time.Duration(math.Ceil(seconds*float64(time.Second))), 1)
}

// GiveBack returns one token.
func (b *Set) GiveBack(k storage.Bucket, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.buckets[k.Key]
	if !ok {
		return // full
	}
	s.capacity, s.perSecond = k.Capacity, k.PerSecond
	s.fill(now.Round(0))
	s.tokens = min(s.tokens+1, s.capacity)
}

// makeRoom drops full buckets when the map has doubled since it last did.
func (b *Set) makeRoom(now time.Time) {
	if b.buckets == nil {
		b.buckets, b.prune = map[string]*state{}, pruneFrom
	}
	if len(b.buckets) < b.prune {
		return
	}
	for k, s := range b.buckets {
		if s.fill(now); s.tokens >= s.capacity {
			delete(b.buckets, k)
		}
	}
	b.prune = max(2*len(b.buckets), pruneFrom)
}
