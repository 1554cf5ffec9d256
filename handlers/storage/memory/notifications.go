package memory

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Create stores one notification.
func (s *Store) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	c, err := c.Normalised()
	if err != nil {
		return storage.Created{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a notification"); err != nil {
		return storage.Created{}, err
	}
	n := c.Notification
	var key serviceKey
	if i := c.Idempotency; i != nil {
		key = serviceKey{n.ServiceID, string(i.Key)}
		if old, ok := s.idempotency[key]; ok && !old.expiresAt.Before(n.CreatedAt) {
			if r, ok := s.rows[old.id]; ok {
				if storage.Mismatch(old.hash, i.BodyHash) {
					return storage.Created{}, storage.ErrIdempotencyMismatch
				}
				return storage.Created{Notification: r.n, Replayed: true}, nil
			}
		}
	}
	if _, taken := s.byUUID[n.UUID]; taken {
		return storage.Created{}, storage.ErrExists
	}
	if err := s.count(c.Limits); err != nil {
		return storage.Created{}, err
	}
	s.lastID++
	n.ID = s.lastID
	if n.JobID == 0 {
		n.JobID = n.ID
	}
	r := &row{n: n}
	s.rows[n.ID], s.byUUID[n.UUID] = r, r
	s.list(n.ServiceID).add(r)
	s.queues[n.Channel].put(r, n.DueAt())
	s.queued++
	if i := c.Idempotency; i != nil {
		s.idempotency[key] = idempotent{n.ID, bytes.Clone(i.BodyHash), storage.Micro(i.ExpiresAt)}
	}
	s.rouse()
	return storage.Created{Notification: n}, nil
}

// rouse wakes the dispatcher.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// count increments all the limits or none.
func (s *Store) count(limits []storage.Limit) error {
	for i, l := range limits {
		c := s.counters[l.Key]
		if l.Max > 0 && c.value >= l.Max {
			for _, done := range limits[:i] {
				c := s.counters[done.Key]
				c.value--
				s.counters[done.Key] = c
			}
			return &storage.LimitError{Key: l.Key, Max: l.Max}
		}
		s.counters[l.Key] = counter{c.value + 1, storage.Micro(l.ExpiresAt)}
	}
	return nil
}

// Idempotent returns the notification stored under a key.
func (s *Store) Idempotent(ctx context.Context, serviceID string, key []byte) (storage.Notification, error) {
	return s.one(ctx, serviceID, func() *row {
		return s.rows[s.idempotency[serviceKey{serviceID, string(key)}].id]
	})
}

// NotificationByID returns a service's notification.
func (s *Store) NotificationByID(ctx context.Context, serviceID string, id int64) (storage.Notification, error) {
	return s.one(ctx, serviceID, func() *row { return s.rows[id] })
}

// NotificationByUUID returns a service's notification.
func (s *Store) NotificationByUUID(ctx context.Context, serviceID string, id uuid.UUID) (storage.Notification, error) {
	return s.one(ctx, serviceID, func() *row { return s.byUUID[id] })
}

func (s *Store) one(ctx context.Context, serviceID string, find func() *row) (storage.Notification, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a notification"); err != nil {
		return storage.Notification{}, err
	}
	r := find()
	if r == nil || r.n.ServiceID != serviceID {
		return storage.Notification{}, storage.ErrNotFound
	}
	return r.n, nil
}

// Notifications returns a page of a service's notifications, newest first.
func (s *Store) Notifications(ctx context.Context, q storage.Query) (storage.Page, error) {
	q = q.Normalised()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing notifications"); err != nil {
		return storage.Page{}, err
	}
	l := s.lists[q.ServiceID]
	if l == nil {
		l = &list{}
	}
	return l.page(q), nil
}

// Take takes a token from a bucket.
func (s *Store) Take(ctx context.Context, b storage.Bucket, now time.Time) (time.Duration, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "taking a token"); err != nil {
		return 0, err
	}
	return s.buckets.Take(b, now), nil
}

// GiveBack returns a token to a bucket.
func (s *Store) GiveBack(ctx context.Context, b storage.Bucket, now time.Time) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "giving a token back"); err != nil {
		return err
	}
	s.buckets.GiveBack(b, now)
	return nil
}

// Counter returns the value of a limit's counter.
func (s *Store) Counter(ctx context.Context, key string) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a counter"); err != nil {
		return 0, err
	}
	return s.counters[key].value, nil
}

// Remember stores a replay key.
func (s *Store) Remember(ctx context.Context, k storage.ReplayKey, now time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a replay key"); err != nil {
		return false, err
	}
	key := serviceKey{k.ServiceID, string(k.Key)}
	if expiry, ok := s.replays[key]; ok && !expiry.Before(storage.Micro(now)) {
		return false, nil
	}
	s.replays[key] = storage.Micro(k.ExpiresAt)
	return true, nil
}
