package sqlite

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// NotificationByID returns a service's notification.
func (s *Store) NotificationByID(ctx context.Context, serviceID string, id int64) (storage.Notification, error) {
	var n storage.Notification
	err := s.trusted(ctx, readingOne, func() (err error) {
		known, version, ok := s.recent.get(serviceID, id)
		if ok {
			n = known
			return nil
		}
		if n, err = s.find(ctx, `WHERE n.id = ? AND t.id = ?`, id, serviceID); err == nil {
			s.recent.put(&n, version)
		}
		return err
	})
	return n, err
}

// NotificationByUUID returns a service's notification.
func (s *Store) NotificationByUUID(ctx context.Context, serviceID string, id uuid.UUID) (storage.Notification, error) {
	return s.notification(ctx, `WHERE n.uuid = ? AND t.id = ?`, id[:], serviceID)
}

const readingOne = "reading a notification"

func (s *Store) notification(ctx context.Context, where string, args ...any) (n storage.Notification, err error) {
	err = s.trusted(ctx, readingOne, func() error {
		n, err = s.find(ctx, where, args...)
		return err
	})
	return n, err
}

// find is called within trusted. The query isn't interrupted when ctx ends: it
// reads one row, and the driver's watching of ctx would cost a goroutine.
func (s *Store) find(ctx context.Context, where string, args ...any) (n storage.Notification, err error) {
	err = s.withReader(ctx, readingOne, func(c *conn) error {
		r, err := c.record(context.WithoutCancel(ctx), where, args...)
		if err == nil && r == nil {
			err = storage.ErrNotFound
		}
		if err == nil {
			n = r.n
		}
		return err
	})
	return n, err
}

// Idempotent returns the notification stored under a key.
func (s *Store) Idempotent(ctx context.Context, serviceID string, key []byte) (storage.Notification, error) {
	if err := s.enter(ctx, readingOne); err != nil {
		return storage.Notification{}, err
	}
	defer s.leave()
	id, ok := s.keys.get(s.keys.hash(serviceID, key))
	if !ok {
		// While a fault has emptied the index, nothing is known to be new.
		return storage.Notification{}, s.read(ctx, readingOne, func(*conn) error { return storage.ErrNotFound })
	}
	return s.notification(ctx, `JOIN idempotency AS i ON i.id = n.id WHERE n.id = ? AND t.id = ? AND i.key = ?`, id, serviceID, key)
}

// Take takes a token from a bucket.
func (s *Store) Take(ctx context.Context, b storage.Bucket, now time.Time) (time.Duration, error) {
	if err := s.enter(ctx, "taking a token"); err != nil {
		return 0, err
	}
	defer s.leave()
	return s.buckets.Take(b, now), nil
}

// GiveBack returns a token to a bucket.
func (s *Store) GiveBack(ctx context.Context, b storage.Bucket, now time.Time) error {
	if err := s.enter(ctx, "giving a token back"); err != nil {
		return err
	}
	defer s.leave()
	s.buckets.GiveBack(b, now)
	return nil
}

// Counter returns the value of a limit's counter.
func (s *Store) Counter(ctx context.Context, key string) (v int64, err error) {
	err = s.read(ctx, "reading a counter", func(c *conn) error {
		v, _, err = c.one(ctx, `SELECT value FROM counter WHERE key = ?`, key)
		return err
	})
	return v, err
}

// Remember stores a replay key.
func (s *Store) Remember(ctx context.Context, k storage.ReplayKey, now time.Time) (bool, error) {
	var first bool
	err := s.write(ctx, "storing a replay key", func(w *writer) error {
		first = false
		x := w.m.replays
		h := x.hash(k.ServiceID, k.Key)
		if expires, ok := x.get(h); ok && expires >= asMicro(now) {
			return nil
		}
		expires := asMicro(k.ExpiresAt)
		if _, err := w.c.exec(w.ctx, `INSERT INTO replay (service_id, key, expires_at) VALUES (?, coalesce(?, x''), ?)`,
			k.ServiceID, k.Key, expires); err != nil {
			return err
		}
		x.set(h, expires)
		first = true
		return nil
	})
	return first && err == nil, err
}
