package jwks

import "context"

// Index finds keys by kid. It never changes, and is a [KeySource] by itself.
type Index struct {
	keys  Keys
	byKid map[string]*Key
}

// NewIndex makes an Index of the keys that [Keys.Unique] keeps.
func NewIndex(keys Keys) (*Index, []Skipped) {
	keys, skipped := keys.Unique()
	x := &Index{keys: keys, byKid: make(map[string]*Key, len(keys))}
	for _, k := range keys {
		x.byKid[k.Kid] = k
	}
	return x, skipped
}

// Keys returns the keys, in their order. Don't change the list.
func (x *Index) Keys() Keys { return x.keys }

// Key finds a key as [KeySource] says. An index without keys is unavailable.
func (x *Index) Key(_ context.Context, kid string) (*Key, error) {
	if len(x.keys) == 0 {
		return nil, ErrUnavailable
	}
	if len(x.keys) == 1 && (kid == "" || x.keys[0].Kid == "") {
		return x.keys[0], nil
	}
	if k := x.byKid[kid]; k != nil {
		return k, nil
	}
	return nil, ErrUnknownKid
}

// Unique returns the keys that a kid tells apart: of a key that is there twice
// the first; of different keys with one kid none; keys without kid only when
// there is no other. The rest is reported.
func (keys Keys) Unique() (Keys, []Skipped) {
	type seen struct {
		key     *Key
		clashes bool
	}
	byKid := make(map[string]*seen, len(keys))
	for _, k := range keys {
		if first := byKid[k.Kid]; first == nil {
			byKid[k.Kid] = &seen{key: k}
		} else if !k.same(first.key) {
			first.clashes = true
		}
	}
	kept := make(Keys, 0, len(byKid))
	var skipped []Skipped
	for _, k := range keys {
		switch s := byKid[k.Kid]; {
		case k.Kid == "" && len(byKid) > 1, k.Kid == "" && s.clashes:
			skipped = append(skipped, Skipped{Kty: k.Kty, Reason: "the key has no kid, but is not the only key of the set"})
		case s.clashes:
			skipped = append(skipped, Skipped{Kid: k.Kid, Kty: k.Kty, Reason: "another key of the set has the same kid: neither is used"})
		case s.key == k:
			kept = append(kept, k)
		}
	}
	return kept, skipped
}

// same reports whether tokens verify with both keys alike.
func (k *Key) same(other *Key) bool {
	return k.Thumbprint == other.Thumbprint && k.Alg == other.Alg
}
