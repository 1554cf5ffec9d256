package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Config says which database to use and how.
type Config struct {
	// DSN names the database as libpq does, as a URL
	// (postgres://user:password@host/database?sslmode=verify-full) or in
	// keywords; PGHOST and its kin, the password file and the service file fill
	// in what it leaves out. connect_timeout defaults to 2 s, statement_timeout
	// to twice Timeout, target_session_attrs to read-write.
	DSN string
	// SecretsKey seals the secrets of API keys: storage.SecretsKeySize bytes,
	// the same on all nodes. Required.
	SecretsKey []byte
	// Logger for faults and recoveries. Default: discarded.
	Logger *slog.Logger
	// Migrate says what Open does about a schema that is older than this
	// program. Default: MigrateAuto.
	Migrate MigrateMode
	// MigrateWait is how long Open waits for another node that migrates.
	// Default: 1 min.
	MigrateWait time.Duration
	// Connections is the size of the pool; one more is used to listen. Default:
	// pool_max_conns of the DSN, otherwise 16.
	Connections int
	// Timeout bounds every call, with the wait for a connection. A caller's own
	// deadline may be shorter. Default: 1.5 s.
	Timeout time.Duration
	// Pooler says that the DSN leads to PgBouncer, or its like, in transaction
	// mode: then nothing is kept on a connection between transactions (prepared
	// statements, settings, LISTEN), and other nodes' creations are looked for
	// every half second.
	Pooler bool
}

// MigrateMode says what is done about an older schema.
type MigrateMode string

const (
	// MigrateAuto brings the schema to this program's version.
	MigrateAuto MigrateMode = "auto"
	// MigrateCheck refuses to open while a migration is missing.
	MigrateCheck MigrateMode = "check"
)

const (
	defaultTimeout     = 1500 * time.Millisecond
	defaultMigrateWait = time.Minute
	defaultConnections = 16
)

// Store is a storage.Backend in a PostgreSQL database. Make it with New.
type Store struct {
	cfg    Config
	log    *slog.Logger
	node   string // names this store among those on the database
	wake   chan struct{}
	health health
	pool   *pgxpool.Pool // set by Open
	// unprepared says that statements can't be kept on a connection. Set by Open.
	unprepared bool
	quit       context.Context
	stop       context.CancelFunc
	tasks      sync.WaitGroup // goroutines of the store

	tenants   tenants
	creations group[*creation]
	changes   group[*change]
	takes     group[*take]
	replays   group[*replay]
	lookups   group[*lookup]
	announced announcer

	mu      sync.RWMutex
	state   state
	running sync.WaitGroup // calls, which Close waits for
}

type state int

const (
	unopened state = iota
	opening
	opened
	closed
)

var _ storage.Backend = (*Store)(nil)

// New returns a store that isn't open yet. It connects to nothing.
func New(cfg Config) *Store {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MigrateWait <= 0 {
		cfg.MigrateWait = defaultMigrateWait
	}
	if cfg.Migrate == "" {
		cfg.Migrate = MigrateAuto
	}
	cfg.SecretsKey = bytes.Clone(cfg.SecretsKey)
	s := &Store{cfg: cfg, log: cfg.Logger, node: newNode(), wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.quit, s.stop = context.WithCancel(context.Background())
	s.health = health{s: s}
	s.creations = group[*creation]{run: s.runCreations, key: (*creation).key}
	s.changes = group[*change]{run: s.runChanges}
	s.takes = group[*take]{run: s.runTakes}
	s.replays = group[*replay]{run: s.runReplays, key: (*replay).key}
	s.lookups = group[*lookup]{run: s.runLookups}
	s.announced = announcer{s: s}
	return s
}

// Open connects, migrates, and starts to listen for other nodes. Its errors
// wrap storage.ErrUnavailable and say what to do. After a failure it may be
// called again.
func (s *Store) Open(ctx context.Context) error {
	s.mu.Lock()
	if s.state != unopened {
		s.mu.Unlock()
		return fmt.Errorf("%w: the PostgreSQL store was opened before", storage.ErrUnavailable)
	}
	s.state = opening // calls meanwhile fail at once, and don't wait for the migration
	s.mu.Unlock()
	pool, err := s.open(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.state == closed {
		err = errors.New("it was closed meanwhile")
		pool.Close()
	}
	if err != nil {
		if s.state == opening {
			s.state = unopened
		}
		return storage.Unavailable("opening the PostgreSQL database", err)
	}
	s.pool, s.state = pool, opened
	s.tasks.Go(s.listen)
	return nil
}

func (s *Store) open(ctx context.Context) (*pgxpool.Pool, error) {
	if err := s.cfg.check(); err != nil {
		return nil, err
	}
	config, err := s.cfg.pool()
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, config); err != nil {
		return nil, err
	}
	s.unprepared = config.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
	return pgxpool.NewWithConfig(ctx, config)
}

// check refuses what can't be meant.
func (c *Config) check() error {
	switch {
	case c.DSN == "":
		return errors.New("no DSN is configured: name the database, such as postgres://user@host/database?sslmode=verify-full")
	case c.SecretsKey == nil:
		return fmt.Errorf("no secrets key is configured: give all nodes the same %d random bytes (such as from `openssl rand -base64 %d`), "+
			"under which the secrets of API keys are stored", storage.SecretsKeySize, storage.SecretsKeySize)
	case c.Migrate != MigrateAuto && c.Migrate != MigrateCheck:
		return fmt.Errorf("migrate is %q: it must be %q or %q", c.Migrate, MigrateAuto, MigrateCheck)
	case c.Connections < 0:
		return fmt.Errorf("%d connections are configured: there must be one at least", c.Connections)
	}
	if _, err := storage.NewSealer(c.SecretsKey); err != nil {
		return fmt.Errorf("the configured secrets key: %w", err)
	}
	return nil
}

// Close waits for running calls and disconnects.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.state
	s.state = closed
	s.mu.Unlock()
	if was != opened {
		return nil
	}
	s.running.Wait()
	s.stop()
	s.tasks.Wait()
	s.pool.Close()
	return nil
}

// enter begins a call, which leave ends.
func (s *Store) enter(ctx context.Context, doing string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch s.state {
	case unopened, opening:
		return fmt.Errorf("%w: %s: the database is not open yet", storage.ErrUnavailable, doing)
	case closed:
		return fmt.Errorf("%w: %s: the database is closed", storage.ErrUnavailable, doing)
	case opened:
	}
	if err := ctx.Err(); err != nil {
		return storage.Unavailable(doing, err)
	}
	s.running.Add(1)
	return nil
}

func (s *Store) leave() { s.running.Done() }

// task runs f on a goroutine that Close waits for, unless the store is closed.
func (s *Store) task(f func()) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state == opened {
		s.tasks.Go(f)
	}
}

// Ping reads and writes.
func (s *Store) Ping(ctx context.Context) error {
	return s.call(ctx, "checking the database", func(ctx context.Context, c conn) error {
		_, err := c.Exec(ctx, `INSERT INTO signpost.meta (name, value) VALUES ('ping', '')
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`)
		return err
	})
}

// SecretsKey returns the configured key that seals the secrets of API keys.
func (s *Store) SecretsKey(ctx context.Context) ([]byte, error) {
	if err := s.enter(ctx, "reading the secrets key"); err != nil {
		return nil, err
	}
	defer s.leave()
	return bytes.Clone(s.cfg.SecretsKey), nil
}

// Wake receives after creations, here or on other nodes.
func (s *Store) Wake() <-chan struct{} { return s.wake }
