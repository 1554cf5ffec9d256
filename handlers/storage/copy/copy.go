// Package copy moves the data of one back end into another: from a SQLite
// database that nobody uses, a stopped node's or a backup, into an empty
// PostgreSQL database. Everything keeps its id, so that what clients have stored
// stays valid, and what is queued is sent by the nodes on the new database.
//
// The copy is one transaction: it is there as a whole, its counts verified, or
// not at all.
package copy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver of that name

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// Config says from where to where.
type Config struct {
	// From is the source. It must exist, and no process may use it. Opening it
	// brings its schema up to date.
	From sqlite.Config
	// To is the target, which is migrated, and must be empty. Other nodes may
	// run on it: they wait until the copy is done.
	To postgres.Config
	// Reseal returns the secret of an API key, which is sealed under the
	// source's secrets key, sealed under the target's. Required.
	Reseal func(k storage.APIKey, from, to *storage.Sealer) ([]byte, error)
	// Progress is told now and then how far a table has come; optional. It is
	// called by one goroutine.
	Progress func(Progress)
}

// Progress is how far the copy has come.
type Progress struct {
	Table             string
	Done, Rows        int64 // of the table
	AllDone, AllTotal int64
}

// Count is the number of rows that a table has got.
type Count struct {
	Table string
	Rows  int64
}

// NotEmptyError says that the target has data.
type NotEmptyError struct {
	Table string
	Rows  int64
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("the target isn't empty: its table %s has %d rows; copy into a new database, "+
		"or remove what is there with DROP SCHEMA signpost CASCADE", e.Table, e.Rows)
}

// lockTimeout is how long the tables of the target may be in use by others.
const lockTimeout = 10 * time.Second

// Run copies. Its result lists the tables in the order in which they were
// copied.
func Run(ctx context.Context, cfg Config) (counts []Count, err error) {
	if cfg.Reseal == nil {
		return nil, errors.New("copy: Reseal is required")
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if _, err := os.Stat(cfg.From.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s", cfg.From.Path)
	}
	r := &run{cfg: cfg}
	source := sqlite.New(cfg.From) // holds the lock, and gives leases of a dead process back
	if err := source.Open(ctx); err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target := postgres.New(cfg.To) // migrates, and checks the secrets key
	if err := target.Open(ctx); err != nil {
		return nil, fmt.Errorf("the target: %w", err)
	}
	if err := target.Close(); err != nil {
		return nil, err
	}
	if err := r.sealers(ctx, source); err != nil {
		return nil, err
	}
	return r.all(ctx)
}

// run is one copy.
type run struct {
	cfg      Config
	from, to *storage.Sealer
	source   *sql.Tx
	target   pgx.Tx
	progress Progress
}

func (r *run) sealers(ctx context.Context, source storage.Backend) error {
	key, err := source.SecretsKey(ctx)
	if err != nil {
		return err
	}
	if r.from, err = storage.NewSealer(key); err != nil {
		return err
	}
	r.to, err = storage.NewSealer(r.cfg.To.SecretsKey)
	return err
}

func (r *run) all(ctx context.Context) (counts []Count, err error) {
	path, err := filepath.Abs(r.cfg.From.Path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}).String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if r.source, err = db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return nil, fmt.Errorf("reading the source: %w", err)
	}
	defer func() { _ = r.source.Rollback() }() //nolint:errcheck // it has only read

	config, err := pgx.ParseConfig(r.cfg.To.DSN)
	if err != nil {
		return nil, errors.New("the DSN of the target can't be parsed")
	}
	// A copy takes as long as it takes.
	config.RuntimeParams["statement_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if r.target, err = conn.Begin(ctx); err != nil {
		return nil, fmt.Errorf("the target: %w", err)
	}
	defer func() { _ = r.target.Rollback(context.WithoutCancel(ctx)) }() //nolint:errcheck // nothing after a commit
	if counts, err = r.tables(ctx); err != nil {
		return nil, err
	}
	if err := r.target.Commit(ctx); err != nil {
		return nil, fmt.Errorf("committing the copy: %w", err)
	}
	return counts, nil
}

// tables copies one table after the other, in a transaction.
func (r *run) tables(ctx context.Context) ([]Count, error) {
	if err := r.claim(ctx); err != nil {
		return nil, err
	}
	sizes := make([]int64, len(tables))
	for i, t := range tables {
		if err := r.source.QueryRowContext(ctx, "SELECT count(*) FROM "+t.from).Scan(&sizes[i]); err != nil {
			return nil, fmt.Errorf("counting %s in the source: %w", t.name, err)
		}
		r.progress.AllTotal += sizes[i]
	}
	counts := make([]Count, len(tables))
	for i, t := range tables {
		r.progress.Table, r.progress.Done, r.progress.Rows = t.name, 0, sizes[i]
		if err := r.table(ctx, t, sizes[i]); err != nil {
			return nil, fmt.Errorf("copying %s: %w", t.name, err)
		}
		counts[i] = Count{t.name, sizes[i]}
	}
	return counts, r.finish(ctx)
}

// claim keeps others from writing, and refuses a target with data.
func (r *run) claim(ctx context.Context) error {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = "signpost." + t.name
	}
	if _, err := r.target.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTimeout.Milliseconds())); err != nil {
		return err
	}
	if _, err := r.target.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+", signpost.total IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("locking the tables of the target: is a node busy with it?: %w", err)
	}
	for _, t := range tables {
		var n int64
		if err := r.target.QueryRow(ctx, "SELECT count(*) FROM signpost."+t.name).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return &NotEmptyError{t.name, n}
		}
	}
	// Sums, and numbers of services, that an earlier life of the tables left.
	_, err := r.target.Exec(ctx, "DELETE FROM signpost.total")
	return err
}

// progressEvery is how many rows pass between two reports.
const progressEvery = 1000

// table copies the rows, and counts those that have arrived.
func (r *run) table(ctx context.Context, t table, size int64) error {
	rows, err := r.source.QueryContext(ctx, "SELECT "+t.read+" FROM "+t.from) //nolint:gosec // G202: constants of this package
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() //nolint:errcheck // its errors are those of Err
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	r.cfg.Progress(r.progress)
	_, err = r.target.CopyFrom(ctx, pgx.Identifier{"signpost", t.name}, t.write, pgx.CopyFromFunc(func() ([]any, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		r.progress.Done++
		r.progress.AllDone++
		if r.progress.Done%progressEvery == 0 {
			r.cfg.Progress(r.progress)
		}
		if t.change != nil {
			if err := t.change(r, values); err != nil {
				return nil, err
			}
		}
		for i, v := range values {
			if text, ok := v.(string); ok {
				values[i] = postgres.EncodeText(text)
			}
		}
		return values, nil
	}))
	if err != nil {
		return err
	}
	r.cfg.Progress(r.progress)
	var arrived int64
	if err := r.target.QueryRow(ctx, "SELECT count(*) FROM signpost."+t.name).Scan(&arrived); err != nil {
		return err
	}
	if arrived != size {
		return fmt.Errorf("the source has %d rows, and the target %d", size, arrived)
	}
	return nil
}
