package memory

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// Claim leases notifications that are due.
func (s *Store) Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "claiming notifications"); err != nil {
		return nil, err
	}
	q := s.queues[r.Channel]
	if q == nil {
		return nil, nil
	}
	now := storage.Micro(r.Now)
	until := storage.Micro(r.Now.Add(r.Lease))
	var claims []storage.Claim
	for len(claims) < r.Limit {
		w, due, ok := q.first()
		if !ok || due.After(now) {
			break
		}
		w.token++
		w.leased = true
		w.n.Attempts++
		w.n.UpdatedAt = now
		// A lease that is no longer than the clock's grain must not be claimed
		// again by this very call.
		q.put(w, latest(until, now.Add(time.Microsecond)))
		claims = append(claims, storage.Claim{Notification: w.n, Token: w.token, LeaseUntil: until})
	}
	return claims, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// held returns the row of a claim whose lease still counts.
func (s *Store) held(c storage.Claim) (*row, error) {
	r := s.rows[c.Notification.ID]
	if r == nil || !r.leased || r.token != c.Token {
		return nil, storage.ErrLeaseLost
	}
	return r, nil
}

// Renew extends a lease.
func (s *Store) Renew(ctx context.Context, c storage.Claim, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "renewing a lease"); err != nil {
		return err
	}
	r, err := s.held(c)
	if err != nil {
		return err
	}
	if r.n.Status == storage.StatusCreated {
		s.queues[r.n.Channel].put(r, storage.Micro(until))
	}
	return nil
}

// Reassign names the provider that is about to be called.
func (s *Store) Reassign(ctx context.Context, c storage.Claim, sender string) (bool, error) {
	if err := transition.CheckSender(sender); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "naming a provider"); err != nil {
		return false, err
	}
	r, err := s.held(c)
	if err != nil || r.n.Status != storage.StatusCreated {
		return false, err
	}
	r.n.Sender = sender
	return true, nil
}

// Complete records what became of a claim.
func (s *Store) Complete(ctx context.Context, c storage.Claim, o storage.Outcome) error {
	if err := transition.CheckOutcome(o); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "recording an outcome"); err != nil {
		return err
	}
	r, err := s.held(c)
	if err != nil {
		return err
	}
	from := kindOf(&r.n)
	reference := r.n.ProviderReference
	r.leased = false
	if transition.Outcome(&r.n, o) {
		s.queues[r.n.Channel].put(r, storage.Micro(o.NextAttempt))
	}
	s.moved(r, from)
	s.owe(r, from, o.Callback)
	if reference == "" {
		s.index(r)
	}
	return nil
}

// index makes the row findable by its provider's reference.
func (s *Store) index(r *row) {
	if r.n.ProviderReference != "" {
		k := reference{r.n.Sender, r.n.ProviderReference}
		s.byReference[k] = append(s.byReference[k], r)
	}
}

// moved puts a row whose status was from where its present status belongs.
func (s *Store) moved(r *row, from kind) {
	to := kindOf(&r.n)
	if to == from {
		return
	}
	s.list(r.n.ServiceID).moved(from, to)
	if from.status == storage.StatusCreated {
		s.queued--
	}
	switch to.status {
	case storage.StatusSending, storage.StatusPending:
		s.awaiting.put(r, r.n.SentAt)
	case storage.StatusTechnicalFailure:
		s.dead[r.n.ID] = r
		s.retained.put(r, r.n.ExpiresAt)
	default:
		s.retained.put(r, r.n.ExpiresAt)
	}
}

// Receipt applies a provider's report.
func (s *Store) Receipt(ctx context.Context, r storage.Receipt) (storage.Notification, bool, error) {
	if err := transition.CheckReceipt(r); err != nil {
		return storage.Notification{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "recording a receipt"); err != nil {
		return storage.Notification{}, false, err
	}
	w := s.reported(r)
	if w == nil {
		return storage.Notification{}, false, storage.ErrNotFound
	}
	from := kindOf(&w.n)
	changed := transition.Receipt(&w.n, r)
	s.moved(w, from)
	s.owe(w, from, changed && asked(r.Callback, &w.n))
	return w.n, changed, nil
}

// reported finds the notification that a receipt is about: the newest one when
// a provider has used a reference twice.
func (s *Store) reported(r storage.Receipt) *row {
	if rows := s.byReference[reference{r.Sender, r.Reference}]; len(rows) > 0 {
		return slices.MaxFunc(rows, func(a, b *row) int { return int(a.n.ID - b.n.ID) })
	}
	if id, err := uuid.Parse(r.Reference); err == nil {
		if w := s.byUUID[id]; w != nil && w.n.Sender == r.Sender {
			return w
		}
	}
	return nil
}

// NextDue returns when the next queued notification becomes due.
func (s *Store) NextDue(ctx context.Context, channel storage.Channel) (time.Time, error) {
	s.mu.Lock() // first drops stale entries
	defer s.mu.Unlock()
	if err := s.usable(ctx, "reading the queue"); err != nil {
		return time.Time{}, err
	}
	q := s.queues[channel]
	if q == nil {
		return time.Time{}, nil
	}
	_, due, _ := q.first()
	return due, nil
}

// Stats describes the queue.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading the queue"); err != nil {
		return storage.Stats{}, err
	}
	st := storage.Stats{Queued: s.queued, DeadLettered: int64(len(s.dead)), Callbacks: int64(len(s.callbacks.byID))}
	for _, l := range s.lists {
		for k, n := range l.totals {
			if k.status == storage.StatusSending || k.status == storage.StatusPending {
				st.Outstanding += n
			}
		}
		if t := l.oldestQueued(); !t.IsZero() && (st.Oldest.IsZero() || t.Before(st.Oldest)) {
			st.Oldest = t
		}
	}
	return st, nil
}
