package signing

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// pool is memory for bodies that take more of it as they arrive, so that what
// was announced costs nothing.
//
// With many bodies that each have a part of what they need, none would ever be
// whole. So there is always so much left that the one which has the most can
// get all that it may need: it is whole soon, or gone, and then so much is
// left for the next. What bodies have taken whose senders then stall is lost to
// the others for that while, and nothing beyond.
type pool struct {
	need int64 // in bytes, as all here: what one body takes at most

	mu      sync.Mutex
	free    int64
	settled int64 // held by bodies that are whole: it comes back whatever clients do
	growing map[*share]struct{}
	top     *share   // of those growing, one that holds the most
	waiting []*share // in the order in which they are served
	joined  uint64
}

func newPool(size, need int64) *pool {
	return &pool{need: need, free: size, growing: make(map[*share]struct{})}
}

// share is what one body has of a pool. It isn't safe for concurrent use.
type share struct {
	pool    *pool
	held    int64
	age     uint64 // since 0 means that it hasn't joined, the first is 1
	wants   int64
	granted chan struct{} // has room for one
	enough  *time.Timer
	whole   bool
}

// byPrecedence is the order among those that wait: those that have the most
// come first, as they are done soonest, and among equals who came first.
func byPrecedence(a, b *share) int {
	return cmp.Or(cmp.Compare(b.held, a.held), cmp.Compare(a.age, b.age))
}

// tryGrow takes n bytes more if they can be had without waiting. With those it
// has, they must not be more than the pool's need.
func (s *share) tryGrow(n int64) bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.growLocked(n)
}

func (s *share) growLocked(n int64) bool {
	p := s.pool
	if s.age == 0 {
		p.joined++
		s.age = p.joined
		p.growing[s] = struct{}{}
		if p.top == nil {
			p.top = s
		}
	}
	if len(p.waiting) > 0 && byPrecedence(p.waiting[0], s) < 0 || !p.fits(s, n) {
		return false
	}
	p.give(s, n)
	return true
}

// grow takes n bytes more, for which it waits so long at most. Else its error
// is errBusy.
func (s *share) grow(ctx context.Context, n int64, patience time.Duration) error {
	p := s.pool
	p.mu.Lock()
	if s.growLocked(n) {
		p.mu.Unlock()
		return nil
	}
	s.wants = n
	if s.granted == nil {
		s.granted = make(chan struct{}, 1)
	}
	at, _ := slices.BinarySearchFunc(p.waiting, s, byPrecedence)
	p.waiting = slices.Insert(p.waiting, at, s)
	p.mu.Unlock()

	// Many bodies wait often; so the timer is used again.
	if s.enough == nil {
		s.enough = time.NewTimer(patience)
	} else {
		s.enough.Reset(patience)
	}
	defer s.enough.Stop()
	select {
	case <-s.granted:
		return nil
	case <-s.enough.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.wants == 0 { // it was granted in between
		<-s.granted
		return nil
	}
	s.wants = 0
	p.waiting = slices.DeleteFunc(p.waiting, func(w *share) bool { return w == s })
	p.serve()
	return errBusy
}

// settle says that the body is whole and needs no more.
func (s *share) settle() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.age == 0 || s.whole {
		return
	}
	s.whole = true
	p.settled += s.held
	p.leave(s)
	p.serve()
}

// close gives everything back. The share can join again.
func (s *share) close() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.age == 0 {
		return
	}
	if s.whole {
		p.settled -= s.held
	} else {
		p.leave(s)
	}
	p.free += s.held
	*s = share{pool: p}
	p.serve()
}

// fits reports whether n bytes more for a share leave enough for the one that
// has the most then.
func (p *pool) fits(s *share, n int64) bool {
	left := p.free - n
	return left >= 0 && left+p.settled >= p.need-max(p.top.held, s.held+n)
}

func (p *pool) give(s *share, n int64) {
	p.free -= n
	s.held += n
	if s.held > p.top.held {
		p.top = s
	}
}

func (p *pool) serve() {
	served := 0
	for _, s := range p.waiting {
		if !p.fits(s, s.wants) {
			break
		}
		p.give(s, s.wants)
		s.wants = 0
		s.granted <- struct{}{}
		served++
	}
	p.waiting = slices.Delete(p.waiting, 0, served)
}

func (p *pool) leave(s *share) {
	delete(p.growing, s)
	if p.top != s {
		return
	}
	p.top = nil
	for other := range p.growing {
		if p.top == nil || other.held > p.top.held {
			p.top = other
		}
	}
}
