package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// oldestSQLite is the first version without the WAL-reset race, in which a
// checkpoint beside a write could corrupt the database.
const oldestSQLite = 3051003

// migrate brings the schema to this program's version. It refuses a newer one,
// and databases of other programs.
func migrate(ctx context.Context, path string) (err error) {
	if sqlite3.SQLITE_VERSION_NUMBER < oldestSQLite {
		return fmt.Errorf("this program was built with SQLite %s, which can corrupt databases: build it with 3.51.3 or newer", sqlite3.SQLITE_VERSION)
	}
	if err := recognise(ctx, path); err != nil {
		return err
	}
	db, err := openSQL(path, "journal_mode(wal)", "synchronous(full)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if have > want {
		return fmt.Errorf("the database has schema version %d, and this program knows up to %d: "+
			"a newer program has used it; run that one, or restore a backup from before", have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bringing the schema from version %d to %d: %w", have, want, err)
	}
	return nil
}

// openSQL opens the database as goose wants it.
func openSQL(path string, pragmas ...string) (*sql.DB, error) {
	name, err := dsn(path, pragmas...)
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// recognise refuses what isn't our database, before anything is written to it:
// even turning it to WAL mode would be.
func recognise(ctx context.Context, path string) (err error) {
	db, err := openSQL(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables, ours int
	err = db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0)
		FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`).Scan(&tables, &ours)
	switch {
	case code(err) == sqlite3.SQLITE_NOTADB || code(err) == sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the file is damaged: restore a backup, or move it away: %w", err)
	case err != nil:
		return err
	case tables > 0 && ours == 0:
		return errors.New("the file is the SQLite database of another program: give another path")
	}
	return nil
}
