package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks"
)

// ClientInfo describes a signing client. Nothing in it is secret.
type ClientInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Callback  string     `json:"callback"`
	KeyIDs    []string   `json:"key_ids"`
	Origin    string     `json:"origin"` // "configuration" or "storage"
	CreatedAt *time.Time `json:"created_at,omitempty"`
}

// clientID is the form of the ids that AddClient makes: as long as those of the
// NHS Signing Service, and with 160 random bits.
const (
	clientIDLength  = 32
	clientIDLetters = "abcdefghijklmnopqrstuvwxyz234567"
)

func newClientID() string {
	var b [clientIDLength]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = clientIDLetters[b[i]%byte(len(clientIDLetters))]
	}
	return string(b[:])
}

func canBeStoredClient(id string) bool {
	return len(id) == clientIDLength && strings.Trim(id, clientIDLetters) == ""
}

// AddClient creates a stored client. keys are its public keys: a JWK, a JWKS or
// PEM; each must be usable with RS512. The only key needs no id: it gets its
// thumbprint (RFC 7638) as one.
func (d *Clients) AddClient(ctx context.Context, name, callback string, keys []byte) (ClientInfo, error) {
	if d.store == nil {
		return ClientInfo{}, ErrNoStorage
	}
	if name != "" {
		if err := checkName("client", name, 200); err != nil {
			return ClientInfo{}, err
		}
	}
	if err := signing.CheckCallback(callback); err != nil {
		return ClientInfo{}, &InputError{err.Error()}
	}
	set, err := clientKeys(keys)
	if err != nil {
		return ClientInfo{}, err
	}
	if err := d.checkKeyIDs(set); err != nil {
		return ClientInfo{}, err
	}
	text, err := json.Marshal(jwks.JWKS{Keys: set})
	if err != nil {
		return ClientInfo{}, err
	}
	c := storage.SigningClient{ID: newClientID(), Name: name, Keys: text, Callback: callback, CreatedAt: storage.Micro(d.now())}
	if err := d.store.PutSigningClient(ctx, c); err != nil {
		return ClientInfo{}, err
	}
	d.forget()
	return storedClientInfo(c, set), nil
}

// checkKeyIDs refuses the key ids of other clients. The API itself finds keys
// by client and key id, but hubs by key id alone: one of the two clients could
// switch the other off there.
func (d *Clients) checkKeyIDs(keys jwks.Keys) error {
	for _, other := range d.Keys() {
		for _, k := range keys {
			if other.Kid == k.Kid && other.Thumbprint != k.Thumbprint {
				return inputErrorf("another client has another key with the id %q: give the key an id of its own", k.Kid)
			}
		}
	}
	return nil
}

// clientKeys reads the keys of a new client.
func clientKeys(text []byte) (jwks.Keys, error) {
	keys, skipped, err := jwks.Parse(text, jwks.Limits{})
	switch {
	case err != nil:
		return nil, inputErrorf("the keys: %v", err)
	case len(skipped) > 0:
		return nil, inputErrorf("the key %q can't be used: %s", skipped[0].Kid, skipped[0].Reason)
	case len(keys) == 0:
		return nil, inputErrorf("there is no key")
	}
	for i, k := range keys {
		if k.Kty != jwks.TypeRSA || k.Alg != "" && k.Alg != jwks.DefaultAlgorithm {
			return nil, inputErrorf("the key %q is not one for RS512, with which signature requests are signed: it must be RSA", cmp.Or(k.Kid, k.Thumbprint))
		}
		if k.Kid != "" {
			continue
		}
		if keys[i], err = jwks.NewKey(k.Thumbprint, k.Alg, k.Public); err != nil {
			return nil, inputErrorf("the keys: %v", err)
		}
	}
	return keys, nil
}

// RemoveClient ends a stored client: its next request is refused.
func (d *Clients) RemoveClient(ctx context.Context, id string) error {
	if _, ok := d.configured[id]; ok {
		return inputErrorf("client %s is one of the configuration: remove it there", id)
	}
	if d.store == nil {
		return ErrNoStorage
	}
	err := d.store.DeleteSigningClient(ctx, id)
	d.forget()
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("client %s: %w", id, err)
	}
	return err
}

// ListClients returns the configuration's clients, then the stored ones.
func (d *Clients) ListClients(ctx context.Context) ([]ClientInfo, error) {
	out := make([]ClientInfo, 0, len(d.configured))
	for _, id := range slices.Sorted(maps.Keys(d.configured)) {
		c := d.configured[id]
		info := ClientInfo{ID: id, Name: c.Name, Callback: c.Callback, KeyIDs: []string{}, Origin: originConfiguration}
		if c.Public != nil {
			info.KeyIDs = keyIDs(withIDs(c.Public.Keys()))
		}
		out = append(out, info)
	}
	if d.store == nil {
		return out, nil
	}
	stored, err := d.store.SigningClients(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range stored {
		keys, _, err := jwks.Parse(c.Keys, jwks.Limits{})
		if err != nil {
			return nil, fmt.Errorf("the keys of client %s: %w", c.ID, err)
		}
		out = append(out, storedClientInfo(c, keys))
	}
	return out, nil
}

func storedClientInfo(c storage.SigningClient, keys jwks.Keys) ClientInfo {
	return ClientInfo{ID: c.ID, Name: c.Name, Callback: c.Callback, KeyIDs: keyIDs(keys), Origin: originStorage, CreatedAt: &c.CreatedAt}
}

func keyIDs(keys jwks.Keys) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.Kid
	}
	return ids
}
