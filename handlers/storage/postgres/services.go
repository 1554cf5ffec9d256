package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutService creates a service.
func (s *Store) PutService(ctx context.Context, v storage.Service) error {
	return s.call(ctx, "storing a service", func(ctx context.Context, c conn) error {
		return unless(storage.ErrExists)(c.Exec(ctx, `INSERT INTO signpost.service (id, name, created_at, settings)
			VALUES ($1, $2, $3, coalesce($4::bytea, '')) ON CONFLICT DO NOTHING`, asText(v.ID), asText(v.Name), asMicro(v.CreatedAt), v.Settings))
	})
}

// PutServiceSettings replaces the settings of a service.
func (s *Store) PutServiceSettings(ctx context.Context, id string, settings []byte) error {
	return s.call(ctx, "storing settings", func(ctx context.Context, c conn) error {
		return unless(storage.ErrNotFound)(c.Exec(ctx, `UPDATE signpost.service SET settings = coalesce($2::bytea, '') WHERE id = $1`,
			asText(id), settings))
	})
}

// unless returns nothing when a statement changed a row, otherwise err.
func unless(nothing error) func(tag pgconn.CommandTag, err error) error {
	return func(tag pgconn.CommandTag, err error) error {
		if err == nil && tag.RowsAffected() == 0 {
			return nothing
		}
		return err
	}
}

// list runs a query whose rows decode to T.
func list[T any](ctx context.Context, s *Store, doing string, decode pgx.RowToFunc[T], text string, args ...any) (out []T, err error) {
	err = s.read(ctx, doing, func(ctx context.Context, c conn) error {
		out, err = collect(decode)(c.Query(ctx, text, args...))
		return err
	})
	return out, err
}

// collect decodes all rows of a query; nil when there are none.
func collect[T any](decode pgx.RowToFunc[T]) func(pgx.Rows, error) ([]T, error) {
	return func(rows pgx.Rows, err error) ([]T, error) {
		if err != nil {
			return nil, err
		}
		return pgx.AppendRows([]T(nil), rows, decode)
	}
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

const services = `SELECT id, name, created_at, settings FROM signpost.service `

func decodeService(row pgx.CollectableRow) (v storage.Service, err error) {
	var created int64
	err = row.Scan(&v.ID, &v.Name, &created, &v.Settings)
	if len(v.Settings) == 0 {
		v.Settings = nil
	}
	v.ID, v.Name, v.CreatedAt = fromText(v.ID), fromText(v.Name), fromMicro(created)
	return v, err
}

// Service returns one service.
func (s *Store) Service(ctx context.Context, id string) (storage.Service, error) {
	return only(list(ctx, s, "reading a service", decodeService, services+`WHERE id = $1`, asText(id)))
}

// Services returns all services by creation.
func (s *Store) Services(ctx context.Context) ([]storage.Service, error) {
	return list(ctx, s, "listing services", decodeService, services+`ORDER BY no`)
}

// AddKey adds a key to a service.
func (s *Store) AddKey(ctx context.Context, k storage.APIKey) error {
	return s.call(ctx, "storing a key", func(ctx context.Context, c conn) error {
		var known bool
		var stored int
		err := c.QueryRow(ctx, `WITH known AS (SELECT id FROM signpost.service WHERE id = $1),
			stored AS (INSERT INTO signpost.api_key (service_id, name, type, secret, created_at, revoked_at)
				SELECT id, $2, $3, coalesce($4::bytea, ''), $5, $6 FROM known ON CONFLICT DO NOTHING RETURNING 1)
			SELECT EXISTS (SELECT FROM known), (SELECT count(*) FROM stored)`,
			asText(k.ServiceID), asText(k.Name), asText(string(k.Type)), k.Secret, asMicro(k.CreatedAt), asMicro(k.RevokedAt)).
			Scan(&known, &stored)
		switch {
		case err != nil:
			return err
		case !known:
			return storage.ErrNotFound
		case stored == 0:
			return storage.ErrExists
		}
		return nil
	})
}

// Keys returns a service's keys by creation.
func (s *Store) Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error) {
	return list(ctx, s, "listing keys", func(row pgx.CollectableRow) (k storage.APIKey, err error) {
		var created, revoked int64
		err = row.Scan(&k.ServiceID, &k.Name, &k.Type, &k.Secret, &created, &revoked)
		k.ServiceID, k.Name, k.Type = fromText(k.ServiceID), fromText(k.Name), storage.KeyType(fromText(string(k.Type)))
		k.CreatedAt, k.RevokedAt = fromMicro(created), fromMicro(revoked)
		return k, err
	}, `SELECT service_id, name, type, secret, created_at, revoked_at FROM signpost.api_key WHERE service_id = $1 ORDER BY no`, asText(serviceID))
}

// RevokeKey revokes a key for good.
func (s *Store) RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error {
	return s.call(ctx, "revoking a key", func(ctx context.Context, c conn) error {
		return unless(storage.ErrNotFound)(c.Exec(ctx, `UPDATE signpost.api_key
			SET revoked_at = CASE revoked_at WHEN 0 THEN $1 ELSE revoked_at END WHERE service_id = $2 AND name = $3`,
			asMicro(at), asText(serviceID), asText(name)))
	})
}
