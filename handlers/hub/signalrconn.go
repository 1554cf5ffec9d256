package hub

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
)

// maxConnections is how many connections there can be: a page has one, for one
// signature.
const maxConnections = 32

// connections are those of SignalR. None has a goroutine: those that are over
// are found when the next is looked for, and their number is bounded.
type connections struct {
	now func() time.Time

	mu  sync.Mutex
	all map[string]*connection // by token
}

// connection is one of SignalR. It is bound to the origin that began it.
type connection struct {
	token, id, origin string
	now               func() time.Time
	// over ends, by end, what runs on the connection.
	over context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	seen   time.Time // when the client was last heard of
	busy   int       // polls and invocations that are running
	turns  int       // how many polls there were
	newest context.CancelFunc
}

// add begins a connection; it returns nil when there are too many.
func (s *connections) add(closing context.Context, origin string) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for token, c := range s.all {
		if c.isOver(now) {
			c.end()
			delete(s.all, token)
		}
	}
	if len(s.all) >= maxConnections || closing.Err() != nil {
		return nil
	}
	c := &connection{token: rand.Text() + rand.Text(), id: uuid.NewString(), origin: origin, now: s.now, seen: now}
	c.over, c.end = context.WithCancel(closing)
	if s.all == nil {
		s.all = make(map[string]*connection)
	}
	s.all[c.token] = c
	return c
}

// find returns the connection of a token, if it is the origin's own and not
// over.
func (s *connections) find(token, origin string) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[token]
	if c == nil || c.origin != origin || c.isOver(s.now()) {
		return nil
	}
	return c
}

func (s *connections) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c.token)
}

// isOver reports whether nothing is to be expected of the connection any more.
func (c *connection) isOver(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over.Err() != nil || c.busy == 0 && now.Sub(c.seen) > disconnect
}

func (c *connection) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.now()
}

// cursor is what a client gives back with its next poll. Nothing is kept for
// it, so it only has to differ.
func (c *connection) cursor() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "s-0," + strconv.Itoa(c.turns)
}

// begin notes that something runs on the connection, and returns a context that
// ends with it.
func (c *connection) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.over, cancel)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
	c.seen = c.now()
	return ctx, func() {
		stop()
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy--
		c.seen = c.now()
	}
}

// wait holds a poll until its context ends, the next poll comes or the
// connection is over, which it reports.
func (c *connection) wait(ctx context.Context) (over bool) {
	ctx, end := c.begin(ctx)
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.newest != nil {
		c.newest()
	}
	c.newest = cancel
	c.turns++
	c.mu.Unlock()
	<-ctx.Done()
	return c.over.Err() != nil
}
