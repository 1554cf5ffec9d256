// Package directory answers which services there are, with which keys and
// templates: those of the configuration and those kept in storage, as one. It
// also manages the stored ones (manage.go).
package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Store is what a directory needs of a storage back end.
type Store interface {
	SecretsKey(ctx context.Context) ([]byte, error)
	PutService(ctx context.Context, s storage.Service) error
	PutServiceSettings(ctx context.Context, id string, settings []byte) error
	Service(ctx context.Context, id string) (storage.Service, error)
	Services(ctx context.Context) ([]storage.Service, error)
	AddKey(ctx context.Context, k storage.APIKey) error
	Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error)
	RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error
	PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error)
	Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error)
	Templates(ctx context.Context, serviceID string) ([]storage.Template, error)
	ArchiveTemplate(ctx context.Context, serviceID, id string, at time.Time) error
}

// Configured is a service of the configuration. It is served without storage.
type Configured struct {
	Service   *notifyauth.Service
	Templates []storage.Template
	// Settings is what is set for it, with the bearer token of its callback in
	// plain text.
	Settings storage.ServiceSettings
}

// CacheFor is how long an answer from storage is used again, and so how late a
// revocation on another node may be seen. Changes made through the directory
// itself are seen at once.
const CacheFor = 4 * time.Second

// maxCached bounds each cache; the ids that are looked up come from
// unauthenticated tokens.
const maxCached = 10_000

// Config describes a Directory.
type Config struct {
	Configured []Configured
	// ConfiguredAt is what the configuration's templates say about when they
	// were made. Default: now.
	ConfiguredAt time.Time
	// Store may be nil: then only the configuration's services exist.
	Store Store
	// Logger hears of stored keys that can't be read. Default: no log.
	Logger *slog.Logger
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

// Directory is safe for concurrent use.
type Directory struct {
	store     Store
	log       *slog.Logger
	now       func() time.Time
	services  map[string]*notifyauth.Service
	settings  map[string]storage.ServiceSettings // of the configuration's services
	numbers   map[string]string                  // of those: the services by the numbers that are theirs
	templates map[templateKey]storage.Template   // of the configuration, by id and by UUID

	storedServices  *cache[string, *notifyauth.Service]
	storedSettings  *cache[string, storage.ServiceSettings]
	storedAll       *cache[struct{}, *allSettings]
	storedTemplates *cache[templateKey, storage.Template]
	storedLists     *cache[string, []storage.Template] // of templates, by service
}

// New checks the configuration's services: ids, template ids and the numbers
// that receive messages are unique, and settings can be meant.
func New(c Config) (*Directory, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Directory{
		store:     c.Store,
		log:       c.Logger,
		now:       c.Now,
		services:  make(map[string]*notifyauth.Service, len(c.Configured)),
		settings:  make(map[string]storage.ServiceSettings, len(c.Configured)),
		numbers:   make(map[string]string),
		templates: make(map[templateKey]storage.Template),
	}
	at := storage.Micro(c.ConfiguredAt)
	if c.ConfiguredAt.IsZero() {
		at = storage.Micro(c.Now())
	}
	for _, s := range c.Configured {
		id := s.Service.ID
		if _, twice := d.services[id]; twice {
			return nil, fmt.Errorf("service %s is configured twice", id)
		}
		d.services[id] = s.Service
		if err := d.configureSettings(id, s.Settings); err != nil {
			return nil, err
		}
		for _, t := range s.Templates {
			t.ServiceID, t.Version, t.CreatedAt, t.FirstAt = id, 1, at, at
			if err := d.configureTemplate(t); err != nil {
				return nil, err
			}
		}
	}
	d.storedServices = newCache(c.Now, d.loadService)
	d.storedSettings = newCache(c.Now, d.loadSettings)
	d.storedAll = newCache(c.Now, d.loadAllSettings)
	d.storedTemplates = newCache(c.Now, d.loadTemplate)
	d.storedLists = newCache(c.Now, d.loadTemplates)
	return d, nil
}

// Service implements notifyauth.Services: the service with its active and
// revoked keys, notifyauth.ErrUnknownService, or a technical error.
func (d *Directory) Service(ctx context.Context, id string) (*notifyauth.Service, error) {
	if s, ok := d.services[id]; ok {
		return s, nil
	}
	// Stored services have UUIDs made here; anything else can't be one, and
	// need not reach the storage.
	if d.store == nil || !CanBeStored(id) {
		return nil, notifyauth.ErrUnknownService
	}
	s, err := d.storedServices.get(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, notifyauth.ErrUnknownService
	}
	return s, err
}

func (d *Directory) loadService(ctx context.Context, id string) (*notifyauth.Service, error) {
	s, err := d.store.Service(ctx, id)
	if err != nil {
		return nil, err
	}
	keys, err := d.store.Keys(ctx, id)
	if err != nil {
		return nil, err
	}
	sealer, err := d.sealer(ctx)
	if err != nil {
		return nil, err
	}
	out := &notifyauth.Service{ID: s.ID, Name: s.Name}
	var unreadable error
	for _, k := range keys {
		key, err := openKey(sealer, k)
		if err != nil {
			// The other keys go on; only a service without any is away.
			unreadable = storage.Unavailable("reading key "+k.Name+" of service "+id, err)
			d.log.ErrorContext(ctx, "a stored key can't be read", "service_id", id, "key_name", k.Name, "error", err)
			continue
		}
		out.Keys = append(out.Keys, key)
	}
	if len(out.Keys) == 0 && unreadable != nil {
		return nil, unreadable
	}
	return out, nil
}

func openKey(sealer *storage.Sealer, k storage.APIKey) (*notifyauth.Key, error) {
	secret, err := sealer.Open(k.Secret, sealContext(k))
	if err != nil {
		return nil, err
	}
	return notifyauth.NewKey(k.Name, string(secret), notifyauth.WithType(string(k.Type)), notifyauth.WithRevokedAt(k.RevokedAt))
}

func (d *Directory) sealer(ctx context.Context) (*storage.Sealer, error) {
	key, err := d.store.SecretsKey(ctx)
	if err != nil {
		return nil, err
	}
	return storage.NewSealer(key)
}

// sealContext binds a sealed secret to its row.
func sealContext(k storage.APIKey) string { return "api-key/" + k.ServiceID + "/" + k.Name }

// CanBeStored reports whether a service of that id can be in storage. Stored
// services have UUIDs in their canonical lower-case text; other spellings are
// other services.
func CanBeStored(id string) bool {
	if len(id) != 36 {
		return false
	}
	u, err := uuid.Parse(id)
	return err == nil && u.String() == id
}
