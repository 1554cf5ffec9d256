package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Attachment is a database whose tables are read, or filled, beside the
// contract: what moves data between back ends uses one. Close it.
type Attachment struct {
	// Conn has no limits of time. It goes to the server itself: a pooler would
	// hide nodes from Nodes.
	Conn *pgx.Conn
	// Schema is the version of the schema, 0 for none; Known is this program's.
	Schema, Known int64

	names []string // of the nodes' connections
}

const (
	// nodeName is the application_name of a node's connections, unless the DSN
	// has another.
	nodeName = "signpost"
	// attachedName is that of an attachment's.
	attachedName = "signpost storage copy"
	// attachTimeout bounds an attempt to connect.
	attachTimeout = 10 * time.Second
	// farewells is how long connections may take to vanish that have been
	// closed.
	farewells = 500 * time.Millisecond
)

// Attach connects to a database. It changes nothing.
func Attach(ctx context.Context, cfg Config) (_ *Attachment, err error) {
	if err := New(cfg).cfg.check(); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("the DSN: %w", err)
	}
	a := &Attachment{names: []string{nodeName}}
	if name := config.RuntimeParams["application_name"]; name != "" {
		a.names = append(a.names, name)
	}
	config.RuntimeParams["application_name"] = attachedName
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = attachTimeout
	}
	if config.ValidateConnect == nil { // a standby doesn't show who writes
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if a.Conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	// With SET, since a pooler would refuse them as parameters of the start.
	for _, name := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
		if _, err := a.Conn.Exec(ctx, "SET "+name+" = 0"); err != nil {
			return nil, err
		}
	}
	if a.Schema, err = schemaVersion(ctx, a.Conn); err != nil {
		return nil, fmt.Errorf("reading the schema's version: %w", err)
	}
	if a.Known, err = knownSchema(); err != nil {
		return nil, err
	}
	return a, nil
}

// Close disconnects.
func (a *Attachment) Close() error {
	if a.Conn == nil {
		return nil
	}
	return farewell(a.Conn)
}

func knownSchema() (known int64, err error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		v, err := goose.NumericComponent(f)
		if err != nil {
			return 0, err
		}
		known = max(known, v)
	}
	return known, nil
}

// Nodes returns how many connections of Signpost's nodes the database has: those
// with a node's name, or that of cfg's DSN, and one at least of a node with any
// other. It waits a moment for those that are just being closed. A node behind a
// pooler isn't seen.
func (a *Attachment) Nodes(ctx context.Context) (n int, err error) {
	for until := time.Now().Add(farewells); ; {
		if err := a.Conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND (application_name = ANY ($1) OR pid IN (SELECT pid FROM pg_locks
				WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = $2 AND objsubid = 1))`, a.names, nodeLock).Scan(&n); err != nil {
			return 0, err
		}
		if n == 0 || time.Now().After(until) {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(migrationRetry):
		}
	}
}

// CheckKey refuses a secrets key other than the one of the database's nodes.
func (a *Attachment) CheckKey(ctx context.Context, key []byte) error {
	sealer, err := storage.NewSealer(key)
	if err != nil {
		return err
	}
	var proof []byte
	err = a.Conn.QueryRow(ctx, `SELECT value FROM signpost.meta WHERE name = 'secrets_check'`).Scan(&proof)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := sealer.Open(proof, keyContext); err != nil {
		return errors.New("the secrets key is not that of the nodes on this database")
	}
	return nil
}

// DecodeText reverses EncodeText.
func DecodeText(s string) string { return fromText(s) }
