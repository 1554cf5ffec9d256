package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/jwks"
)

// keySets holds the key sets of all loaded configurations, so that one that a
// reload doesn't change keeps its keys, its limits on fetches and its age.
var keySets = caddy.NewUsagePool()

// pooledKeySet is a key set in the pool.
type pooledKeySet struct {
	*jwks.Set
	key     string
	sources map[string]jwks.Source // by their module and place

	once sync.Once
	err  error // of the first load
}

// Destruct implements caddy.Destructor: nobody in the pool refers to it.
// Requests of the last configuration go on with the keys at hand.
func (p *pooledKeySet) Destruct() error { return p.Close() }

func (p *pooledKeySet) release() error {
	_, err := keySets.Delete(p.key)
	return err
}

// acquireKeySet finds the set with this identity, or makes it.
func acquireKeySet(name string, identity []string, modules []keySourceModule, issuer string) (*pooledKeySet, error) {
	text, err := json.Marshal(append([]string{name}, identity...))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	key := hex.EncodeToString(sum[:])
	// Not in the function below, which runs with the pool's lock held.
	seeds := make([]jwks.Snapshot, len(modules))
	for i, m := range modules {
		seeds[i] = atHand(placeOf(m))
	}
	v, _, err := keySets.LoadOrNew(key, func() (caddy.Destructor, error) {
		sources := make([]jwks.Source, len(modules))
		places := make(map[string]jwks.Source)
		for i, m := range modules {
			if sources[i], err = m.source(seeds[i]); err != nil {
				return nil, err
			}
			places[placeOf(m)] = sources[i]
		}
		set, err := jwks.NewSet(jwks.SetConfig{
			Name: name, Issuer: issuer, Sources: sources,
			Logger: lastingLogger("signpost.key_set"), Clock: clock,
		})
		if err != nil {
			return nil, err
		}
		return &pooledKeySet{Set: set, key: key, sources: places}, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*pooledKeySet), nil
}

// placeOf tells a source's place from those of other modules.
func placeOf(m keySourceModule) string {
	if m.place() == "" {
		return ""
	}
	return m.CaddyModule().String() + " " + m.place()
}

// atHand returns what a source with this place has at hand: a reload that
// changes another setting of it must not lose the keys, least of all while
// their server is away.
func atHand(place string) (newest jwks.Snapshot) {
	if place == "" {
		return newest
	}
	keySets.Range(func(_, v any) bool {
		if p, ok := v.(*pooledKeySet); ok && p.sources[place] != nil {
			if snap := p.sources[place].Snapshot(); snap.Until.After(newest.Until) {
				newest = snap
			}
		}
		return true
	})
	return newest
}

// start loads the keys for the first time, once for all generations of the
// configuration, and waits for that. Its error is that of the first load: the
// set goes on trying.
func (p *pooledKeySet) start(ctx context.Context) error {
	p.once.Do(func() { p.err = p.Start(ctx) })
	return p.err
}

// startKeySets starts all key sets at the same time. It fails only for those
// that are to be there from the start; the sets themselves log the others. Those
// of hubs are not waited for: their server may be this very one, or the network
// not there yet, and a hub's user is in no such hurry.
func (a *App) startKeySets(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, k := range a.keySets {
		if k.ofHub {
			go func() { _ = k.pooled.start(ctx) }() // ends with the set
			continue
		}
		wg.Go(func() { _ = k.pooled.start(ctx) })
	}
	wg.Wait()
	for name, k := range a.keySets {
		if !k.FailStartup || k.pooled.Status().Ready {
			continue
		}
		if err := k.pooled.err; err != nil {
			return fmt.Errorf("fail_startup: %w", err)
		}
		return fmt.Errorf("fail_startup: key set %q has no usable keys", name)
	}
	return nil
}
