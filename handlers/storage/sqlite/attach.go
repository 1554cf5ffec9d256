package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pressly/goose/v3"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Attachment is a database whose tables are read, or filled, beside the
// contract: what moves data between back ends uses one. Close it.
type Attachment struct {
	// DB has one connection. A source's can't write.
	DB *sql.DB
	// SecretsKey seals the secrets; nil for a source that has neither a key nor
	// secrets.
	SecretsKey []byte
	// Live says that a process has the source in use. When it is false, none can
	// until Close, since the lock is ours.
	Live bool

	lock *os.File
}

// AttachSource opens an existing database for reading, whether a process uses it
// or not. What it reads in one transaction is one moment of the database; as
// long as that is open, the process can't cut its write-ahead log back. An
// older schema is brought up to date when upgrade says so and nobody uses it,
// and refused otherwise. The key that is configured, or beside the database,
// must be the one that sealed its secrets.
func AttachSource(ctx context.Context, cfg Config, upgrade bool) (_ *Attachment, err error) {
	switch info, err := os.Stat(cfg.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no database %s", cfg.Path)
	case err != nil:
		return nil, explain("the database", cfg.Path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", cfg.Path)
	}
	a := &Attachment{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.lock, err = lockIfFree(cfg.Path + ".lock"); err != nil {
		return nil, err
	}
	a.Live = a.lock == nil
	pragmas := []string{"query_only(on)", "cache_size(-8000)", "temp_store(memory)"}
	if a.Live {
		// The last writer to close empties the log: that mustn't be us.
		a.DB, err = openReadOnly(cfg.Path, pragmas...)
	} else {
		a.DB, err = openSQL(cfg.Path, pragmas...)
	}
	if err != nil {
		return nil, err
	}
	if err := a.checkSchema(ctx, cfg.Path, upgrade); err != nil {
		return nil, err
	}
	a.SecretsKey, err = sealedUnder(ctx, cfg, a.DB)
	return a, err
}

// AttachTarget makes or opens a database that no process uses, brings its schema
// up to date, and keeps its lock.
func AttachTarget(ctx context.Context, cfg Config) (_ *Attachment, err error) {
	cfg = New(cfg).cfg // with its defaults
	if err := makeFolder(cfg.Path); err != nil {
		return nil, err
	}
	a := &Attachment{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.lock, err = acquire(ctx, cfg.Path+".lock", cfg.OpenWait); err != nil {
		return nil, err
	}
	if err := prepareFile(cfg.Path, New(cfg).log); err != nil {
		return nil, err
	}
	if err := migrate(ctx, cfg.Path); err != nil {
		return nil, err
	}
	c, err := dial(ctx, cfg.Path, "synchronous(full)")
	if err != nil {
		return nil, err
	}
	a.SecretsKey, err = secretsKey(ctx, cfg, c)
	if err = errors.Join(err, c.close()); err != nil {
		return nil, err
	}
	a.DB, err = openSQL(cfg.Path, "journal_mode(wal)", "synchronous(full)", "cache_size(-32000)", "temp_store(memory)")
	return a, err
}

// Close releases the database.
func (a *Attachment) Close() error {
	var err error
	if a.DB != nil {
		err = a.DB.Close()
	}
	release(a.lock)
	a.lock = nil
	return err
}

// lockIfFree returns nil when another holds the lock.
func lockIfFree(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, ownerOnly) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, explain("the lock file", path, err)
	}
	ok, err := tryLock(f)
	if err == nil && ok {
		return f, sign(f)
	}
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return nil, nil
}

func openReadOnly(path string, pragmas ...string) (*sql.DB, error) {
	name, err := dsn(path, pragmas...)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", name+"&mode=ro")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// checkSchema refuses what isn't our database in this program's version.
func (a *Attachment) checkSchema(ctx context.Context, path string, upgrade bool) error {
	have, err := schemaVersion(ctx, a.DB)
	if err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var want int64
	for _, f := range files {
		v, err := goose.NumericComponent(f)
		if err != nil {
			return err
		}
		want = max(want, v)
	}
	switch {
	case have == want:
		return nil
	case have < want && upgrade && !a.Live:
		return migrate(ctx, path)
	case have < want:
		return fmt.Errorf("the database %s has schema version %d, and this program needs %d: start Caddy with this program on it once, "+
			"which brings it there", path, have, want)
	}
	return fmt.Errorf("the database %s has schema version %d, and this program knows up to %d: a newer program has used it; use that one",
		path, have, want)
}

func schemaVersion(ctx context.Context, db *sql.DB) (version int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	switch {
	case err == nil:
		return version, nil
	case code(err) == sqlite3.SQLITE_NOTADB || code(err) == sqlite3.SQLITE_CORRUPT:
		return 0, fmt.Errorf("the file is damaged, or no SQLite database: %w", err)
	case strings.Contains(err.Error(), "no such table"):
		return 0, errors.New("the file is not a database of Signpost")
	}
	return 0, err
}

// Kind returns the code of a kind of notifications, 8 * channel + status, with a
// key type, as the schema has it.
func Kind(kind int64, t storage.KeyType) int64 { return keyTypeCode(t)*perKeyType + kind }

// sealedUnder returns the key that sealed the secrets of a database, without
// making one.
func sealedUnder(ctx context.Context, cfg Config, db *sql.DB) ([]byte, error) {
	var sealed int64
	if err := db.QueryRowContext(ctx, countSealed).Scan(&sealed); err != nil {
		return nil, err
	}
	key, from := cfg.SecretsKey, "the configured secrets key"
	if key == nil {
		file := cfg.Path + ".key"
		from = "the secrets key in " + file
		var err error
		switch key, err = readKey(file); {
		case errors.Is(err, fs.ErrNotExist) && sealed == 0:
			return nil, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("the secrets key %s is missing, and the database holds %d API keys and settings sealed under it: "+
				"put that file there, or give the key", file, sealed)
		case err != nil:
			return nil, err
		}
	}
	sealer, err := storage.NewSealer(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	var proof driver.Value
	err = db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'secrets_check'`).Scan(&proof)
	if errors.Is(err, sql.ErrNoRows) || sealed == 0 && err == nil {
		return key, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := sealer.Open(asBytes(proof), checkContext); err != nil {
		return nil, fmt.Errorf("%s is not the one under which this database's API keys are sealed", from)
	}
	return key, nil
}
