package directory

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	configuredID = "26785a09-ab16-4eb0-8407-a37497a57506"
	unknownID    = "00000000-0000-4000-8000-000000000000"
)

// node is a directory with a clock of its own on a shared storage.
type node struct {
	*Directory
	now time.Time
}

func newNode(t *testing.T, store Store) *node {
	t.Helper()
	n := &node{now: time.Unix(1_800_000_000, 0)}
	k, err := notifyauth.NewKey("live", "3d844edf-8d35-48ac-975b-e847b4f122b0")
	require.NoError(t, err)
	n.Directory, err = New(Config{
		Configured: []Configured{{
			Service:   &notifyauth.Service{ID: configuredID, Name: "Booking", Keys: []*notifyauth.Key{k}},
			Templates: []storage.Template{{ID: "1", Channel: storage.SMS, Body: "configured"}},
		}},
		Store: store,
		Now:   func() time.Time { return n.now },
	})
	require.NoError(t, err)
	return n
}

func openMemory(t *testing.T) storage.Backend {
	t.Helper()
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func activeKeys(s *notifyauth.Service) (names []string) {
	for _, k := range s.Keys {
		if !k.Revoked() {
			names = append(names, k.Name())
		}
	}
	return names
}

func TestServices(t *testing.T) {
	ctx := t.Context()
	store := openMemory(t)
	d, other := newNode(t, store), newNode(t, store)

	s, err := d.Service(ctx, configuredID)
	require.NoError(t, err)
	require.Equal(t, "Booking", s.Name)

	// Unknown on the other node before it exists: that answer ages too.
	added, err := d.AddService(ctx, "", "Stored")
	require.NoError(t, err)
	_, err = other.Service(ctx, unknownID)
	require.ErrorIs(t, err, notifyauth.ErrUnknownService)

	first, err := d.AddKey(ctx, added.ID, "first", "")
	require.NoError(t, err)
	second, err := d.AddKey(ctx, added.ID, "second", storage.KeyTest)
	require.NoError(t, err)
	require.NotEqual(t, first.Secret, second.Secret)
	require.Equal(t, "normal", first.Type)

	for _, n := range []*node{d, other} {
		s, err = n.Service(ctx, added.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"first", "second"}, activeKeys(s))
	}
	// The secret is the one that was shown.
	given, err := notifyauth.NewKey("x", first.Secret)
	require.NoError(t, err)
	require.True(t, given.SameSecret(s.Keys[0]))

	require.NoError(t, d.RevokeKey(ctx, added.ID, "first"))
	s, err = d.Service(ctx, added.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"second"}, activeKeys(s), "this node sees it at once")
	require.Len(t, s.Keys, 2, "revoked keys stay known, so that v2 can say revoked")
	other.now = other.now.Add(CacheFor)
	s, err = other.Service(ctx, added.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"second"}, activeKeys(s), "other nodes see it when their answer has aged")

	list, err := d.ListServices(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, originConfiguration, list[0].Origin)
	keys, err := d.ListKeys(ctx, added.ID)
	require.NoError(t, err)
	require.NotNil(t, keys[0].RevokedAt)
	require.Nil(t, keys[1].RevokedAt)
}

func TestTemplates(t *testing.T) {
	ctx := t.Context()
	d := newNode(t, openMemory(t))
	_, err := d.Template(ctx, configuredID, "2")
	require.ErrorIs(t, err, storage.ErrNotFound)
	put, err := d.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: "2", Channel: storage.SMS, Body: "stored"})
	require.NoError(t, err)
	require.Equal(t, 1, put.Version)
	got, err := d.Template(ctx, configuredID, "2")
	require.NoError(t, err, "the answer that it is unknown is forgotten")
	require.Equal(t, "stored", got.Body)
	put, err = d.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: "2", Channel: storage.SMS, Body: "newer"})
	require.NoError(t, err)
	require.Equal(t, 2, put.Version)
	got, err = d.Template(ctx, configuredID, "2")
	require.NoError(t, err)
	require.Equal(t, "newer", got.Body)
	got, err = d.Template(ctx, configuredID, "1")
	require.NoError(t, err)
	require.Equal(t, "configured", got.Body)
	require.Equal(t, 1, got.Version)
	list, err := d.ListTemplates(ctx, configuredID)
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = d.Template(ctx, unknownID, "2")
	require.ErrorIs(t, err, storage.ErrNotFound)
}

func TestRefusals(t *testing.T) {
	ctx := t.Context()
	d := newNode(t, openMemory(t))
	stored, err := d.AddService(ctx, "", "Stored")
	require.NoError(t, err)
	_, err = d.AddKey(ctx, stored.ID, "k", "")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"id twice":         {func() error { _, err := d.AddService(ctx, stored.ID, "x"); return err }, "exists already"},
		"configured id":    {func() error { _, err := d.AddService(ctx, configuredID, "x"); return err }, "in the configuration"},
		"upper-case id":    {func() error { _, err := d.AddService(ctx, strings.ToUpper(unknownID[:35])+"A", "x"); return err }, "not a UUID in lower case"},
		"no name":          {func() error { _, err := d.AddService(ctx, "", " "); return err }, "needs a name"},
		"control":          {func() error { _, err := d.AddService(ctx, "", "a\nb"); return err }, "control character"},
		"long name":        {func() error { _, err := d.AddService(ctx, "", strings.Repeat("x", 201)); return err }, "longer than 200"},
		"not UTF-8":        {func() error { _, err := d.AddService(ctx, "", "\xff"); return err }, "UTF-8"},
		"key twice":        {func() error { _, err := d.AddKey(ctx, stored.ID, "k", ""); return err }, "choose another name"},
		"key type":         {func() error { _, err := d.AddKey(ctx, stored.ID, "l", "root"); return err }, "normal, team or test"},
		"slash":            {func() error { _, err := d.AddKey(ctx, stored.ID, "a/b", ""); return err }, "slash"},
		"configured's key": {func() error { _, err := d.AddKey(ctx, configuredID, "l", ""); return err }, "in the configuration"},
		"configured's template": {func() error {
			_, err := d.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: "1", Channel: storage.SMS, Body: "x"})
			return err
		}, "change it there"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do()
			var input *InputError
			require.ErrorAs(t, err, &input)
			require.Contains(t, input.Text, c.want)
		})
	}
	for name, do := range map[string]func() error{
		"key":    func() error { _, err := d.AddKey(ctx, unknownID, "k", ""); return err },
		"keys":   func() error { _, err := d.ListKeys(ctx, unknownID); return err },
		"revoke": func() error { return d.RevokeKey(ctx, stored.ID, "none") },
		"template": func() error {
			_, err := d.PutTemplate(ctx, storage.Template{ServiceID: unknownID, ID: "1"})
			return err
		},
		"templates": func() error { _, err := d.ListTemplates(ctx, unknownID); return err },
	} {
		t.Run("unknown: "+name, func(t *testing.T) { require.ErrorIs(t, do(), storage.ErrNotFound) })
	}
}

func TestWithoutStorage(t *testing.T) {
	ctx := t.Context()
	d := newNode(t, nil)
	_, err := d.Service(ctx, unknownID)
	require.ErrorIs(t, err, notifyauth.ErrUnknownService)
	_, err = d.Template(ctx, configuredID, "2")
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = d.AddService(ctx, "", "x")
	require.ErrorIs(t, err, ErrNoStorage)
}

// otherKey is a store whose secrets key is another than that with which its
// secrets were sealed.
type otherKey struct{ Store }

func (otherKey) SecretsKey(context.Context) ([]byte, error) {
	return make([]byte, storage.SecretsKeySize), nil
}

// TestUnreadableKeys: a key that can't be read lets nobody in, and keeps
// nobody out who has another.
func TestUnreadableKeys(t *testing.T) {
	ctx := t.Context()
	store := openMemory(t)
	d, wrong := newNode(t, store), newNode(t, otherKey{store})
	s, err := d.AddService(ctx, "", "Stored")
	require.NoError(t, err)
	_, err = d.AddKey(ctx, s.ID, "first", "")
	require.NoError(t, err)
	_, err = wrong.Service(ctx, s.ID)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	_, err = wrong.AddKey(ctx, s.ID, "second", "")
	require.NoError(t, err)
	got, err := wrong.Service(ctx, s.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"second"}, activeKeys(got))
}

// faulty fails technically on demand.
type faulty struct {
	Store
	calls int
	err   error
}

func (f *faulty) Service(ctx context.Context, id string) (storage.Service, error) {
	f.calls++
	if f.err != nil {
		return storage.Service{}, f.err
	}
	return f.Store.Service(ctx, id)
}

// TestCache: answers are used again until they age, technical errors never.
func TestCache(t *testing.T) {
	ctx := t.Context()
	f := &faulty{Store: openMemory(t)}
	d := newNode(t, f)
	for range 3 {
		_, err := d.Service(ctx, unknownID)
		require.ErrorIs(t, err, notifyauth.ErrUnknownService)
	}
	require.Equal(t, 1, f.calls)
	d.now = d.now.Add(CacheFor)
	f.err = storage.Unavailable("testing", errors.New("away"))
	for range 2 {
		_, err := d.Service(ctx, unknownID)
		require.ErrorIs(t, err, storage.ErrUnavailable)
	}
	require.Equal(t, 3, f.calls)
	// What can't be the id of a stored service doesn't reach the storage.
	_, err := d.Service(ctx, "1 OR 1=1")
	require.ErrorIs(t, err, notifyauth.ErrUnknownService)
	require.Equal(t, 3, f.calls)
	// The cache is bounded.
	f.err = nil
	for i := range maxCached + 10 {
		d.storedServices.mu.Lock()
		d.storedServices.entries[strings.Repeat("x", i%7)+string(rune(i))] = entry[*notifyauth.Service]{}
		d.storedServices.mu.Unlock()
	}
	_, err = d.Service(ctx, unknownID)
	require.ErrorIs(t, err, notifyauth.ErrUnknownService)
	require.LessOrEqual(t, len(d.storedServices.entries), maxCached)
}
