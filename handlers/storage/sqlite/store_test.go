//go:build unix

package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/storagetest"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s := New(Config{Path: path})
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		return openAt(t, filepath.Join(t.TempDir(), "signpost.db"))
	})
}

func TestUnopened(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	storagetest.Unopened(t, New(Config{Path: filepath.Join(folder, "x.db")}))
	assert.NoDirExists(t, folder, "nothing is touched before Open")
}

// TestLeasesOfTheDead: what a process held that is gone is due at once for the
// next, and its late word counts no more.
func TestLeasesOfTheDead(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "signpost.db")
	now := time.Unix(1_800_000_000, 0)
	s := New(Config{Path: path})
	require.NoError(t, s.Open(ctx))
	_, err := s.Create(ctx, storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: "a", Channel: storage.SMS, To: "+447700900111", Body: "x",
		Sender: "log", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}})
	require.NoError(t, err)
	request := storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: now, Lease: time.Hour}
	before, err := s.Claim(ctx, request)
	require.NoError(t, err)
	require.Len(t, before, 1)
	none, err := s.Claim(ctx, request)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, s.Close()) // the claim isn't given back, as by a kill

	s = openAt(t, path)
	due, err := s.NextDue(ctx, storage.SMS)
	require.NoError(t, err)
	assert.False(t, due.After(now))
	after, err := s.Claim(ctx, request)
	require.NoError(t, err)
	require.Len(t, after, 1)
	assert.Equal(t, 2, after[0].Notification.Attempts)
	late := storage.Outcome{Status: storage.StatusDelivered, At: now}
	require.ErrorIs(t, s.Complete(ctx, before[0], late), storage.ErrLeaseLost)
	require.NoError(t, s.Complete(ctx, after[0], late))
}

// TestCallbackLeasesOfTheDead is the same for callbacks.
func TestCallbackLeasesOfTheDead(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "signpost.db")
	now := time.Unix(1_800_000_000, 0)
	s := New(Config{Path: path})
	require.NoError(t, s.Open(ctx))
	id := uuid.Must(uuid.NewV7())
	_, err := s.Create(ctx, storage.Creation{Notification: storage.Notification{
		UUID: id, ServiceID: "a", Channel: storage.SMS, To: "+447700900111", Body: "x",
		Sender: "log", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}})
	require.NoError(t, err)
	_, _, err = s.Receipt(ctx, storage.Receipt{
		Sender: "log", Reference: id.String(), Status: storage.StatusDelivered, At: now, Callback: func(string) bool { return true },
	})
	require.NoError(t, err)
	request := storage.CallbackRequest{ServiceID: "a", Limit: 1, Now: now, Lease: time.Hour}
	before, err := s.ClaimCallbacks(ctx, request)
	require.NoError(t, err)
	require.Len(t, before, 1)
	require.NoError(t, s.Close())

	s = openAt(t, path)
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 1, st.Callbacks)
	after, err := s.ClaimCallbacks(ctx, request)
	require.NoError(t, err)
	require.Len(t, after, 1)
	assert.Equal(t, 2, after[0].Attempts)
	require.ErrorIs(t, s.CompleteCallback(ctx, before[0], time.Time{}), storage.ErrLeaseLost)
	require.NoError(t, s.CompleteCallback(ctx, after[0], time.Time{}))
}
