package memory

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
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
	templates   map[templateKey][]storage.Template
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
	s.templates = map[templateKey][]storage.Template{}
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

// PutService creates a service.
func (s *Store) PutService(ctx context.Context, v storage.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a service"); err != nil {
		return err
	}
	if s.hasService(v.ID) {
		return storage.ErrExists
	}
	v.CreatedAt = storage.Micro(v.CreatedAt)
	s.services = append(s.services, v)
	return nil
}

func (s *Store) hasService(id string) bool {
	return slices.ContainsFunc(s.services, func(v storage.Service) bool { return v.ID == id })
}

// Service returns one service.
func (s *Store) Service(ctx context.Context, id string) (storage.Service, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a service"); err != nil {
		return storage.Service{}, err
	}
	for _, v := range s.services {
		if v.ID == id {
			return v, nil
		}
	}
	return storage.Service{}, storage.ErrNotFound
}

// Services returns all services by creation.
func (s *Store) Services(ctx context.Context) ([]storage.Service, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing services"); err != nil {
		return nil, err
	}
	return slices.Clone(s.services), nil
}

// AddKey adds a key to a service.
func (s *Store) AddKey(ctx context.Context, k storage.APIKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a key"); err != nil {
		return err
	}
	if !s.hasService(k.ServiceID) {
		return storage.ErrNotFound
	}
	if s.keyOf(k.ServiceID, k.Name) != nil {
		return storage.ErrExists
	}
	k.Secret = bytes.Clone(k.Secret)
	k.CreatedAt = storage.Micro(k.CreatedAt)
	if !k.RevokedAt.IsZero() {
		k.RevokedAt = storage.Micro(k.RevokedAt)
	}
	s.keys[k.ServiceID] = append(s.keys[k.ServiceID], k)
	return nil
}

func (s *Store) keyOf(serviceID, name string) *storage.APIKey {
	keys := s.keys[serviceID]
	i := slices.IndexFunc(keys, func(k storage.APIKey) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

// Keys returns a service's keys by creation.
func (s *Store) Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing keys"); err != nil {
		return nil, err
	}
	keys := slices.Clone(s.keys[serviceID])
	for i := range keys {
		keys[i].Secret = bytes.Clone(keys[i].Secret)
	}
	return keys, nil
}

// RevokeKey revokes a key for good.
func (s *Store) RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "revoking a key"); err != nil {
		return err
	}
	k := s.keyOf(serviceID, name)
	if k == nil {
		return storage.ErrNotFound
	}
	if k.RevokedAt.IsZero() {
		k.RevokedAt = storage.Micro(at)
	}
	return nil
}

// PutTemplate stores the next version.
func (s *Store) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a template"); err != nil {
		return storage.Template{}, err
	}
	k := templateKey{t.ServiceID, t.ID}
	t.Version = len(s.templates[k]) + 1
	t.CreatedAt = storage.Micro(t.CreatedAt)
	s.templates[k] = append(s.templates[k], t)
	return t, nil
}

// Template returns one version, the newest for 0.
func (s *Store) Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a template"); err != nil {
		return storage.Template{}, err
	}
	versions := s.templates[templateKey{serviceID, id}]
	if version == 0 {
		version = len(versions)
	}
	if version < 1 || version > len(versions) {
		return storage.Template{}, storage.ErrNotFound
	}
	return versions[version-1], nil
}

// Templates returns the newest versions by id.
func (s *Store) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing templates"); err != nil {
		return nil, err
	}
	var out []storage.Template
	for k, versions := range s.templates {
		if k.serviceID == serviceID {
			out = append(out, versions[len(versions)-1])
		}
	}
	slices.SortFunc(out, func(a, b storage.Template) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
