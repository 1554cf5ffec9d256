package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/jwks"
)

// KeySet is a set of public keys, all of one issuer.
type KeySet struct {
	// The name by which `jwks_auth` and `jwks_publish` refer to the key set. It
	// labels metrics.
	Name string `json:"name,omitempty"`

	// Where the keys come from. The set is the union of all sources; keys of
	// two sources with one key id and different bytes are both dropped.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=signpost.key_sources inline_key=module"`

	// The issuer whose keys these are: they verify tokens with this `iss` and no
	// other. Without it they verify tokens of any issuer to which no other key
	// set of the same handler belongs, and a warning says so.
	Issuer string `json:"issuer,omitempty"`

	// Whether the configuration fails to load when the first fetch of the keys
	// does. By default it starts all the same, and tokens are answered with 503
	// until keys have come.
	FailStartup bool `json:"fail_startup,omitempty"`

	pooled *pooledKeySet
	// ofHub tells that these are the keys of a signing API's clients, for a hub,
	// which binds them to the API and not to one issuer.
	ofHub bool
}

// keySourceModule is a guest in the namespace signpost.key_sources.
type keySourceModule interface {
	caddy.Module

	// identity tells the source from others of its module: all that decides
	// which keys it gives, and when.
	identity() string
	// place is the part of it that says where the keys are, and not when they
	// are loaded; empty when they need no loading.
	place() string
	// source makes it, unstarted. seed is what another source with the same
	// place has at hand.
	source(seed jwks.Snapshot) (jwks.Source, error)
}

// provision loads the sources and finds or makes the set. It fetches nothing.
func (k *KeySet) provision(ctx caddy.Context) error {
	if len(k.SourcesRaw) == 0 {
		return fmt.Errorf("key set %q has no source: `source url`, `source file` or `source inline`", k.Name)
	}
	v, err := ctx.LoadModule(k, "SourcesRaw")
	if err != nil {
		return fmt.Errorf("key set %q: %w", k.Name, err)
	}
	var modules []keySourceModule
	identity := []string{k.Issuer}
	for _, guest := range v.([]any) {
		m, ok := guest.(keySourceModule)
		if !ok {
			return fmt.Errorf("key set %q: module %T is not a source of keys", k.Name, guest)
		}
		modules = append(modules, m)
		identity = append(identity, m.CaddyModule().String(), m.identity())
	}
	if k.pooled, err = acquireKeySet(k.Name, identity, modules, k.Issuer); err != nil {
		return fmt.Errorf("key set %q: %w", k.Name, err)
	}
	if k.Issuer == "" {
		ctx.Logger().Warn("key set " + k.Name + " has no issuer: its keys verify tokens with any iss, or without one")
	}
	return nil
}

// unmarshalKeySet reads a block in the global option:
//
//	key_set <name> {
//		source <module> ...
//		issuer <iss>
//		fail_startup
//	}
func unmarshalKeySet(d *caddyfile.Dispenser) (*KeySet, error) {
	k := new(KeySet)
	if err := textOption(d, &k.Name); err != nil {
		return nil, err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := k.unmarshalOption(d)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, unknownOption(d, "key_set", keySetOptions...)
		}
	}
	if len(k.SourcesRaw) == 0 {
		return nil, d.Errf("key_set %s has no source: `source url`, `source file` or `source inline`", k.Name)
	}
	return k, nil
}

var keySetOptions = []string{"source", "issuer", "fail_startup"}

// unmarshalOption reads one option of the block; known is false when it isn't
// one of these.
func (k *KeySet) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "source":
		return true, k.unmarshalSource(d)
	case "issuer":
		return true, textOption(d, &k.Issuer)
	case "fail_startup":
		return true, flagOption(d, &k.FailStartup)
	}
	return false, nil
}

// unmarshalSource reads the source of keys that the dispenser stands before.
func (k *KeySet) unmarshalSource(d *caddyfile.Dispenser) error {
	name, v, err := unmarshalGuest(d, "signpost.key_sources")
	if err != nil {
		return err
	}
	k.SourcesRaw = append(k.SourcesRaw, caddyconfig.JSONModuleObject(v, "module", name, nil))
	return nil
}

// provisionKeySets provisions the named key sets of the configuration.
func (a *App) provisionKeySets(ctx caddy.Context) error {
	for _, k := range a.KeySets {
		if k.Name == "" {
			return errors.New("a key set needs a name")
		}
		if _, taken := a.keySets[k.Name]; taken {
			return fmt.Errorf("two key sets have the name %q", k.Name)
		}
		if err := a.addKeySet(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// addKeySet provisions a key set, which the app starts and gives up again. Two
// handlers may bring the same one.
func (a *App) addKeySet(ctx caddy.Context, k *KeySet) error {
	if err := k.provision(ctx); err != nil {
		return err
	}
	if old := a.keySets[k.Name]; old != nil {
		if old.pooled != k.pooled {
			return errors.Join(fmt.Errorf("two different key sets have the name %q", k.Name), k.pooled.release())
		}
		if err := old.pooled.release(); err != nil {
			return err
		}
		k.FailStartup = k.FailStartup || old.FailStartup
	}
	if a.keySets == nil {
		a.keySets = make(map[string]*KeySet)
	}
	a.keySets[k.Name] = k
	return nil
}

// keySet finds a key set by the name that a handler gives, or the only one
// when it gives none.
func (a *App) keySet(name string) (*KeySet, error) {
	names := make([]string, len(a.KeySets))
	for i, k := range a.KeySets {
		if names[i] = k.Name; k.Name == name || name == "" && len(a.KeySets) == 1 {
			return k, nil
		}
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("there are no key sets: write `key_set <name> { … }` in the global option signpost and name it here")
	case name == "":
		return nil, fmt.Errorf("the configuration has the key sets %q: say which of them is meant here", names)
	}
	return nil, fmt.Errorf("there is no key set %q; the configuration has: %q", name, names)
}
