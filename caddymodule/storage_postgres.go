package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
)

// StoragePostgres keeps everything in a PostgreSQL database, which several
// nodes may share: limits, idempotency, replays and the queue hold across all of
// them.
type StoragePostgres struct {
	// The database as libpq names it: a URL such as
	// `postgres://user:password@host/database?sslmode=verify-full`, or keywords
	// such as `host=… dbname=…`. It may hold a password: write a placeholder,
	// `{env.NAME}` or `{file./path}`. PGHOST and its kin fill in what it leaves
	// out.
	DSN Secret `json:"dsn"`

	// The key under which the secrets of stored services are encrypted
	// (AES-256-GCM): 32 bytes as base64, the same on all nodes. Required. Write
	// a placeholder.
	SecretsKey Secret `json:"secrets_key"`

	// What to do about a schema that is older than this program: `auto` (the
	// default) brings it up to date, while older nodes may go on; `check`
	// refuses to start.
	Migrate string `json:"migrate,omitempty"`

	// The most connections of this node; one more listens. The default is 16.
	MaxConnections int `json:"max_connections,omitempty"`

	// How long one attempt to connect may take, in whole seconds. The default
	// is that of the DSN, otherwise 2s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// How long the server works on one statement. The default is that of the
	// DSN, otherwise 3s. Not with `pooler`.
	StatementTimeout caddy.Duration `json:"statement_timeout,omitempty"`

	// Whether the DSN leads to PgBouncer, or its like, in transaction mode. Then
	// nothing is kept on a connection between transactions, and what other
	// nodes have created is looked for every half second.
	Pooler bool `json:"pooler,omitempty"`

	dsn string
	key []byte
}

// postgresOpenTimeout bounds the start, which may have to bring a large schema
// up to date, or wait for another node that does. A server that can't be
// reached is reported much earlier.
const postgresOpenTimeout = 10 * time.Minute

// CaddyModule returns the Caddy module information.
func (StoragePostgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.storage.postgres", New: func() caddy.Module { return new(StoragePostgres) }}
}

// Provision expands the secrets; it connects to nothing.
func (s *StoragePostgres) Provision(ctx caddy.Context) error {
	text, err := s.DSN.expandQuietly("the DSN")
	if err != nil {
		return err
	}
	parsed, err := pgconn.ParseConfig(text)
	if err != nil {
		return errors.New("the DSN can't be parsed: write postgres://user@host/database?sslmode=verify-full, or keywords as libpq has them")
	}
	if text == string(s.DSN) && parsed.Password != "" {
		if _, err := s.DSN.expand("the DSN", ctx.Logger()); err != nil { // which warns
			return err
		}
	}
	if s.SecretsKey == "" {
		return errors.New("storage postgres needs a secrets_key, the same on all nodes: `caddy signpost key generate --secrets-key` makes one")
	}
	if s.key, err = expandSecretsKey(s.SecretsKey, ctx); err != nil {
		return err
	}
	if s.MaxConnections != 0 {
		if err := checkConnections(int64(s.MaxConnections)); err != nil {
			return err
		}
	}
	s.dsn, err = s.withTimeouts(text)
	return err
}

func checkConnections(n int64) error {
	if n < 2 || n > 10_000 {
		return fmt.Errorf("max_connections %d: it must be between 2 and 10000", n)
	}
	return nil
}

// withTimeouts adds the configured time-outs to the DSN, over those that it has.
func (s *StoragePostgres) withTimeouts(dsn string) (string, error) {
	if s.ConnectTimeout < 0 || s.StatementTimeout < 0 {
		return "", errors.New("connect_timeout and statement_timeout must be more than 0")
	}
	if s.Pooler && s.StatementTimeout != 0 {
		return "", errors.New("statement_timeout can't be set through a pooler: set it for the role, with ALTER ROLE … SET statement_timeout")
	}
	if d := time.Duration(s.ConnectTimeout); d != 0 {
		if d%time.Second != 0 {
			return "", fmt.Errorf("connect_timeout %s: it must be whole seconds", d)
		}
		dsn = withParameter(dsn, "connect_timeout", int64(d/time.Second))
	}
	if d := time.Duration(s.StatementTimeout); d != 0 {
		dsn = withParameter(dsn, "statement_timeout", max(1, d.Milliseconds()))
	}
	return dsn, nil
}

// withParameter sets a parameter of a DSN in either form.
func withParameter(dsn, name string, value int64) string {
	text := strconv.FormatInt(value, 10)
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		q := u.Query()
		q.Set(name, text)
		u.RawQuery = q.Encode()
		return u.String()
	}
	return dsn + " " + name + "=" + text // the last one counts
}

// poolKey holds what a connection depends on, hashed, as the DSN is a secret.
func (s *StoragePostgres) poolKey() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%t", s.dsn, s.MaxConnections, s.Pooler))
	return "postgres:" + hex.EncodeToString(sum[:8])
}

func (s *StoragePostgres) secretsKey() []byte { return s.key }

func (s *StoragePostgres) openWithin() time.Duration { return postgresOpenTimeout }

func (s *StoragePostgres) backend() storage.Backend {
	return postgres.New(postgres.Config{
		DSN: s.dsn, SecretsKey: s.key, Migrate: postgres.MigrateMode(s.Migrate), MigrateWait: postgresOpenTimeout,
		Connections: s.MaxConnections, Pooler: s.Pooler, Logger: lastingLogger("signpost.storage.postgres"),
	})
}

// UnmarshalCaddyfile sets up the storage. Syntax:
//
//	storage postgres <dsn> {
//		secrets_key       <base64>
//		migrate           auto|check
//		max_connections   <number>
//		connect_timeout   <duration>
//		statement_timeout <duration>
//		pooler            on|off
//	}
func (s *StoragePostgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("write: storage postgres <dsn>, with quotes around one that has blanks")
	}
	s.DSN = Secret(args[0])
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.unmarshalOption(d); err != nil {
			return err
		}
	}
	if s.SecretsKey == "" {
		return d.Err("storage postgres needs a secrets_key, the same on all nodes: `caddy signpost key generate --secrets-key` makes one")
	}
	if _, err := s.withTimeouts("postgres://"); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (s *StoragePostgres) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "secrets_key":
		return textOption(d, (*string)(&s.SecretsKey))
	case "migrate":
		return wordOption(d, &s.Migrate, string(postgres.MigrateAuto), string(postgres.MigrateCheck))
	case "max_connections":
		var n int64
		if s.MaxConnections != 0 {
			n = int64(s.MaxConnections)
		}
		if err := countOption(d, &n); err != nil {
			return err
		}
		if err := checkConnections(n); err != nil {
			return d.Err(err.Error())
		}
		s.MaxConnections = int(n)
		return nil
	case "connect_timeout":
		return durationOption(d, &s.ConnectTimeout)
	case "statement_timeout":
		return durationOption(d, &s.StatementTimeout)
	case "pooler":
		return boolOption(d, &s.Pooler)
	}
	return unknownOption(d, "storage postgres", "secrets_key", "migrate", "max_connections", "connect_timeout", "statement_timeout", "pooler")
}

// Interface guards
var (
	_ storageModule         = (*StoragePostgres)(nil)
	_ caddy.Provisioner     = (*StoragePostgres)(nil)
	_ caddyfile.Unmarshaler = (*StoragePostgres)(nil)
)
