package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// cache remembers what load said, found or not found, for CacheFor. Technical
// errors are not remembered.
type cache[K comparable, V any] struct {
	now  func() time.Time
	load func(context.Context, K) (V, error)

	mu      sync.RWMutex
	entries map[K]entry[V]
	// epoch counts the calls of forget: a load that began before one must not
	// bring back what it forgot.
	epoch uint64
}

type entry[V any] struct {
	value V
	err   error // nil or storage.ErrNotFound
	until time.Time
}

func newCache[K comparable, V any](now func() time.Time, load func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{now: now, load: load, entries: make(map[K]entry[V])}
}

func (c *cache[K, V]) get(ctx context.Context, k K) (V, error) {
	now := c.now()
	c.mu.RLock()
	e, ok := c.entries[k]
	epoch := c.epoch
	c.mu.RUnlock()
	if ok && now.Before(e.until) {
		return e.value, e.err
	}
	v, err := c.load(ctx, k)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		if len(c.entries) >= maxCached {
			clear(c.entries) // rare, cheap to fill again, and needs no order
		}
		c.entries[k] = entry[V]{v, err, now.Add(CacheFor)}
	}
	return v, err
}

// forget makes every next get ask the storage.
func (c *cache[K, V]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.epoch++
}
