package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutService creates a service.
func (s *Store) PutService(ctx context.Context, v storage.Service) error {
	return s.write(ctx, "storing a service", func(w *writer) error {
		return unless(storage.ErrExists)(w.c.exec(w.ctx,
			`INSERT INTO service (id, name, created_at, settings) VALUES (?, ?, ?, coalesce(?, x'')) ON CONFLICT DO NOTHING`,
			v.ID, v.Name, v.CreatedAt, v.Settings))
	})
}

// PutServiceSettings replaces the settings of a service.
func (s *Store) PutServiceSettings(ctx context.Context, id string, settings []byte) error {
	return s.write(ctx, "storing settings", func(w *writer) error {
		return unless(storage.ErrNotFound)(w.c.exec(w.ctx, `UPDATE service SET settings = coalesce(?, x'') WHERE id = ?`, settings, id))
	})
}

// unless returns nothing when a statement changed a row, otherwise err.
func unless(nothing error) func(changed int64, err error) error {
	return func(changed int64, err error) error {
		if err == nil && changed == 0 {
			return nothing
		}
		return err
	}
}

// Service returns one service.
func (s *Store) Service(ctx context.Context, id string) (storage.Service, error) {
	out, err := list(ctx, s, "reading a service", decodeService, services+`WHERE id = ?`, id)
	return only(out, err)
}

// Services returns all services by creation.
func (s *Store) Services(ctx context.Context) ([]storage.Service, error) {
	return list(ctx, s, "listing services", decodeService, services+`ORDER BY no`)
}

const services = `SELECT id, name, created_at, settings FROM service `

func decodeService(v []driver.Value) storage.Service {
	s := storage.Service{ID: asText(v[0]), Name: asText(v[1]), CreatedAt: asTime(v[2])}
	if b := asBytes(v[3]); len(b) > 0 {
		s.Settings = b
	}
	return s
}

// list runs a query whose rows decode to T.
func list[T any](ctx context.Context, s *Store, doing string, decode func(v []driver.Value) T, text string, args ...any) ([]T, error) {
	var out []T
	err := s.read(ctx, doing, func(c *conn) error {
		return c.query(ctx, func(row []driver.Value) error {
			out = append(out, decode(row))
			return nil
		}, text, args...)
	})
	return out, err
}

// only returns the first of what was found, ErrNotFound when nothing was.
func only[T any](found []T, err error) (T, error) {
	if err == nil && len(found) > 0 {
		return found[0], nil
	}
	if err == nil {
		err = storage.ErrNotFound
	}
	var none T
	return none, err
}

// AddKey adds a key to a service.
func (s *Store) AddKey(ctx context.Context, k storage.APIKey) error {
	return s.write(ctx, "storing a key", func(w *writer) error {
		_, ok, err := w.c.one(w.ctx, `SELECT no FROM service WHERE id = ?`, k.ServiceID)
		if err != nil {
			return err
		}
		if !ok {
			return storage.ErrNotFound
		}
		return unless(storage.ErrExists)(w.c.exec(w.ctx, `INSERT INTO api_key (service_id, name, type, secret, created_at, revoked_at)
			VALUES (?, ?, ?, coalesce(?, x''), ?, ?) ON CONFLICT DO NOTHING`,
			k.ServiceID, k.Name, string(k.Type), k.Secret, k.CreatedAt, k.RevokedAt))
	})
}

// Keys returns a service's keys by creation.
func (s *Store) Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error) {
	return list(ctx, s, "listing keys", func(v []driver.Value) storage.APIKey {
		return storage.APIKey{
			ServiceID: asText(v[0]), Name: asText(v[1]), Type: storage.KeyType(asText(v[2])), Secret: asBytes(v[3]),
			CreatedAt: asTime(v[4]), RevokedAt: asTime(v[5]),
		}
	}, `SELECT service_id, name, type, secret, created_at, revoked_at FROM api_key WHERE service_id = ? ORDER BY no`, serviceID)
}

// RevokeKey revokes a key for good.
func (s *Store) RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error {
	return s.write(ctx, "revoking a key", func(w *writer) error {
		return unless(storage.ErrNotFound)(w.c.exec(w.ctx, `UPDATE api_key SET revoked_at = iif(revoked_at = 0, ?, revoked_at)
			WHERE service_id = ? AND name = ?`, at, serviceID, name))
	})
}
