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
			`INSERT INTO service (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, v.ID, v.Name, v.CreatedAt))
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
	out, err := list(ctx, s, "reading a service", decodeService, `SELECT id, name, created_at FROM service WHERE id = ?`, id)
	return only(out, err)
}

// Services returns all services by creation.
func (s *Store) Services(ctx context.Context) ([]storage.Service, error) {
	return list(ctx, s, "listing services", decodeService, `SELECT id, name, created_at FROM service ORDER BY no`)
}

func decodeService(v []driver.Value) storage.Service {
	return storage.Service{ID: asText(v[0]), Name: asText(v[1]), CreatedAt: asTime(v[2])}
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

// PutTemplate stores the next version.
func (s *Store) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	t.CreatedAt = storage.Micro(t.CreatedAt)
	var version int64
	err := s.write(ctx, "storing a template", func(w *writer) (err error) {
		version, _, err = w.c.one(w.ctx, `INSERT INTO template (service_id, id, version, channel, name, subject, body, created_at)
			VALUES (?1, ?2, (SELECT coalesce(max(version), 0) + 1 FROM template WHERE service_id = ?1 AND id = ?2), ?3, ?4, ?5, ?6, ?7)
			RETURNING version`, t.ServiceID, t.ID, string(t.Channel), t.Name, t.Subject, t.Body, t.CreatedAt)
		return err
	})
	if err != nil {
		return storage.Template{}, err
	}
	t.Version = int(version)
	return t, nil
}

const templateColumns = `SELECT service_id, id, version, channel, name, subject, body, created_at FROM template AS t `

func decodeTemplate(v []driver.Value) storage.Template {
	return storage.Template{
		ServiceID: asText(v[0]), ID: asText(v[1]), Version: int(asInt(v[2])), Channel: storage.Channel(asText(v[3])),
		Name: asText(v[4]), Subject: asText(v[5]), Body: asText(v[6]), CreatedAt: asTime(v[7]),
	}
}

// Template returns one version, the newest for 0.
func (s *Store) Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	return only(list(ctx, s, "reading a template", decodeTemplate, templateColumns+
		`WHERE service_id = ?1 AND id = ?2 AND (?3 = 0 OR version = ?3) ORDER BY version DESC LIMIT 1`, serviceID, id, version))
}

// Templates returns the newest versions by id.
func (s *Store) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	return list(ctx, s, "listing templates", decodeTemplate, templateColumns+
		`WHERE service_id = ?1 AND version = (SELECT max(version) FROM template WHERE service_id = ?1 AND id = t.id) ORDER BY id`, serviceID)
}
