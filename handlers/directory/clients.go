package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks"
)

// ClientStore is what Clients needs of a storage back end.
type ClientStore interface {
	PutSigningClient(ctx context.Context, c storage.SigningClient) error
	SigningClient(ctx context.Context, id string) (storage.SigningClient, error)
	SigningClients(ctx context.Context) ([]storage.SigningClient, error)
	DeleteSigningClient(ctx context.Context, id string) error
}

// ConfiguredClient is a signing client of the configuration. It is served
// without storage.
type ConfiguredClient struct {
	signing.Client

	// Public lists the keys of the client, for hubs.
	Public jwks.KeyLister
}

// ClientsConfig describes Clients.
type ClientsConfig struct {
	Configured []ConfiguredClient
	// Store may be nil: then only the configuration's clients exist.
	Store ClientStore
	// Logger hears of stored clients whose keys can't be read. Default: no log.
	Logger *slog.Logger
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

// Clients answers which signing clients there are: those of the configuration
// and those kept in storage, as one. It is safe for concurrent use.
type Clients struct {
	configured map[string]ConfiguredClient
	store      ClientStore
	log        *slog.Logger
	now        func() time.Time

	stored *cache[string, *signing.Client]
	all    *cache[struct{}, jwks.Keys] // of the stored clients
	// published are those keys when they could last be read; nil before.
	published atomic.Pointer[jwks.Keys]
}

// NewClients checks the configuration's clients: ids are unique, callbacks can
// be used.
func NewClients(c ClientsConfig) (*Clients, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Clients{configured: make(map[string]ConfiguredClient, len(c.Configured)), store: c.Store, log: c.Logger, now: c.Now}
	for _, client := range c.Configured {
		if client.ID == "" {
			return nil, errors.New("a client needs an id: the iss of its requests")
		}
		if _, twice := d.configured[client.ID]; twice {
			return nil, fmt.Errorf("client %s is configured twice", client.ID)
		}
		if client.Keys == nil {
			return nil, fmt.Errorf("client %s has no keys", client.ID)
		}
		if err := signing.CheckCallback(client.Callback); err != nil {
			return nil, fmt.Errorf("client %s: %w", client.ID, err)
		}
		d.configured[client.ID] = client
	}
	d.stored = newCache(c.Now, d.load)
	d.all = newCache(c.Now, d.loadKeys)
	return d, nil
}

// Client implements signing.Clients.
func (d *Clients) Client(ctx context.Context, id string) (*signing.Client, error) {
	if c, ok := d.configured[id]; ok {
		return &c.Client, nil
	}
	// Stored clients have ids made here; anything else need not reach the
	// storage.
	if d.store == nil || !canBeStoredClient(id) {
		return nil, signing.ErrUnknownClient
	}
	c, err := d.stored.get(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, signing.ErrUnknownClient
	}
	return c, err
}

func (d *Clients) load(ctx context.Context, id string) (*signing.Client, error) {
	c, err := d.store.SigningClient(ctx, id)
	if err != nil {
		return nil, err
	}
	keys, _, err := jwks.Parse(c.Keys, jwks.Limits{})
	if err != nil {
		return nil, storage.Unavailable("reading the keys of client "+id, err)
	}
	index, _ := jwks.NewIndex(keys)
	return &signing.Client{ID: c.ID, Name: c.Name, Callback: c.Callback, Keys: index}, nil
}

// keysTimeout bounds how long Keys waits for the storage.
const keysTimeout = 2 * time.Second

// Keys implements jwks.KeyLister: the public keys of all clients, for hubs
// that verify requests themselves. While the storage is away, those of stored
// clients are the ones from before; there are no keys at all when it has been
// away from the start, for a list with some of them missing would be believed.
func (d *Clients) Keys() jwks.Keys {
	var all jwks.Keys
	for _, id := range slices.Sorted(maps.Keys(d.configured)) {
		if public := d.configured[id].Public; public != nil {
			all = append(all, withIDs(public.Keys())...)
		}
	}
	if d.store == nil {
		return all
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	stored, err := d.all.get(ctx, struct{}{})
	if err == nil {
		d.published.Store(&stored)
		return append(all, stored...)
	}
	d.log.Error("the keys of stored signing clients can't be read", slog.Any("error", err))
	if before := d.published.Load(); before != nil {
		return append(all, *before...)
	}
	return nil
}

// withIDs gives a key without an id its thumbprint, as AddClient does: among
// others, a key without one can't be found.
func withIDs(keys jwks.Keys) jwks.Keys {
	out := make(jwks.Keys, 0, len(keys))
	for _, k := range keys {
		if k.Kid == "" {
			named, err := jwks.NewKey(k.Thumbprint, k.Alg, k.Public)
			if err != nil {
				continue
			}
			k = named
		}
		out = append(out, k)
	}
	return out
}

func (d *Clients) loadKeys(ctx context.Context, _ struct{}) (jwks.Keys, error) {
	clients, err := d.store.SigningClients(ctx)
	if err != nil {
		return nil, err
	}
	var all jwks.Keys
	for _, c := range clients {
		keys, _, err := jwks.Parse(c.Keys, jwks.Limits{})
		if err != nil {
			d.log.Error("the keys of a stored signing client can't be read", slog.String("client", c.ID), slog.Any("error", err))
			continue
		}
		all = append(all, keys...)
	}
	return all, nil
}

func (d *Clients) forget() {
	d.stored.forget()
	d.all.forget()
}
