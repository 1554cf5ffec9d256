package storagetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testSigningClients(t *testing.T, s *suite) {
	ctx := t.Context()
	// The second comes first in the alphabet, and was made by an earlier clock.
	first := storage.SigningClient{
		ID: "client-2", Name: "Zweite «Praxis»", Keys: []byte("{\"keys\":[]}\x00\xff"), Callback: "https://app.example/cb?x=1", CreatedAt: at(0),
	}
	second := storage.SigningClient{ID: "client-1", Keys: []byte(`{}`), Callback: "https://other.example/", CreatedAt: at(-time.Hour)}
	none, err := s.SigningClients(ctx)
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = s.SigningClient(ctx, first.ID)
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.ErrorIs(t, s.DeleteSigningClient(ctx, first.ID), storage.ErrNotFound)

	require.NoError(t, s.PutSigningClient(ctx, first))
	require.NoError(t, s.PutSigningClient(ctx, second))
	taken := second
	taken.ID = first.ID
	require.ErrorIs(t, s.PutSigningClient(ctx, taken), storage.ErrExists)
	got, err := s.SigningClient(ctx, first.ID)
	require.NoError(t, err)
	assert.Equal(t, first, got)
	for _, other := range []string{"", "CLIENT-2", "client-2\x00", "client-"} {
		_, err = s.SigningClient(ctx, other)
		require.ErrorIs(t, err, storage.ErrNotFound, "%q", other)
	}
	all, err := s.SigningClients(ctx)
	require.NoError(t, err)
	assert.Equal(t, []storage.SigningClient{first, second}, all)

	got.Keys[0] ^= 0xff // the caller's own copies
	all[0].Keys[0] ^= 0xff
	got, err = s.SigningClient(ctx, first.ID)
	require.NoError(t, err)
	assert.Equal(t, first, got)

	pending := s.requestSignature(t, signing(at(0)))
	require.NoError(t, s.DeleteSigningClient(ctx, second.ID))
	assert.Equal(t, pending, s.signature(t, pending.Token), "its requests stay")
	require.ErrorIs(t, s.DeleteSigningClient(ctx, second.ID), storage.ErrNotFound)
	all, err = s.SigningClients(ctx)
	require.NoError(t, err)
	assert.Equal(t, []storage.SigningClient{first}, all)
	second.CreatedAt = time.Date(2026, 1, 1, 1, 0, 0, 1234567, time.FixedZone("", 3600))
	require.NoError(t, s.PutSigningClient(ctx, second), "its id is free again")
	got, err = s.SigningClient(ctx, second.ID)
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 1, 1, 0, 0, 0, 1234000, time.UTC), got.CreatedAt)

	for name, spoil := range map[string]func(c *storage.SigningClient){
		"id":       func(c *storage.SigningClient) { c.ID = "" },
		"keys":     func(c *storage.SigningClient) { c.Keys = nil },
		"callback": func(c *storage.SigningClient) { c.Callback = "" },
		"created":  func(c *storage.SigningClient) { c.CreatedAt = time.Time{} },
	} {
		bad := storage.SigningClient{ID: "bad", Keys: []byte(`{}`), Callback: "https://app.example/", CreatedAt: at(0)}
		spoil(&bad)
		require.ErrorIs(t, s.PutSigningClient(ctx, bad), storage.ErrInvalid, name)
	}
	all, err = s.SigningClients(ctx)
	require.NoError(t, err)
	assert.Len(t, all, 2)
}
