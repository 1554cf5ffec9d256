package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks"
)

const appCallback = "https://app.example/cb"

func newPublicKey(t *testing.T, kid, alg string) *jwks.Key {
	t.Helper()
	signer, err := jwks.GeneratePrivateKey(alg, map[string]int{"RS512": 2048}[alg])
	require.NoError(t, err)
	key, err := jwks.NewKey(kid, "", signer.Public())
	require.NoError(t, err)
	return key
}

// set writes keys as clients bring them.
func set(t *testing.T, keys ...*jwks.Key) []byte {
	t.Helper()
	text, err := json.Marshal(jwks.JWKS{Keys: keys})
	require.NoError(t, err)
	return text
}

// lister lists the keys of a client of the configuration.
type lister jwks.Keys

func (l lister) Keys() jwks.Keys { return jwks.Keys(l) }

// clientNode is a directory of clients with a clock of its own on a shared
// storage.
type clientNode struct {
	*Clients
	now time.Time
	log strings.Builder
}

func newClientNode(t *testing.T, store ClientStore) *clientNode {
	t.Helper()
	n := &clientNode{now: time.Unix(1_800_000_000, 123_456_789)}
	key := newPublicKey(t, "configured-1", "RS512")
	index, _ := jwks.NewIndex(jwks.Keys{key})
	var err error
	n.Clients, err = NewClients(ClientsConfig{
		Configured: []ConfiguredClient{{
			Client: signing.Client{ID: "configured", Name: "Pharmacy", Callback: appCallback, Keys: index},
			Public: lister{key},
		}},
		Store:  store,
		Logger: slog.New(slog.NewTextHandler(&n.log, nil)),
		Now:    func() time.Time { return n.now },
	})
	require.NoError(t, err)
	return n
}

func TestClients(t *testing.T) {
	ctx := t.Context()
	store := openMemory(t)
	d, other := newClientNode(t, store), newClientNode(t, store)

	c, err := d.Client(ctx, "configured")
	require.NoError(t, err)
	require.Equal(t, "Pharmacy", c.Name)
	require.Equal(t, []string{"configured-1"}, keyIDs(d.Keys()))

	named, second, unnamed := newPublicKey(t, "k-1", "RS512"), newPublicKey(t, "k-2", "RS512"), newPublicKey(t, "", "RS512")
	added, err := d.AddClient(ctx, "Stored", appCallback+"?x=1", set(t, named, second))
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^[a-z2-7]{32}$`), added.ID)
	require.Equal(t, []string{"k-1", "k-2"}, added.KeyIDs)
	require.Equal(t, originStorage, added.Origin)
	require.Equal(t, storage.Micro(d.now), *added.CreatedAt)
	require.Equal(t, "Stored", added.Name)

	for _, n := range []*clientNode{d, other} {
		c, err = n.Client(ctx, added.ID)
		require.NoError(t, err)
		require.Equal(t, added.ID, c.ID)
		require.Equal(t, appCallback+"?x=1", c.Callback)
		for _, kid := range added.KeyIDs {
			k, err := c.Keys.Key(ctx, kid)
			require.NoError(t, err)
			require.Equal(t, kid, k.Kid)
		}
		_, err = c.Keys.Key(ctx, "configured-1")
		require.ErrorIs(t, err, jwks.ErrUnknownKid, "keys are each client's own")
		require.Equal(t, []string{"configured-1", "k-1", "k-2"}, keyIDs(n.Keys()))
	}
	again, err := d.AddClient(ctx, "", appCallback, set(t, unnamed))
	require.NoError(t, err)
	require.Equal(t, []string{unnamed.Thumbprint}, again.KeyIDs)
	require.NotEqual(t, added.ID, again.ID)

	list, err := d.ListClients(ctx)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, ClientInfo{ID: "configured", Name: "Pharmacy", Callback: appCallback, KeyIDs: []string{"configured-1"}, Origin: originConfiguration}, list[0])
	require.ElementsMatch(t, []string{added.ID, again.ID}, []string{list[1].ID, list[2].ID})

	require.NoError(t, d.RemoveClient(ctx, added.ID))
	_, err = d.Client(ctx, added.ID)
	require.ErrorIs(t, err, signing.ErrUnknownClient, "this node sees it at once")
	require.Equal(t, []string{"configured-1", unnamed.Thumbprint}, keyIDs(d.Keys()))
	_, err = other.Client(ctx, added.ID)
	require.NoError(t, err, "the other has an answer that has not aged")
	other.now = other.now.Add(CacheFor)
	_, err = other.Client(ctx, added.ID)
	require.ErrorIs(t, err, signing.ErrUnknownClient)
	require.Equal(t, []string{"configured-1", unnamed.Thumbprint}, keyIDs(other.Keys()))
	require.ErrorIs(t, d.RemoveClient(ctx, added.ID), storage.ErrNotFound)
}

func TestAddClientRefusals(t *testing.T) {
	ctx := t.Context()
	store := openMemory(t)
	d := newClientNode(t, store)
	key := newPublicKey(t, "k", "RS512")
	good := set(t, key)
	text, err := json.Marshal(key)
	require.NoError(t, err)
	symmetric := []byte(`{"kty":"oct","k":"c2VjcmV0","kid":"s"}`)
	for want, c := range map[string]struct {
		name, callback string
		keys           []byte
	}{
		"name is longer than 200":            {strings.Repeat("a", 201), appCallback, good},
		"name holds a control character":     {"a\nb", appCallback, good},
		"must be an absolute URL":            {"", "/cb", good},
		"must begin with https://":           {"", "http://app.example/cb", good},
		"must not have a fragment":           {"", appCallback + "#x", good},
		"must not hold a user name":          {"", "https://u:p@app.example/", good},
		"holds a blank":                      {"", "https://app.example/\r\n", good},
		"the keys: ":                         {"", appCallback, []byte("hello")},
		"is not the only key":                {"", appCallback, set(t, key, newPublicKey(t, "", "RS512"))},
		"there is no key":                    {"", appCallback, []byte(`{"keys":[]}`)},
		`the key "s" can't be used: `:        {"", appCallback, fmt.Appendf(nil, `{"keys":[%s,%s]}`, text, symmetric)},
		`the key "e" is not one for RS512`:   {"", appCallback, set(t, newPublicKey(t, "e", "ES256"))},
		`the key "p" is not one for RS512, `: {"", appCallback, set(t, withAlg(t, "p", "PS512"))},
	} {
		_, err := d.AddClient(ctx, c.name, c.callback, c.keys)
		var input *InputError
		require.ErrorAs(t, err, &input, want)
		require.ErrorContains(t, err, want)
	}
	stored, err := store.SigningClients(ctx)
	require.NoError(t, err)
	require.Empty(t, stored)
	require.ErrorContains(t, d.RemoveClient(ctx, "configured"), "remove it there")
}

func withAlg(t *testing.T, kid, alg string) *jwks.Key {
	t.Helper()
	key, err := jwks.NewKey(kid, alg, newPublicKey(t, "", "RS512").Public)
	require.NoError(t, err)
	return key
}

func TestConfiguredClients(t *testing.T) {
	index, _ := jwks.NewIndex(nil)
	client := func(id, callback string, keys jwks.KeySource) ConfiguredClient {
		return ConfiguredClient{Client: signing.Client{ID: id, Callback: callback, Keys: keys}}
	}
	for want, configured := range map[string][]ConfiguredClient{
		"a client needs an id":       {client("", appCallback, index)},
		"client a is configured twi": {client("a", appCallback, index), client("a", appCallback, index)},
		"client a has no keys":       {client("a", appCallback, nil)},
		"client a: the callback":     {client("a", "http://app.example/", index)},
	} {
		_, err := NewClients(ClientsConfig{Configured: configured})
		require.ErrorContains(t, err, want)
	}
	d, err := NewClients(ClientsConfig{Configured: []ConfiguredClient{client("a", appCallback, index)}})
	require.NoError(t, err)
	require.Empty(t, d.Keys())
	ctx := t.Context()
	_, err = d.AddClient(ctx, "", appCallback, nil)
	require.ErrorIs(t, err, ErrNoStorage)
	require.ErrorIs(t, d.RemoveClient(ctx, "b"), ErrNoStorage)
	_, err = d.Client(ctx, strings.Repeat("a", clientIDLength))
	require.ErrorIs(t, err, signing.ErrUnknownClient)
	list, err := d.ListClients(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{}, list[0].KeyIDs)
}

// awayStore counts questions and fails.
type awayStore struct {
	ClientStore

	asked int
	err   error
	found []storage.SigningClient
}

func (s *awayStore) SigningClient(context.Context, string) (storage.SigningClient, error) {
	s.asked++
	return storage.SigningClient{Keys: []byte("no keys")}, s.err
}

func (s *awayStore) SigningClients(context.Context) ([]storage.SigningClient, error) {
	s.asked++
	return s.found, s.err
}

// A storage that is away is neither an unknown client nor remembered. No keys
// are published while some of them aren't known, and later those from before.
func TestClientStorageAway(t *testing.T) {
	ctx := t.Context()
	away := &awayStore{err: storage.Unavailable("reading", errors.New("gone"))}
	d := newClientNode(t, away)
	id := strings.Repeat("a", clientIDLength)
	for range 2 {
		_, err := d.Client(ctx, id)
		require.ErrorIs(t, err, storage.ErrUnavailable)
		require.NotErrorIs(t, err, signing.ErrUnknownClient)
	}
	require.Equal(t, 2, away.asked)
	for _, never := range []string{"", "x", id + "a", strings.Repeat("A", clientIDLength), strings.Repeat("1", clientIDLength), "' OR 1=1; --aaaaaaaaaaaaaaaaaaaa"} {
		_, err := d.Client(ctx, never)
		require.ErrorIs(t, err, signing.ErrUnknownClient)
	}
	require.Equal(t, 2, away.asked, "what can't be stored is not looked for")
	require.Empty(t, d.Keys())
	require.Contains(t, d.log.String(), "can't be read")
	_, err := d.ListClients(ctx)
	require.ErrorIs(t, err, storage.ErrUnavailable)

	// Broken keys of one client harm no other, and are no refusal.
	away.err = nil
	_, err = d.Client(ctx, id)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	good := newPublicKey(t, "good", "RS512")
	away.found = []storage.SigningClient{{ID: "broken", Keys: []byte("no keys")}, {ID: "fine", Keys: set(t, good)}}
	d.now = d.now.Add(CacheFor)
	require.Equal(t, []string{"configured-1", "good"}, keyIDs(d.Keys()))
	require.Contains(t, d.log.String(), "client=broken")
	_, err = d.ListClients(ctx)
	require.ErrorContains(t, err, "the keys of client broken")
	away.err = storage.Unavailable("reading", errors.New("gone again"))
	d.now = d.now.Add(CacheFor)
	require.Equal(t, []string{"configured-1", "good"}, keyIDs(d.Keys()))
}

func TestClientIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		id := newClientID()
		require.True(t, canBeStoredClient(id), id)
		require.False(t, seen[id])
		seen[id] = true
	}
}
