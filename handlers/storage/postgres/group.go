package postgres

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// maxBatch bounds the operations of one transaction, and thereby how long
	// the first of them waits for the last.
	maxBatch = 256
	// maxYields is how often a leader lets others run, and none of them comes,
	// before it takes a batch.
	maxYields = 3
	// shortestBatch is the time that a batch gets even when its first caller has
	// waited for long.
	shortestBatch = 400 * time.Millisecond
)

// group runs what concurrent callers want in batches, each in one transaction.
// It has no goroutine of its own: a caller who finds no batch under way leads
// one, with whatever waits, on its own goroutine, and then hands on the lead. So
// a caller who is alone pays nothing for it.
//
// One batch is under way at a time: two of creations would wait for each other
// at the counter of a service, and each costs the server a transaction.
type group[T any] struct {
	// run carries out a batch within the timeout and sets each operation's err.
	run func(ctx context.Context, timeout time.Duration, batch []*op[T])
	// key names what two operations of one batch may not share, because the
	// second depends on what the first leaves; "" clashes with nothing. nil: all
	// may share a batch.
	key func(T) string

	mu      sync.Mutex
	waiting []*op[T]
	leading bool
	active  int // callers when the last batch ended: its own and those who waited
}

// op is one caller's part of a batch.
type op[T any] struct {
	arg   T
	err   error
	begun time.Time
	lead  chan struct{} // closed when the caller is to lead
	done  chan struct{} // closed when err is set; lead and done are nil for one who leads at once
}

var errUnfinished = errors.New("its batch was not finished")

// write has the group carry out an operation, and returns when that is durable
// (or read, if it is a look-up) or has failed, or when ctx ends.
func write[T any](ctx context.Context, s *Store, g *group[T], doing string, arg T) error {
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	defer s.leave()
	if err := s.health.away(); err != nil {
		return storage.Unavailable(doing, err)
	}
	o := &op[T]{arg: arg, err: errUnfinished, begun: time.Now()}
	if g.join(o) {
		select {
		case <-o.done:
			if o.err == errUnfinished { //nolint:errorlint // itself
				return storage.Unavailable(doing, errUnfinished)
			}
			return o.err
		case <-ctx.Done():
			if !g.withdraw(o) {
				return storage.Unavailable(doing, ctx.Err())
			}
			// Others wait for us to lead.
		case <-o.lead:
		}
	}
	g.carryOut(ctx, s.cfg.Timeout, o)
	return o.err
}

// join reports whether the caller is to wait, for another leads.
func (g *group[T]) join(o *op[T]) (wait bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.leading {
		g.leading = true
		return false
	}
	o.lead, o.done = make(chan struct{}), make(chan struct{})
	g.waiting = append(g.waiting, o)
	return true
}

// withdraw takes an operation back unless it has been taken. It reports whether
// its caller must lead all the same.
func (g *group[T]) withdraw(o *op[T]) (lead bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-o.lead:
		return true
	default:
	}
	if i := slices.Index(g.waiting, o); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return false
}

// carryOut is run by the leader, whose own operation is the first of the batch.
func (g *group[T]) carryOut(ctx context.Context, timeout time.Duration, own *op[T]) {
	// Those whom the last batch has just answered are about to come again, and
	// would otherwise all miss this one.
	g.mu.Lock()
	for idle := 0; idle < maxYields && len(g.waiting)+1 < g.active; {
		before := len(g.waiting)
		g.mu.Unlock()
		runtime.Gosched()
		g.mu.Lock()
		if idle++; len(g.waiting) > before {
			idle = 0
		}
	}
	batch := g.take(own)
	g.mu.Unlock()
	defer g.handOn(batch)
	if len(batch) > 1 { // it is others' too
		ctx = context.WithoutCancel(ctx)
	}
	timeout = max(timeout-time.Since(own.begun), shortestBatch)
	g.run(ctx, timeout, batch)
	if len(batch) > 1 && ownFault(own.err) { // of one of them, which mustn't spoil the others
		for i := range batch {
			g.run(ctx, timeout, batch[i:i+1])
		}
	}
}

// handOn answers a batch and makes the first who waits the leader.
func (g *group[T]) handOn(batch []*op[T]) {
	for _, o := range batch {
		if o.done != nil { // else it leads
			close(o.done)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active = min(len(batch)+len(g.waiting), maxBatch)
	if len(g.waiting) == 0 {
		g.leading = false
		return
	}
	next := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	close(next.lead)
}

// take takes what waits and may share a batch with the leader's own.
func (g *group[T]) take(own *op[T]) []*op[T] {
	batch := append(make([]*op[T], 0, min(len(g.waiting)+1, maxBatch)), own)
	keys := map[string]struct{}{}
	g.fits(keys, own)
	left := g.waiting[:0]
	for _, o := range g.waiting {
		if len(batch) < maxBatch && g.fits(keys, o) {
			batch = append(batch, o)
		} else {
			left = append(left, o)
		}
	}
	clear(g.waiting[len(left):])
	g.waiting = left
	return batch
}

func (g *group[T]) fits(keys map[string]struct{}, o *op[T]) bool {
	if g.key == nil {
		return true
	}
	k := g.key(o.arg)
	if k == "" {
		return true
	}
	if _, taken := keys[k]; taken {
		return false
	}
	keys[k] = struct{}{}
	return true
}

// fail answers a whole batch.
func fail[T any](batch []*op[T], err error) {
	for _, o := range batch {
		o.err = err
	}
}
