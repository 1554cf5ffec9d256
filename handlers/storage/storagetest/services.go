package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testServices(t *testing.T, s *suite) {
	ctx := t.Context()
	// The second comes first in the alphabet, and was made by an earlier clock.
	first := storage.Service{ID: serviceB, Name: "Second «name»", CreatedAt: at(0)}
	second := storage.Service{ID: serviceA, Name: "", CreatedAt: at(-time.Hour)}
	none, err := s.Services(ctx)
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = s.Service(ctx, serviceA)
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.NoError(t, s.PutService(ctx, first))
	require.NoError(t, s.PutService(ctx, second))
	require.ErrorIs(t, s.PutService(ctx, storage.Service{ID: serviceA, Name: "other", CreatedAt: at(0)}), storage.ErrExists)
	got, err := s.Service(ctx, serviceA)
	require.NoError(t, err)
	assert.Equal(t, second, got)
	all, err := s.Services(ctx)
	require.NoError(t, err)
	assert.Equal(t, []storage.Service{first, second}, all)

	settings := []byte("{\"a\":\x00\xff}")
	third := storage.Service{ID: "third", Settings: settings, CreatedAt: at(0)}
	require.NoError(t, s.PutService(ctx, third))
	got, err = s.Service(ctx, "third")
	require.NoError(t, err)
	assert.Equal(t, third, got)
	require.ErrorIs(t, s.PutServiceSettings(ctx, "fourth", settings), storage.ErrNotFound)
	require.NoError(t, s.PutServiceSettings(ctx, serviceA, settings))
	require.NoError(t, s.PutServiceSettings(ctx, "third", nil))
	settings[0] = '!' // the caller's own copy
	all, err = s.Services(ctx)
	require.NoError(t, err)
	second.Settings, third.Settings = []byte("{\"a\":\x00\xff}"), nil
	assert.Equal(t, []storage.Service{first, second, third}, all)
	all[1].Settings[0] = '!'
	got, err = s.Service(ctx, serviceA)
	require.NoError(t, err)
	assert.Equal(t, second, got)

	rough := storage.Service{ID: "rough", CreatedAt: time.Date(2026, 1, 1, 1, 0, 0, 1234567, time.FixedZone("", 3600))}
	require.NoError(t, s.PutService(ctx, rough))
	got, err = s.Service(ctx, "rough")
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 1, 1, 0, 0, 0, 1234000, time.UTC), got.CreatedAt)
}

func testKeys(t *testing.T, s *suite) {
	ctx := t.Context()
	key := func(service, name string) storage.APIKey {
		return storage.APIKey{ServiceID: service, Name: name, Type: storage.KeyTest, Secret: []byte("sealed\x00" + name), CreatedAt: at(0)}
	}
	require.ErrorIs(t, s.AddKey(ctx, key(serviceA, "live")), storage.ErrNotFound)
	require.NoError(t, s.PutService(ctx, storage.Service{ID: serviceA, CreatedAt: at(0)}))
	require.NoError(t, s.PutService(ctx, storage.Service{ID: serviceB, CreatedAt: at(0)}))
	require.NoError(t, s.AddKey(ctx, key(serviceA, "z")))
	require.NoError(t, s.AddKey(ctx, key(serviceA, "a")))
	require.NoError(t, s.AddKey(ctx, key(serviceB, "a")))
	require.ErrorIs(t, s.AddKey(ctx, key(serviceA, "a")), storage.ErrExists)

	require.NoError(t, s.RevokeKey(ctx, serviceA, "z", at(time.Hour)))
	require.NoError(t, s.RevokeKey(ctx, serviceA, "z", at(2*time.Hour)))
	require.ErrorIs(t, s.RevokeKey(ctx, serviceA, "none", at(0)), storage.ErrNotFound)
	require.ErrorIs(t, s.RevokeKey(ctx, serviceB, "z", at(0)), storage.ErrNotFound)
	require.ErrorIs(t, s.AddKey(ctx, key(serviceA, "z")), storage.ErrExists, "a revoked name stays taken")

	keys, err := s.Keys(ctx, serviceA)
	require.NoError(t, err)
	revoked := key(serviceA, "z")
	revoked.RevokedAt = at(time.Hour)
	assert.Equal(t, []storage.APIKey{revoked, key(serviceA, "a")}, keys)

	keys[0].Secret[0] ^= 0xff // the caller's own copy
	again, err := s.Keys(ctx, serviceA)
	require.NoError(t, err)
	assert.Equal(t, revoked.Secret, again[0].Secret)

	other, err := s.Keys(ctx, serviceB)
	require.NoError(t, err)
	assert.Equal(t, []storage.APIKey{key(serviceB, "a")}, other)
	none, err := s.Keys(ctx, "unknown")
	require.NoError(t, err)
	assert.Empty(t, none)
}

func testSecretsKey(t *testing.T, s *suite) {
	key, err := s.SecretsKey(t.Context())
	require.NoError(t, err)
	require.Len(t, key, storage.SecretsKeySize)
	assert.NotEqual(t, make([]byte, storage.SecretsKeySize), key)
	key[0] ^= 0xff
	again, err := s.SecretsKey(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, key, again, "the caller's own copy")
	require.NoError(t, s.Ping(t.Context()))
}

// calls is every method that needs an open back end.
func calls(b storage.Backend) map[string]func(ctx context.Context) error {
	key := []byte("key")
	token := digest("token")
	claim := storage.Claim{Notification: storage.Notification{ID: 1}, Token: 1}
	return map[string]func(ctx context.Context) error{
		"Ping":       b.Ping,
		"SecretsKey": func(ctx context.Context) error { _, err := b.SecretsKey(ctx); return err },
		"PutService": func(ctx context.Context) error {
			return b.PutService(ctx, storage.Service{ID: "gone", CreatedAt: at(0)})
		},
		"Service":  func(ctx context.Context) error { _, err := b.Service(ctx, serviceA); return err },
		"Services": func(ctx context.Context) error { _, err := b.Services(ctx); return err },
		"AddKey": func(ctx context.Context) error {
			return b.AddKey(ctx, storage.APIKey{ServiceID: serviceA, Name: "gone", Secret: key, CreatedAt: at(0)})
		},
		"Keys":      func(ctx context.Context) error { _, err := b.Keys(ctx, serviceA); return err },
		"RevokeKey": func(ctx context.Context) error { return b.RevokeKey(ctx, serviceA, "live", at(0)) },
		"PutTemplate": func(ctx context.Context) error {
			_, err := b.PutTemplate(ctx, storage.Template{ServiceID: serviceA, ID: "gone", CreatedAt: at(0)})
			return err
		},
		"PutServiceSettings": func(ctx context.Context) error { return b.PutServiceSettings(ctx, serviceA, key) },
		"ArchiveTemplate":    func(ctx context.Context) error { return b.ArchiveTemplate(ctx, serviceA, "1", at(0)) },
		"PutInbound":         func(ctx context.Context) error { return b.PutInbound(ctx, inbound(serviceA, "gone", at(0))) },
		"Inbound": func(ctx context.Context) error {
			_, err := b.Inbound(ctx, storage.InboundQuery{ServiceID: serviceA})
			return err
		},
		"Template":   func(ctx context.Context) error { _, err := b.Template(ctx, serviceA, "1", 0); return err },
		"Templates":  func(ctx context.Context) error { _, err := b.Templates(ctx, serviceA); return err },
		"Create":     func(ctx context.Context) error { _, err := b.Create(ctx, sample(serviceA, at(0))); return err },
		"Idempotent": func(ctx context.Context) error { _, err := b.Idempotent(ctx, serviceA, key); return err },
		"NotificationByID": func(ctx context.Context) error {
			_, err := b.NotificationByID(ctx, serviceA, 1)
			return err
		},
		"NotificationByUUID": func(ctx context.Context) error {
			_, err := b.NotificationByUUID(ctx, serviceA, uuid.Max)
			return err
		},
		"Notifications": func(ctx context.Context) error {
			_, err := b.Notifications(ctx, storage.Query{ServiceID: serviceA, Limit: 1})
			return err
		},
		"Take": func(ctx context.Context) error {
			_, err := b.Take(ctx, storage.Bucket{Key: "k", Capacity: 1}, at(0))
			return err
		},
		"GiveBack": func(ctx context.Context) error { return b.GiveBack(ctx, storage.Bucket{Key: "k", Capacity: 1}, at(0)) },
		"Counter":  func(ctx context.Context) error { _, err := b.Counter(ctx, "k"); return err },
		"Remember": func(ctx context.Context) error {
			_, err := b.Remember(ctx, storage.ReplayKey{ServiceID: serviceA, Key: key, ExpiresAt: at(0)}, at(0))
			return err
		},
		"Claim": func(ctx context.Context) error {
			_, err := b.Claim(ctx, storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: at(0), Lease: time.Minute})
			return err
		},
		"Renew":    func(ctx context.Context) error { return b.Renew(ctx, claim, at(0)) },
		"Reassign": func(ctx context.Context) error { _, err := b.Reassign(ctx, claim, sender); return err },
		"Complete": func(ctx context.Context) error {
			return b.Complete(ctx, claim, storage.Outcome{Status: storage.StatusSending, At: at(0)})
		},
		"Receipt": func(ctx context.Context) error {
			_, _, err := b.Receipt(ctx, storage.Receipt{Sender: sender, Reference: "x", Status: storage.StatusDelivered, At: at(0)})
			return err
		},
		"NextDue": func(ctx context.Context) error { _, err := b.NextDue(ctx, storage.SMS); return err },
		"Stats":   func(ctx context.Context) error { _, err := b.Stats(ctx); return err },
		"DeadLetters": func(ctx context.Context) error {
			_, err := b.DeadLetters(ctx, storage.DeadLetterQuery{})
			return err
		},
		"Requeue": func(ctx context.Context) error {
			_, err := b.Requeue(ctx, storage.DeadLetterQuery{}, at(0))
			return err
		},
		"ClaimCallbacks": func(ctx context.Context) error {
			_, err := b.ClaimCallbacks(ctx, storage.CallbackRequest{ServiceID: serviceA, Limit: 1, Now: at(0), Lease: time.Minute})
			return err
		},
		"CompleteCallback": func(ctx context.Context) error {
			return b.CompleteCallback(ctx, storage.CallbackClaim{ID: 1, Token: 1}, time.Time{})
		},
		"NextCallbacks": func(ctx context.Context) error {
			_, err := b.NextCallbacks(ctx, []string{serviceA})
			return err
		},
		"PutSigningClient": func(ctx context.Context) error {
			return b.PutSigningClient(ctx, storage.SigningClient{ID: "gone", Keys: key, Callback: "https://app.example/", CreatedAt: at(0)})
		},
		"SigningClient":        func(ctx context.Context) error { _, err := b.SigningClient(ctx, "gone"); return err },
		"SigningClients":       func(ctx context.Context) error { _, err := b.SigningClients(ctx); return err },
		"DeleteSigningClient":  func(ctx context.Context) error { return b.DeleteSigningClient(ctx, "gone") },
		"CreateSigningRequest": func(ctx context.Context) error { return b.CreateSigningRequest(ctx, signing(at(0))) },
		"SigningRequest":       func(ctx context.Context) error { _, err := b.SigningRequest(ctx, token); return err },
		"DownloadSigningRequest": func(ctx context.Context) error {
			_, _, err := b.DownloadSigningRequest(ctx, token, nil)
			return err
		},
		"SignSigningRequest": func(ctx context.Context) error {
			_, _, err := b.SignSigningRequest(ctx, token, key, at(0))
			return err
		},
		"RetrieveSigningRequest": func(ctx context.Context) error {
			_, _, err := b.RetrieveSigningRequest(ctx, token)
			return err
		},
		"Sweep": func(ctx context.Context) error { _, err := b.Sweep(ctx, storage.SweepRequest{Now: at(0)}); return err },
	}
}

func unavailable(t *testing.T, b storage.Backend) {
	t.Helper()
	for name, call := range calls(b) {
		require.ErrorIs(t, call(t.Context()), storage.ErrUnavailable, name)
	}
	assert.NotNil(t, b.Wake())
}

func testClosed(t *testing.T, s *suite) {
	require.NoError(t, s.Close())
	unavailable(t, s.Backend)
	require.NoError(t, s.Close())
}

func testCancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller has gone"))
	for name, call := range calls(s.Backend) {
		err := call(ctx)
		require.ErrorIs(t, err, storage.ErrUnavailable, name)
		require.ErrorIs(t, err, context.Canceled, name)
	}
	assert.Zero(t, s.total(t, serviceA))
	all, err := s.Services(t.Context())
	require.NoError(t, err)
	assert.Empty(t, all)
	clients, err := s.SigningClients(t.Context())
	require.NoError(t, err)
	assert.Empty(t, clients)
	require.NoError(t, s.Ping(t.Context()))
}
