package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// owe stores a callback about a notification that has just become final.
func (w *writer) owe(r *record, from *storage.Notification) error {
	if !transition.Owed(from.Status, &r.n) {
		return nil
	}
	added, err := w.c.exec(w.ctx, `INSERT INTO callback (notification, tenant, due, created_at) VALUES (?1, ?2, ?3, ?3)
		ON CONFLICT (notification) DO NOTHING`, r.n.ID, r.tenant, r.n.UpdatedAt)
	w.m.callbacks += added
	return err
}

// disown removes the callback about a notification, if one is owed.
func (w *writer) disown(notification int64) error {
	if w.m.callbacks == 0 {
		return nil
	}
	removed, err := w.c.exec(w.ctx, `DELETE FROM callback WHERE notification = ?`, notification)
	w.m.callbacks -= removed
	return err
}

// asked asks whether a notification's service wants callbacks.
func asked(wants func(serviceID string) bool, n *storage.Notification) bool {
	return wants != nil && wants(n.ServiceID)
}

// ClaimCallbacks leases a service's callbacks that are due.
func (s *Store) ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) ([]storage.CallbackClaim, error) {
	next, err := s.NextCallbacks(ctx, []string{r.ServiceID})
	if due, owed := next[r.ServiceID]; err != nil || !owed || r.Limit <= 0 || due.After(storage.Micro(r.Now)) {
		return nil, err
	}
	var claims []storage.CallbackClaim
	err = s.write(ctx, "claiming callbacks", func(w *writer) (err error) {
		claims, err = w.claimCallbacks(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

func (w *writer) claimCallbacks(r storage.CallbackRequest) ([]storage.CallbackClaim, error) {
	now := storage.Micro(r.Now)
	until := storage.Micro(r.Now.Add(r.Lease))
	due := max(asMicro(until), asMicro(now)+1)
	var claims []storage.CallbackClaim
	err := w.c.query(w.ctx, func(row []driver.Value) error {
		rec, err := decode(row)
		if err != nil {
			return err
		}
		own := row[len(row)-4:]
		claims = append(claims, storage.CallbackClaim{
			ID: asInt(own[0]), Notification: rec.n, Attempts: int(asInt(own[1])) + 1, CreatedAt: asTime(own[2]),
			Token: asInt(own[3]) + 1, LeaseUntil: until,
		})
		return nil
	}, `SELECT `+columns+`, c.id, c.attempts, c.created_at, c.token FROM callback AS c
		CROSS JOIN notification AS n ON n.id = c.notification JOIN tenant AS t ON t.no = n.tenant
		WHERE c.tenant = ? AND c.due <= ? ORDER BY c.due, c.id LIMIT ? + 0`, w.m.tenants[r.ServiceID], now, r.Limit)
	if err != nil {
		return nil, err
	}
	for _, c := range claims {
		if _, err := w.c.exec(w.ctx, `UPDATE callback SET token = ?, leased = 1, attempts = ?, due = ? WHERE id = ?`,
			c.Token, c.Attempts, due, c.ID); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// CompleteCallback ends the lease of a callback.
func (s *Store) CompleteCallback(ctx context.Context, c storage.CallbackClaim, next time.Time) error {
	return s.write(ctx, "recording a callback", func(w *writer) error {
		if next.IsZero() {
			removed, err := w.c.exec(w.ctx, `DELETE FROM callback WHERE id = ? AND token = ? AND leased = 1`, c.ID, c.Token)
			w.m.callbacks -= removed
			return unless(storage.ErrLeaseLost)(removed, err)
		}
		return unless(storage.ErrLeaseLost)(w.c.exec(w.ctx,
			`UPDATE callback SET leased = 0, due = ? WHERE id = ? AND token = ? AND leased = 1`, next, c.ID, c.Token))
	})
}

// NextCallbacks returns when services' next callbacks become due.
func (s *Store) NextCallbacks(ctx context.Context, services []string) (map[string]time.Time, error) {
	const doing = "reading the callbacks"
	next := make(map[string]time.Time)
	err := s.trusted(ctx, doing, func() error {
		if s.callbacks.Load() == 0 {
			return nil
		}
		return s.withReader(ctx, doing, func(c *conn) error {
			for _, id := range services {
				due, owed, err := c.one(ctx, `SELECT c.due FROM tenant AS t JOIN callback AS c ON c.tenant = t.no
					WHERE t.id = ? ORDER BY c.due LIMIT 1`, id)
				if err != nil {
					return err
				}
				if owed {
					next[id] = fromMicro(due)
				}
			}
			return nil
		})
	})
	return next, err
}
