package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/bucket"
)

// Config says where the database is and how it is kept.
type Config struct {
	// Path of the database file. It and its folder are made when missing.
	Path string
	// SecretsKey seals the secrets of API keys: storage.SecretsKeySize bytes.
	// When nil, the key is read from Path with ".key" appended, which Open
	// makes for a new database.
	SecretsKey []byte
	// Logger for faults and recoveries. Default: discarded.
	Logger *slog.Logger
	// OpenWait is how long Open waits for another process, or an older handle
	// of this one, to release the database. Default: 5 s.
	OpenWait time.Duration
	// Readers is the number of connections for reading. Default: 4.
	Readers int
}

// Store is a storage.Backend in a SQLite file. Make it with New.
type Store struct {
	cfg     Config
	log     *slog.Logger
	buckets bucket.Set
	wake    chan struct{}
	ops     chan *op
	faulty  chan struct{} // receives when a caller has met a fault
	writing atomic.Int64  // callers of write
	w       *writer
	quit    chan struct{} // closed to end the writer
	ended   chan struct{} // closed by the writer

	mu      sync.RWMutex
	state   state
	running sync.WaitGroup // calls, which Close waits for
	lock    *os.File
	key     []byte
	keys    *keyIndex // the mirror's, for Idempotent
	recent  recent
	queued  [phaseEmail + 1]atomic.Int64 // by channel, as committed

	callbacks atomic.Int64 // that are owed, as committed

	// faultMu is held for reading during every read, so that the writer can
	// tell when all connections are closed.
	faultMu sync.RWMutex
	fault   error
	readers chan *conn
	// damage is what a read has found while fault was nil; the writer makes
	// it the fault before it commits anything else.
	damage atomic.Pointer[error]

	// failpoint is called before each commit, for tests of faults.
	failpoint func() error
}

type state int

const (
	unopened state = iota
	opening
	opened
	closed
)

var _ storage.Backend = (*Store)(nil)

// New returns a store that isn't open yet. It touches nothing.
func New(cfg Config) *Store {
	if cfg.OpenWait <= 0 {
		cfg.OpenWait = 5 * time.Second
	}
	if cfg.Readers <= 0 {
		cfg.Readers = 4
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		cfg: cfg, log: log,
		wake:   make(chan struct{}, 1),
		ops:    make(chan *op, 2*maxBatch),
		faulty: make(chan struct{}, 1),
		quit:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
}

// Open makes or opens the database, locks it, migrates it and starts the
// writer. Its errors wrap storage.ErrUnavailable and say what to do. After a
// failure it may be called again.
func (s *Store) Open(ctx context.Context) error {
	s.mu.Lock()
	if s.state != unopened {
		s.mu.Unlock()
		return fmt.Errorf("%w: the SQLite store %s was opened before", storage.ErrUnavailable, s.cfg.Path)
	}
	s.state = opening // calls meanwhile fail at once, and don't wait for the lock
	s.mu.Unlock()
	w, err := s.open(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.state = unopened
		return storage.Unavailable("opening "+s.cfg.Path, err)
	}
	s.state = opened
	s.w = w
	s.keys = w.m.idempotency
	go w.run()
	return nil
}

func (s *Store) open(ctx context.Context) (w *writer, err error) {
	if s.cfg.Path == "" {
		return nil, errors.New("no path is configured")
	}
	if err := makeFolder(s.cfg.Path); err != nil {
		return nil, err
	}
	lock, err := acquire(ctx, s.cfg.Path+".lock", s.cfg.OpenWait)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release(lock)
		}
	}()
	if err := prepareFile(s.cfg.Path, s.log); err != nil {
		return nil, err
	}
	if err := migrate(ctx, s.cfg.Path); err != nil {
		return nil, err
	}
	w = &writer{s: s, first: true}
	if err := w.connect(ctx); err != nil {
		return nil, err
	}
	err = checkCopied(ctx, w.c)
	var key []byte
	if err == nil {
		key, err = secretsKey(ctx, s.cfg, w.c)
	}
	if err != nil {
		return nil, errors.Join(err, s.disconnect(w))
	}
	s.lock, s.key = lock, key
	return w, nil
}

// disconnect closes all connections, waiting for reads that run.
func (s *Store) disconnect(w *writer) error {
	s.faultMu.Lock()
	readers := s.readers
	s.readers = nil
	s.faultMu.Unlock()
	var errs []error
	for len(readers) > 0 {
		errs = append(errs, (<-readers).close())
	}
	if w.c != nil {
		errs = append(errs, w.c.close())
		w.c = nil
	}
	return errors.Join(errs...)
}

// Close waits for running calls, empties the write-ahead log into the database
// and releases the file.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.state
	s.state = closed
	s.mu.Unlock()
	if was != opened {
		return nil
	}
	s.running.Wait()
	close(s.quit)
	<-s.ended
	release(s.lock)
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

// Ping reads and writes. After a write for which the disk had no room, it fails
// until there is room for more than a few pages.
func (s *Store) Ping(ctx context.Context) error {
	err := s.read(ctx, "checking the database", func(c *conn) error {
		_, _, err := c.one(ctx, `SELECT 1 FROM meta LIMIT 1`)
		return err
	})
	if err != nil {
		return err
	}
	s.writing.Add(1) // so that a hanging disk can't keep the caller beyond ctx
	defer s.writing.Add(-1)
	return s.write(ctx, "checking the database", func(w *writer) error {
		size := 0
		if w.full {
			size = probe
		}
		_, err := w.c.exec(w.ctx, `INSERT INTO meta (name, value) VALUES ('ping', zeroblob(?))
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, size)
		w.probed = w.full
		return err
	})
}

// probe is what Ping writes on a disk that was full: where one page has room, a
// notification may have none.
const probe = 256 << 10

// SecretsKey returns the key that seals the secrets of API keys.
func (s *Store) SecretsKey(ctx context.Context) ([]byte, error) {
	if err := s.enter(ctx, "reading the secrets key"); err != nil {
		return nil, err
	}
	defer s.leave()
	return bytes.Clone(s.key), nil
}

// Wake receives after creations.
func (s *Store) Wake() <-chan struct{} { return s.wake }

// read runs f with a connection of its own.
func (s *Store) read(ctx context.Context, doing string, f func(c *conn) error) error {
	return s.trusted(ctx, doing, func() error { return s.withReader(ctx, doing, f) })
}

// trusted runs f while the store is open and free of faults.
func (s *Store) trusted(ctx context.Context, doing string, f func() error) error {
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	defer s.leave()
	s.faultMu.RLock()
	defer s.faultMu.RUnlock()
	if s.fault != nil {
		return storage.Unavailable(doing, s.fault)
	}
	if damage := s.damage.Load(); damage != nil {
		return storage.Unavailable(doing, *damage)
	}
	return f()
}

// withReader is called within trusted.
func (s *Store) withReader(ctx context.Context, doing string, f func(c *conn) error) error {
	select {
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		err := f(c)
		if damaged(err) {
			s.report(err)
		}
		return classify(doing, err)
	case <-ctx.Done():
		return storage.Unavailable(doing, ctx.Err())
	}
}

// classify makes a technical failure of everything that isn't one of the
// contract's own errors.
func classify(doing string, err error) error {
	if err == nil {
		return nil
	}
	for _, own := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrLeaseLost, storage.ErrIdempotencyMismatch,
		storage.ErrInvalid, storage.ErrUnavailable,
	} {
		if errors.Is(err, own) {
			return err
		}
	}
	if _, ok := errors.AsType[*storage.LimitError](err); ok {
		return err
	}
	return storage.Unavailable(doing, err)
}
