package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// storageModule is a guest in the namespace signpost.storage.
type storageModule interface {
	// poolKey identifies what is connected to, and nothing else: settings that
	// may change while the connection stays must not be in it.
	poolKey() string
	// secretsKey is the configured key for stored secrets, nil for the back
	// end's own.
	secretsKey() []byte
	// backend makes the back end, unopened.
	backend() storage.Backend
}

// storages holds the handles of all loaded configurations. A new configuration
// takes its reference before the old one gives its own up, so that an
// unchanged storage is never closed by a reload.
var storages = caddy.NewUsagePool()

// openTimeout bounds how long the start of a configuration waits for its
// storage: long enough for an older generation to let go of the same file.
const openTimeout = 30 * time.Second

// awaitTimeout bounds how long a request waits for storage that is still being
// opened; apps start in random order, so the listener may be there first.
const awaitTimeout = 5 * time.Second

// lettingGo has the handles that no configuration refers to any more. Requests
// and sends of the last one may still hold them open; a configuration that
// comes back to such a storage goes on with it. The pointers are weak, so that
// what has closed is forgotten.
var lettingGo sync.Map // of weak.Pointer[storage.Handle] by pool key

// pooledHandle is a handle in the pool.
type pooledHandle struct {
	*storage.Handle
	key string
}

// Destruct implements caddy.Destructor: nobody in the pool refers to it.
func (p pooledHandle) Destruct() error {
	lettingGo.Store(p.key, weak.Make(p.Handle))
	return p.Handle.Destruct()
}

func acquireHandle(m storageModule) (*storage.Handle, string, error) {
	key := m.poolKey()
	h, _, err := storages.LoadOrNew(key, func() (caddy.Destructor, error) {
		if v, ok := lettingGo.LoadAndDelete(key); ok {
			if old := v.(weak.Pointer[storage.Handle]).Value(); old != nil && old.Revive() {
				return pooledHandle{old, key}, nil
			}
		}
		return pooledHandle{storage.NewHandle(m.backend()), key}, nil
	})
	if err != nil {
		return nil, "", err
	}
	return h.(pooledHandle).Handle, key, nil
}

// needStorage notes that something needs the storage, so that it is opened at
// the start. Modules call it while they are provisioned.
func (a *App) needStorage(who string) { a.needs = append(a.needs, who) }

// openStorage opens and migrates the storage, once for all generations of the
// configuration.
func (a *App) openStorage(ctx context.Context) error {
	within := openTimeout
	if m, ok := a.storage.(interface{ openWithin() time.Duration }); ok {
		within = m.openWithin()
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := a.handle.Ready(ctx); err != nil {
		return fmt.Errorf("opening the storage: %w", err)
	}
	if want := a.storage.secretsKey(); want != nil {
		have, err := a.handle.Backend().SecretsKey(ctx)
		if err != nil {
			return err
		}
		if !bytes.Equal(want, have) {
			return errors.New("secrets_key is not the key with which the storage was opened: it can't be changed while the storage is in use")
		}
	}
	return nil
}

// hold keeps the storage open until the function that it returns is called. A
// storage that can't be used is no error here: whatever asks it will say so,
// in the dialect of its API.
func (a *App) hold(ctx context.Context) (release func()) {
	if err := a.handle.Acquire(ctx, awaitTimeout); err != nil {
		return func() {}
	}
	return a.handle.Release
}
