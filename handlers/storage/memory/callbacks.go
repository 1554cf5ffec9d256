package memory

import (
	"context"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// callback is what a service is owed about a notification that is final.
type callback struct {
	id        int64
	row       *row
	attempts  int
	createdAt time.Time
	token     int64
	leased    bool
	place     int64
}

func (c *callback) slot() (int64, *int64) { return c.id, &c.place }

// callbacks are those that are owed.
type callbacks struct {
	lastID int64
	byID   map[int64]*callback
	due    map[string]*schedule[*callback] // by service
}

func newCallbacks() callbacks {
	return callbacks{byID: map[int64]*callback{}, due: map[string]*schedule[*callback]{}}
}

func (c *callbacks) drop(r *row) {
	if r.owed == nil {
		return
	}
	drop(r.owed)
	delete(c.byID, r.owed.id)
	r.owed = nil
}

// asked asks whether a notification's service wants callbacks.
func asked(wants func(serviceID string) bool, n *storage.Notification) bool {
	return wants != nil && wants(n.ServiceID)
}

// owe stores a callback if a notification has just become final.
func (s *Store) owe(r *row, from kind, wanted bool) {
	if !wanted || !transition.Owed(from.status, &r.n) {
		return
	}
	c := &s.callbacks
	c.lastID++
	r.owed = &callback{id: c.lastID, row: r, createdAt: r.n.UpdatedAt}
	c.byID[r.owed.id] = r.owed
	due := c.due[r.n.ServiceID]
	if due == nil {
		due = &schedule[*callback]{}
		c.due[r.n.ServiceID] = due
	}
	due.put(r.owed, r.owed.createdAt)
}

// ClaimCallbacks leases a service's callbacks that are due.
func (s *Store) ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) ([]storage.CallbackClaim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "claiming callbacks"); err != nil {
		return nil, err
	}
	q := s.callbacks.due[r.ServiceID]
	if q == nil {
		return nil, nil
	}
	now := storage.Micro(r.Now)
	until := storage.Micro(r.Now.Add(r.Lease))
	var claims []storage.CallbackClaim
	for len(claims) < r.Limit {
		c, due, ok := q.first()
		if !ok || due.After(now) {
			break
		}
		c.token++
		c.leased = true
		c.attempts++
		q.put(c, latest(until, now.Add(time.Microsecond)))
		claims = append(claims, storage.CallbackClaim{
			ID: c.id, Notification: c.row.n, Attempts: c.attempts, CreatedAt: c.createdAt, Token: c.token, LeaseUntil: until,
		})
	}
	return claims, nil
}

// CompleteCallback ends the lease of a callback.
func (s *Store) CompleteCallback(ctx context.Context, c storage.CallbackClaim, next time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "recording a callback"); err != nil {
		return err
	}
	held := s.callbacks.byID[c.ID]
	if held == nil || !held.leased || held.token != c.Token {
		return storage.ErrLeaseLost
	}
	if next.IsZero() {
		s.callbacks.drop(held.row)
		return nil
	}
	held.leased = false
	s.callbacks.due[held.row.n.ServiceID].put(held, storage.Micro(next))
	return nil
}

// NextCallbacks returns when services' next callbacks become due.
func (s *Store) NextCallbacks(ctx context.Context, services []string) (map[string]time.Time, error) {
	s.mu.Lock() // first drops stale entries
	defer s.mu.Unlock()
	if err := s.usable(ctx, "reading the callbacks"); err != nil {
		return nil, err
	}
	next := make(map[string]time.Time)
	for _, id := range services {
		q := s.callbacks.due[id]
		if q == nil {
			continue
		}
		if _, due, ok := q.first(); ok {
			next[id] = due
		} else {
			delete(s.callbacks.due, id)
		}
	}
	return next, nil
}
