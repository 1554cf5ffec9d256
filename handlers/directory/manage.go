package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// InputError says what is wrong with a management request, in words for the
// person who made it.
type InputError struct{ Text string }

func (e *InputError) Error() string { return e.Text }

func inputErrorf(format string, a ...any) error { return &InputError{fmt.Sprintf(format, a...)} }

// ErrNoStorage says that nothing can be managed because there is only the
// configuration.
var ErrNoStorage = errors.New("no storage is configured: there is only what the configuration says")

// ServiceInfo describes a service without secrets.
type ServiceInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Origin    string     `json:"origin"` // "configuration" or "storage"
	CreatedAt *time.Time `json:"created_at,omitempty"`
}

// KeyInfo describes a key without its secret.
type KeyInfo struct {
	Name      string     `json:"name"`
	Type      string     `json:"type"`
	Origin    string     `json:"origin"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// NewKey is a key just made. It is the only time that the secret is shown.
type NewKey struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Secret  string `json:"secret"`
	// Combined is "name-service-secret", the form that GOV.UK Notify client
	// libraries take.
	Combined string `json:"key"`
}

const (
	originConfiguration = "configuration"
	originStorage       = "storage"
)

// AddService creates a stored service. Without an id it gets a new version 4
// UUID; a given one must be a UUID in lower case.
func (d *Directory) AddService(ctx context.Context, id, name string) (ServiceInfo, error) {
	if d.store == nil {
		return ServiceInfo{}, ErrNoStorage
	}
	if err := checkName("service", name, 200); err != nil {
		return ServiceInfo{}, err
	}
	if id == "" {
		id = uuid.NewString()
	}
	if !CanBeStored(id) {
		return ServiceInfo{}, inputErrorf("service id %q is not a UUID in lower case", id)
	}
	if _, ok := d.services[id]; ok {
		return ServiceInfo{}, inputErrorf("service %s is in the configuration already", id)
	}
	s := storage.Service{ID: id, Name: name, CreatedAt: d.now().UTC().Truncate(time.Microsecond)}
	if err := d.store.PutService(ctx, s); err != nil {
		if errors.Is(err, storage.ErrExists) {
			return ServiceInfo{}, inputErrorf("service %s exists already", id)
		}
		return ServiceInfo{}, err
	}
	d.storedServices.forget()
	d.forgetSettings()
	return ServiceInfo{ID: id, Name: name, Origin: originStorage, CreatedAt: &s.CreatedAt}, nil
}

// ListServices returns the configuration's services, then the stored ones.
func (d *Directory) ListServices(ctx context.Context) ([]ServiceInfo, error) {
	out := make([]ServiceInfo, 0, len(d.services))
	for _, s := range d.services {
		out = append(out, ServiceInfo{ID: s.ID, Name: s.Name, Origin: originConfiguration})
	}
	sortBy(out, func(s ServiceInfo) string { return s.ID })
	if d.store == nil {
		return out, nil
	}
	stored, err := d.store.Services(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range stored {
		out = append(out, ServiceInfo{ID: s.ID, Name: s.Name, Origin: originStorage, CreatedAt: &s.CreatedAt})
	}
	return out, nil
}

// AddKey makes a key with a new random secret: a version 4 UUID in lower case,
// as GOV.UK Notify's own (122 random bits).
func (d *Directory) AddKey(ctx context.Context, serviceID, name string, typ storage.KeyType) (NewKey, error) {
	if err := d.stored(serviceID); err != nil {
		return NewKey{}, err
	}
	if err := checkPathName("key", name, 100); err != nil {
		return NewKey{}, err
	}
	if typ == "" {
		typ = storage.KeyNormal
	}
	if !validType(typ) {
		return NewKey{}, inputErrorf("key type %q: it must be normal, team or test", typ)
	}
	sealer, err := d.sealer(ctx)
	if err != nil {
		return NewKey{}, err
	}
	secret := uuid.NewString()
	k := storage.APIKey{
		ServiceID: serviceID, Name: name, Type: typ,
		CreatedAt: d.now().UTC().Truncate(time.Microsecond),
	}
	k.Secret = sealer.Seal([]byte(secret), sealContext(k))
	if err := d.store.AddKey(ctx, k); err != nil {
		switch {
		case errors.Is(err, storage.ErrExists):
			return NewKey{}, inputErrorf("service %s has or had a key named %q: choose another name", serviceID, name)
		case errors.Is(err, storage.ErrNotFound):
			return NewKey{}, fmt.Errorf("service %s: %w", serviceID, err)
		}
		return NewKey{}, err
	}
	d.storedServices.forget()
	return NewKey{
		Service: serviceID, Name: name, Type: string(typ),
		Secret: secret,
		// A key string holds no blanks: some clients refuse them.
		Combined: strings.Join(strings.Fields(name), "_") + "-" + serviceID + "-" + secret,
	}, nil
}

// ListKeys returns a service's keys, revoked ones too.
func (d *Directory) ListKeys(ctx context.Context, serviceID string) ([]KeyInfo, error) {
	if s, ok := d.services[serviceID]; ok {
		out := make([]KeyInfo, 0, len(s.Keys))
		for _, k := range s.Keys {
			out = append(out, KeyInfo{Name: k.Name(), Type: k.Type(), Origin: originConfiguration})
		}
		return out, nil
	}
	if d.store == nil {
		return nil, storage.ErrNotFound
	}
	if _, err := d.store.Service(ctx, serviceID); err != nil {
		return nil, err
	}
	keys, err := d.store.Keys(ctx, serviceID)
	if err != nil {
		return nil, err
	}
	out := make([]KeyInfo, 0, len(keys))
	for _, k := range keys {
		info := KeyInfo{Name: k.Name, Type: string(k.Type), Origin: originStorage, CreatedAt: &k.CreatedAt}
		if !k.RevokedAt.IsZero() {
			info.RevokedAt = &k.RevokedAt
		}
		out = append(out, info)
	}
	return out, nil
}

// RevokeKey ends a key for good. This node refuses it from now on, others
// within CacheFor.
func (d *Directory) RevokeKey(ctx context.Context, serviceID, name string) error {
	if err := d.stored(serviceID); err != nil {
		return err
	}
	err := d.store.RevokeKey(ctx, serviceID, name, d.now().UTC().Truncate(time.Microsecond))
	d.storedServices.forget()
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("service %s has no key named %q: %w", serviceID, name, err)
	}
	return err
}

// stored refuses to manage the keys of services that the configuration owns.
func (d *Directory) stored(serviceID string) error {
	if d.store == nil {
		return ErrNoStorage
	}
	if _, ok := d.services[serviceID]; ok {
		return inputErrorf("service %s is in the configuration: add and remove its keys there and reload", serviceID)
	}
	return nil
}

func checkName(what, name string, longest int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return inputErrorf("the %s needs a name", what)
	case !utf8.ValidString(name):
		return inputErrorf("the %s's name is not valid UTF-8", what)
	case utf8.RuneCountInString(name) > longest:
		return inputErrorf("the %s's name is longer than %d characters", what, longest)
	case strings.ContainsFunc(name, unicode.IsControl):
		return inputErrorf("the %s's name holds a control character", what)
	}
	return nil
}

// checkPathName is checkName for names that stand in the paths of URLs.
func checkPathName(what, name string, longest int) error {
	if strings.ContainsRune(name, '/') {
		return inputErrorf("the %s's name holds a slash", what)
	}
	return checkName(what, name, longest)
}

// sortBy sorts by a text, so that lists made from maps have an order.
func sortBy[T any](s []T, key func(T) string) {
	slices.SortFunc(s, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}

func validType(t storage.KeyType) bool {
	return t == storage.KeyNormal || t == storage.KeyTeam || t == storage.KeyTest
}
