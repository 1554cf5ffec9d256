package notifyauth

import "sync/atomic"

// Budget bounds the bytes of request bodies that are held in memory at once.
// It never waits: what doesn't fit is refused, so that a flood of bodies can't
// pile up requests as well. It is safe for concurrent use, and several
// verifiers may share one.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget makes a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Max returns the limit in bytes.
func (b *Budget) Max() int64 { return b.limit }

// Used returns the bytes that are reserved now.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) reserve(n int64) bool {
	for {
		used := b.used.Load()
		if n > b.limit-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *Budget) free(n int64) {
	if n != 0 {
		b.used.Add(-n)
	}
}
