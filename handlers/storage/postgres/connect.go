package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// connectTimeout bounds one attempt to connect, with TLS and
	// authentication, where the DSN doesn't.
	connectTimeout = 2 * time.Second
	// answerTimeout bounds each question that Open asks of the server.
	answerTimeout = 10 * time.Second
	// closeTimeout bounds the farewell to a server that may be gone.
	closeTimeout = time.Second
	// oldestServer is the oldest version whose SQL this package's is.
	oldestServer = 130000
)

// pool returns the pool's configuration. Its errors don't show the DSN, which
// may hold a password.
func (c *Config) pool() (*pgxpool.Config, error) {
	p, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("the DSN: %w", err)
	}
	switch {
	case c.Connections > 0:
		p.MaxConns = int32(min(c.Connections, 1<<15)) //nolint:gosec // bounded
	case !strings.Contains(c.DSN, "pool_max_conns"):
		p.MaxConns = defaultConnections
	}
	p.PingTimeout = c.Timeout
	p.MaxConnIdleTime = 5 * time.Minute
	p.MaxConnLifetimeJitter = p.MaxConnLifetime / 10
	p.BeforeClose = func(conn *pgx.Conn) {
		_ = conn.PgConn().Conn().SetDeadline(time.Now().Add(closeTimeout)) //nolint:errcheck // it is being closed
	}
	c.session(p.ConnConfig)
	if !c.Pooler {
		// What a node holds that has vanished from the network, and what a
		// caller no longer waits for, mustn't lock rows for the others.
		setDefault(p.ConnConfig, "statement_timeout", milliseconds(2*c.Timeout))
		setDefault(p.ConnConfig, "idle_in_transaction_session_timeout", milliseconds(4*c.Timeout))
	}
	return p, nil
}

// session sets what all connections have in common, those that migrate too.
func (c *Config) session(p *pgx.ConnConfig) {
	if p.ConnectTimeout <= 0 {
		p.ConnectTimeout = connectTimeout
	}
	if p.ValidateConnect == nil {
		// Of several hosts, or behind a name that moves, the one that writes.
		p.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if c.Pooler {
		if p.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			p.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
		return
	}
	setDefault(p, "application_name", "signpost")
	// Every statement here finds its rows by an index. The server would choose
	// otherwise for a table that is empty when it first plans, and keep to that
	// while the table grows; and it would plan anew for each small batch, which
	// takes longer than to carry it out.
	for _, name := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"} {
		setDefault(p, name, "off")
	}
	setDefault(p, "plan_cache_mode", "force_generic_plan")
}

func setDefault(p *pgx.ConnConfig, name, value string) {
	if _, ok := p.RuntimeParams[name]; !ok {
		p.RuntimeParams[name] = value
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// prepare brings the database to a state in which it can be used. A setting
// that would make commits forgetful is overruled in config.
func (s *Store) prepare(ctx context.Context, config *pgxpool.Config) (err error) {
	own := config.ConnConfig.Copy()
	delete(own.RuntimeParams, "statement_timeout")
	delete(own.RuntimeParams, "idle_in_transaction_session_timeout")
	c, err := pgx.ConnectConfig(ctx, own)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, farewell(c)) }()
	facts, err := inspect(ctx, c)
	if err != nil {
		return err
	}
	if err := facts.refuse(); err != nil {
		return err
	}
	if !facts.fsync {
		s.log.Warn("the server runs with fsync=off: what it has acknowledged may be lost, or the whole database, when its machine stops")
	}
	if facts.synchronousCommit == "off" {
		if s.cfg.Pooler {
			return errors.New("the server runs with synchronous_commit=off: what it has acknowledged would be lost in a crash; " +
				"run ALTER ROLE … SET synchronous_commit = on for this user")
		}
		s.log.Warn("the server runs with synchronous_commit=off: overruled for this program's connections")
		config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	}
	if err := s.migrate(ctx, c, own); err != nil {
		return err
	}
	if err := checkCopied(ctx, c); err != nil {
		return err
	}
	return s.checkKey(ctx, c)
}

// farewell closes a connection to a server that may be gone.
func farewell(c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return c.Close(ctx)
}

// facts are the server's settings that matter.
type facts struct {
	version           int
	encoding          string
	fsync             bool
	synchronousCommit string
}

func inspect(ctx context.Context, c *pgx.Conn) (f facts, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var fsync string
	err = c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		coalesce(current_setting('fsync', true), 'on'), coalesce(current_setting('synchronous_commit', true), 'on')`).
		Scan(&f.version, &f.encoding, &fsync, &f.synchronousCommit)
	f.fsync = fsync != "off"
	return f, err
}

func (f *facts) refuse() error {
	switch {
	case f.version < oldestServer:
		return fmt.Errorf("the server is PostgreSQL %d: this program needs %d or newer", f.version/10000, oldestServer/10000)
	case f.encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s: make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", f.encoding)
	}
	return nil
}

// checkCopied refuses the target of a copy that isn't complete.
func checkCopied(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var mark []byte
	err := c.QueryRow(ctx, `SELECT value FROM signpost.meta WHERE name = $1`, storage.CopyMark).Scan(&mark)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return storage.CheckCopied(mark)
}

// keyContext is what the secret that proves the key is sealed for.
const keyContext = "signpost secrets key check"

// checkKey refuses a key other than the one that the first node had.
func (s *Store) checkKey(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	sealer, err := storage.NewSealer(s.cfg.SecretsKey)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `INSERT INTO signpost.meta (name, value) VALUES ('secrets_check', $1) ON CONFLICT DO NOTHING`,
		sealer.Seal(nil, keyContext)); err != nil {
		return err
	}
	var proof []byte
	if err := c.QueryRow(ctx, `SELECT value FROM signpost.meta WHERE name = 'secrets_check'`).Scan(&proof); err != nil {
		return err
	}
	if _, err := sealer.Open(proof, keyContext); err != nil {
		return errors.New("the configured secrets key is not the one with which this database was first opened: use that one on all nodes. " +
			"If it is lost, so are the stored API keys: delete them (DELETE FROM signpost.api_key), and the proof of the lost key " +
			"(DELETE FROM signpost.meta WHERE name = 'secrets_check')")
	}
	return nil
}

// explain tells the log about a fault, without the DSN.
func explain(err error) slog.Attr { return slog.Any("error", err) }
