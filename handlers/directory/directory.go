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
	Service(ctx context.Context, id string) (storage.Service, error)
	Services(ctx context.Context) ([]storage.Service, error)
	AddKey(ctx context.Context, k storage.APIKey) error
	Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error)
	RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error
	PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error)
	Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error)
	Templates(ctx context.Context, serviceID string) ([]storage.Template, error)
}

// Configured is a service of the configuration. It is served without storage.
type Configured struct {
	Service   *notifyauth.Service
	Templates []storage.Template
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
	templates map[templateKey]storage.Template

	storedServices  *cache[string, *notifyauth.Service]
	storedTemplates *cache[templateKey, storage.Template]
}

type templateKey struct{ service, id string }

// New checks the configuration's services: ids and template ids are unique.
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
		templates: make(map[templateKey]storage.Template),
	}
	for _, s := range c.Configured {
		id := s.Service.ID
		if _, twice := d.services[id]; twice {
			return nil, fmt.Errorf("service %s is configured twice", id)
		}
		d.services[id] = s.Service
		for _, t := range s.Templates {
			k := templateKey{id, t.ID}
			if _, twice := d.templates[k]; twice {
				return nil, fmt.Errorf("service %s: template %s is configured twice", id, t.ID)
			}
			t.ServiceID, t.Version = id, 1
			d.templates[k] = t
		}
	}
	d.storedServices = newCache(c.Now, d.loadService)
	d.storedTemplates = newCache(c.Now, d.loadTemplate)
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

// Template returns the newest version of a service's template, or
// storage.ErrNotFound. The configuration's templates come first.
func (d *Directory) Template(ctx context.Context, serviceID, id string) (storage.Template, error) {
	k := templateKey{serviceID, id}
	if t, ok := d.templates[k]; ok {
		return t, nil
	}
	if d.store == nil {
		return storage.Template{}, storage.ErrNotFound
	}
	return d.storedTemplates.get(ctx, k)
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
	return notifyauth.NewKey(k.Name, string(secret), notifyauth.WithType(string(k.Type)), notifyauth.WithRevoked(!k.RevokedAt.IsZero()))
}

func (d *Directory) loadTemplate(ctx context.Context, k templateKey) (storage.Template, error) {
	return d.store.Template(ctx, k.service, k.id, 0)
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
