package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one connection with its prepared statements. database/sql would cost
// more than the statements themselves do.
type conn struct {
	c     driver.Conn
	stmts map[string]statement
}

type statement interface {
	driver.StmtExecContext
	driver.StmtQueryContext
	Close() error
}

// dsn names a database file with the pragmas of one kind of connection.
func dsn(path string, pragmas ...string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	q := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...), "_dqs": {"0"}}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: q.Encode()}).String(), nil
}

func dial(ctx context.Context, path string, pragmas ...string) (*conn, error) {
	name, err := dsn(path, pragmas...)
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]statement{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

// prepare returns the statement for a text, which must be one of a bounded
// number of texts: statements stay until the connection closes.
func (c *conn) prepare(ctx context.Context, text string) (statement, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	p, err := c.c.(driver.ConnPrepareContext).PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s, ok := p.(statement)
	if !ok {
		return nil, fmt.Errorf("the SQLite driver's statements are %T", p)
	}
	c.stmts[text] = s
	return s, nil
}

// exec runs a statement and returns the number of rows that it changed.
func (c *conn) exec(ctx context.Context, text string, args ...any) (int64, error) {
	return c.execNamed(ctx, text, named(args))
}

func (c *conn) execNamed(ctx context.Context, text string, args []driver.NamedValue) (int64, error) {
	s, err := c.prepare(ctx, text)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls each for every row, whose values it may keep.
func (c *conn) query(ctx context.Context, each func(row []driver.Value) error, text string, args ...any) (err error) {
	s, err := c.prepare(ctx, text)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, named(args))
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// one returns a query's only integer, and whether there was a row.
func (c *conn) one(ctx context.Context, text string, args ...any) (v int64, ok bool, err error) {
	err = c.query(ctx, func(row []driver.Value) error {
		v, ok = asInt(row[0]), true
		return nil
	}, text, args...)
	return v, ok, err
}

func named(args []any) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i].Ordinal = i + 1
		switch a := a.(type) {
		case int:
			out[i].Value = int64(a)
		case time.Time:
			out[i].Value = asMicro(a)
		default:
			out[i].Value = a
		}
	}
	return out
}

// framesWritten returns how many pages the connection has written to the WAL.
func (c *conn) framesWritten() int {
	s, ok := c.c.(sqlite.DBStatus)
	if !ok {
		return 0
	}
	n, _, err := s.Status(sqlite.DBStatusCacheWrite, false)
	if err != nil {
		return 0
	}
	return n
}

// code returns SQLite's primary result code of an error, 0 when it is not one
// of SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// harmless reports whether a failed statement leaves the database trustworthy:
// the transaction is rolled back and the next one may work.
func harmless(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
		return true
	}
	return noRoom(err) || ownFault(err)
}

// noRoom reports whether a want of memory or of room on the disk has come as
// one of SQLite's I/O errors: that of the index of the write-ahead log, which
// is written without a sync.
func noRoom(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_IOERR_NOMEM || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE)
}

// damaged reports whether a failed read says that the disk or the file can't
// be trusted any more.
func damaged(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_IOERR:
		return !noRoom(err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// malformed reports whether an error is about what the file holds, and not
// about the disk.
func malformed(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// ownFault reports whether the fault lies in one operation's own values.
func ownFault(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}
