package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// versionTable is goose's record of what has been applied.
	versionTable = "signpost.schema_version"
	// migrationLock is the advisory lock under which the schema is changed:
	// "signpost" in ASCII.
	migrationLock int64 = 0x7369676e706f7374
	// migrationRetry is how often a node that waits for another asks.
	migrationRetry = 100 * time.Millisecond
	// migrationLockTimeout is how long a change of a table may wait for the
	// transactions that use it, since everything else waits behind it. It is
	// then tried again.
	migrationLockTimeout = "1000"
)

// withoutPortal is how the transaction that holds the lock asks: the extended
// protocol leaves a portal open, and with it a snapshot, for whose end CREATE
// INDEX CONCURRENTLY waits.
const withoutPortal = pgx.QueryExecModeSimpleProtocol

// migrate brings the schema to this program's version, or asks whether it is.
// Older nodes may be running meanwhile.
func (s *Store) migrate(ctx context.Context, c *pgx.Conn, config *pgx.ConnConfig) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return migrateTo(ctx, c, config, files, s.cfg.Migrate, s.cfg.MigrateWait)
}

func migrateTo(ctx context.Context, c *pgx.Conn, config *pgx.ConnConfig, files fs.FS, mode MigrateMode, wait time.Duration) (err error) {
	config = config.Copy()
	if config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement { // else it was chosen for a pooler
		setDefault(config, "lock_timeout", migrationLockTimeout)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(versionTable),
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	known := latest(p)
	// Who finds nothing to do takes no lock, and needs no right to change
	// tables.
	switch have, err := schemaVersion(ctx, c); {
	case err != nil:
		return fmt.Errorf("reading the schema's version: %w", err)
	case have > known:
		return fmt.Errorf("the database has schema version %d, and this program knows up to %d: "+
			"a newer program has migrated it; run that one, or restore a backup from before", have, known)
	case have == known:
		return nil
	case mode == MigrateCheck:
		return fmt.Errorf("the database has schema version %d, and this program needs %d: "+
			"start one node with migrate auto, which brings it there while older nodes run on", have, known)
	}
	return locked(ctx, c, wait, func() error { return apply(ctx, c, p) })
}

func latest(p *goose.Provider) (version int64) {
	for _, source := range p.ListSources() {
		version = max(version, source.Version)
	}
	return version
}

// schemaVersion returns 0 for a database without our schema.
func schemaVersion(ctx context.Context, c *pgx.Conn) (version int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var exists bool
	if err := c.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, versionTable).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = c.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&version)
	return version, err
}

// locked runs f while no other node migrates. The lock belongs to a
// transaction, not to a session, so that it holds through a pooler too.
func locked(ctx context.Context, c *pgx.Conn, wait time.Duration, f func() error) (err error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if e := tx.Rollback(context.WithoutCancel(ctx)); err == nil && e != nil {
			err = fmt.Errorf("releasing the migration lock: %w", e)
		}
	}()
	if err := acquireLock(ctx, tx, wait); err != nil {
		return err
	}
	return f()
}

func acquireLock(ctx context.Context, tx pgx.Tx, wait time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("another node has not finished its migration in %s", wait))
	defer cancel()
	for {
		var ours bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, withoutPortal, migrationLock).Scan(&ours); err != nil {
			return because(ctx, err)
		}
		if ours {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(migrationRetry):
		}
	}
}

// because names the cause for which ctx has ended, if it has.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func apply(ctx context.Context, c *pgx.Conn, p *goose.Provider) error {
	if err := makeSchema(ctx, c); err != nil {
		return err
	}
	for {
		_, err := p.Up(ctx)
		if err == nil {
			return nil
		}
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != codeLockNotAvailable {
			return fmt.Errorf("bringing the schema to version %d: %w", latest(p), because(ctx, err))
		}
		select { // a table was in use for too long
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(migrationRetry):
		}
	}
}

// makeSchema makes the schema unless an administrator has. It asks first:
// CREATE SCHEMA IF NOT EXISTS wants the right to create even when it needn't.
func makeSchema(ctx context.Context, c *pgx.Conn) error {
	var exists bool
	if err := c.QueryRow(ctx, `SELECT to_regnamespace('signpost') IS NOT NULL`, withoutPortal).Scan(&exists); err != nil || exists {
		return err
	}
	// Not in the transaction that holds the lock: goose mustn't wait for it.
	other, err := pgx.ConnectConfig(ctx, c.Config())
	if err != nil {
		return err
	}
	_, err = other.Exec(ctx, `CREATE SCHEMA signpost`)
	if err != nil {
		err = fmt.Errorf("making the schema: let an administrator run CREATE SCHEMA signpost AUTHORIZATION %s: %w",
			pgx.Identifier{c.Config().User}.Sanitize(), err)
	}
	return errors.Join(err, farewell(other))
}
