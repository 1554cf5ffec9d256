package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/bucket"
)

// Store is a storage.Backend in memory. Make it with New.
type Store struct {
	buckets bucket.Set
	wake    chan struct{}

	mu   sync.RWMutex
	open bool
	key  []byte

	services    []storage.Service
	keys        map[string][]storage.APIKey // by service
	templates   map[templateKey]*template
	lastID      int64
	rows        map[int64]*row
	byUUID      map[uuid.UUID]*row
	byReference map[reference][]*row
	lists       map[string]*list // by service
	queues      map[storage.Channel]*schedule[*row]
	awaiting    schedule[*row] // sent, by SentAt
	retained    schedule[*row] // final, by ExpiresAt
	idempotency map[serviceKey]idempotent
	replays     map[serviceKey]time.Time // expiry
	counters    map[string]counter
	inbound     inbound
	queued      int64
	dead        map[int64]*row // in StatusTechnicalFailure
	signing     signing
	callbacks   callbacks
}

type (
	templateKey struct{ serviceID, id string }
	reference   struct{ sender, reference string }
	serviceKey  struct{ serviceID, key string }
	idempotent  struct {
		id        int64
		hash      []byte
		expiresAt time.Time
	}
	counter struct {
		value     int64
		expiresAt time.Time
	}
)

// row is a notification with its place in the schedules.
type row struct {
	n      storage.Notification
	token  int64 // of the newest claim
	leased bool
	// place is that of the row's one valid entry in a schedule; older entries
	// are stale.
	place int64
	owed  *callback // nil when none is
}

func (r *row) slot() (int64, *int64) { return r.n.ID, &r.place }

// New returns a store that isn't open yet.
func New() *Store {
	return &Store{wake: make(chan struct{}, 1)}
}

var _ storage.Backend = (*Store)(nil)

// Open makes the store empty and usable.
func (s *Store) Open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return storage.Unavailable("opening", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = make([]byte, storage.SecretsKeySize)
	_, _ = rand.Read(s.key) // never fails (Go 1.24)
	s.services = nil
	s.keys = map[string][]storage.APIKey{}
	s.templates = map[templateKey]*template{}
	s.rows = map[int64]*row{}
	s.byUUID = map[uuid.UUID]*row{}
	s.byReference = map[reference][]*row{}
	s.lists = map[string]*list{}
	s.queues = map[storage.Channel]*schedule[*row]{storage.SMS: {}, storage.Email: {}}
	s.awaiting, s.retained = schedule[*row]{}, schedule[*row]{}
	s.idempotency = map[serviceKey]idempotent{}
	s.replays = map[serviceKey]time.Time{}
	s.counters = map[string]counter{}
	s.lastID, s.queued, s.dead = 0, 0, map[int64]*row{}
	s.signing = newSigning()
	s.callbacks = newCallbacks()
	s.inbound = newInbound()
	s.open = true
	return nil
}

// Close drops everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	s.services, s.keys, s.templates = nil, nil, nil
	s.rows, s.byUUID, s.byReference, s.lists = nil, nil, nil, nil
	s.queues, s.awaiting, s.retained = nil, schedule[*row]{}, schedule[*row]{}
	s.idempotency, s.replays, s.counters, s.dead = nil, nil, nil, nil
	s.signing = signing{}
	s.callbacks = callbacks{}
	s.inbound = inbound{}
	return nil
}

// usable says why a call can't be served. The caller holds the lock.
func (s *Store) usable(ctx context.Context, doing string) error {
	if !s.open {
		return fmt.Errorf("%w: %s: the memory store is not open", storage.ErrUnavailable, doing)
	}
	return storage.Unavailable(doing, ctx.Err())
}

// Ping reports whether the store is open.
func (s *Store) Ping(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usable(ctx, "checking")
}

// SecretsKey returns a key that lives as long as the data.
func (s *Store) SecretsKey(ctx context.Context) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading the secrets key"); err != nil {
		return nil, err
	}
	return bytes.Clone(s.key), nil
}

// Wake receives after creations.
func (s *Store) Wake() <-chan struct{} { return s.wake }
