package jwks

import "context"

// Index finds keys by kid, and by issuer where they say one. It never changes,
// and is a [KeySource] by itself.
type Index struct {
	keys  Keys
	byID  map[keyID]*Key
	bound bool // one of the keys at least says whose it is
}

// keyID is what tells a key from others.
type keyID struct{ issuer, kid string }

func (k *Key) id() keyID { return keyID{k.Issuer, k.Kid} }

// NewIndex makes an Index of the keys that [Keys.Unique] keeps.
func NewIndex(keys Keys) (*Index, []Skipped) {
	keys, skipped := keys.Unique()
	x := &Index{keys: keys, byID: make(map[keyID]*Key, len(keys))}
	for _, k := range keys {
		x.byID[k.id()] = k
		x.bound = x.bound || k.Issuer != ""
	}
	return x, skipped
}

// Keys returns the keys, in their order. Don't change the list.
func (x *Index) Keys() Keys { return x.keys }

// Key finds a key as [KeySource] says. An index without keys is unavailable.
func (x *Index) Key(_ context.Context, kid string) (*Key, error) { return x.find(keyID{kid: kid}) }

// KeyOf finds a key of an issuer. Where no key says whose it is, that is any, as
// Key finds it; where one does, it is a key that names this issuer.
func (x *Index) KeyOf(_ context.Context, issuer, kid string) (*Key, error) {
	return x.find(keyID{issuer, kid})
}

func (x *Index) find(id keyID) (*Key, error) {
	if len(x.keys) == 0 {
		return nil, ErrUnavailable
	}
	if !x.bound {
		id.issuer = ""
	}
	if only := x.keys[0]; len(x.keys) == 1 && only.Issuer == id.issuer && (id.kid == "" || only.Kid == "") {
		return only, nil
	}
	if k := x.byID[id]; k != nil {
		return k, nil
	}
	return nil, ErrUnknownKid
}

// Unique returns the keys that a kid tells apart, among those of one issuer
// where they say one: of a key that is there twice the first; of different keys
// with one kid none; keys without kid only when there is no other. The rest is
// reported.
func (keys Keys) Unique() (Keys, []Skipped) {
	type seen struct {
		key     *Key
		clashes bool
	}
	byID := make(map[keyID]*seen, len(keys))
	for _, k := range keys {
		if first := byID[k.id()]; first == nil {
			byID[k.id()] = &seen{key: k}
		} else if !k.same(first.key) {
			first.clashes = true
		}
	}
	kept := make(Keys, 0, len(byID))
	var skipped []Skipped
	for _, k := range keys {
		switch s := byID[k.id()]; {
		case k.Kid == "" && len(byID) > 1, k.Kid == "" && s.clashes:
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
