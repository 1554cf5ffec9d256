package copy

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// oneMoment is a transaction that sees the database as it was when it began.
var oneMoment = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// source opens a database at one moment. When nobody uses it, nobody can while
// it is open.
func (p Place) source(ctx context.Context, upgrade bool) (source, error) {
	if p.SQLite != nil {
		a, err := sqlite.AttachSource(ctx, *p.SQLite, upgrade)
		if err != nil {
			return nil, err
		}
		return openSQLite(ctx, a, false)
	}
	a, err := attachPostgres(ctx, *p.Postgres)
	if err != nil {
		return nil, err
	}
	nodes, err := a.Nodes(ctx)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	locks := ""
	if nodes == 0 {
		locks = "SHARE"
	}
	s, err := openPostgres(ctx, a, p.Postgres.SecretsKey, oneMoment, locks)
	if err != nil {
		return nil, err
	}
	s.busy = nodes > 0
	return s, nil
}

func attachPostgres(ctx context.Context, cfg postgres.Config) (*postgres.Attachment, error) {
	a, err := postgres.Attach(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := currentSchema(a); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// currentSchema refuses another schema than this program's.
func currentSchema(a *postgres.Attachment) error {
	switch {
	case a.Schema == 0:
		return errors.New("the PostgreSQL database has no schema of Signpost")
	case a.Schema < a.Known:
		return fmt.Errorf("the PostgreSQL database has schema version %d, and this program needs %d: start Caddy with this program on it once, "+
			"which brings it there", a.Schema, a.Known)
	case a.Schema > a.Known:
		return fmt.Errorf("the PostgreSQL database has schema version %d, and this program knows up to %d: use the newer program that has used it",
			a.Schema, a.Known)
	}
	return nil
}

// target opens a database for writing, brings its schema up to date, and keeps
// others from writing.
func (p Place) target(ctx context.Context) (target, error) {
	if p.SQLite != nil {
		a, err := sqlite.AttachTarget(ctx, *p.SQLite)
		if err != nil {
			return nil, err
		}
		return openSQLite(ctx, a, true)
	}
	a, err := postgres.Attach(ctx, *p.Postgres)
	if err != nil {
		return nil, err
	}
	if a.Schema < a.Known { // a store migrates, and checks server and key
		if err := a.Close(); err != nil {
			return nil, err
		}
		store := postgres.New(*p.Postgres)
		if err := store.Open(ctx); err != nil {
			return nil, err
		}
		if err := store.Close(); err != nil {
			return nil, err
		}
		if a, err = postgres.Attach(ctx, *p.Postgres); err != nil {
			return nil, err
		}
	}
	if err := currentSchema(a); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	nodes, err := a.Nodes(ctx)
	if err == nil && nodes > 0 {
		err = ErrNodes
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return openPostgres(ctx, a, p.Postgres.SecretsKey, pgx.TxOptions{}, "SHARE ROW EXCLUSIVE")
}
