//go:build unix

package sqlite

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestRecentFollowsWrites reads the same notification again after each write.
func TestRecentFollowsWrites(t *testing.T) {
	ctx := t.Context()
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	now := time.Unix(1_800_000_000, 0)
	created, err := s.Create(ctx, benchCreation(now))
	require.NoError(t, err)
	n := created.Notification
	get := func() storage.Notification {
		t.Helper()
		var twice [2]storage.Notification
		for i := range twice {
			got, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
			require.NoError(t, err)
			twice[i] = got
		}
		assert.Contains(t, s.recent.rows, n.ID, "it was kept")
		assert.Equal(t, twice[0], twice[1])
		row, err := s.NotificationByUUID(ctx, n.ServiceID, n.UUID)
		require.NoError(t, err)
		assert.Equal(t, row, twice[1])
		return row
	}
	assert.Equal(t, n, get())
	_, err = s.NotificationByID(ctx, "another", n.ID)
	require.ErrorIs(t, err, storage.ErrNotFound)

	claims, err := s.Claim(ctx, storage.ClaimRequest{Channel: n.Channel, Limit: 1, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	assert.Equal(t, 1, get().Attempts)
	require.NoError(t, s.Complete(ctx, claims[0], storage.Outcome{Status: storage.StatusSending, ProviderReference: "r", At: now}))
	assert.Equal(t, storage.StatusSending, get().Status)
	_, _, err = s.Receipt(ctx, storage.Receipt{Sender: n.Sender, Reference: "r", Status: storage.StatusDelivered, At: now})
	require.NoError(t, err)
	assert.Equal(t, storage.StatusDelivered, get().Status)
	swept, err := s.Sweep(ctx, storage.SweepRequest{Now: n.ExpiresAt.Add(time.Hour)})
	require.NoError(t, err)
	require.EqualValues(t, 1, swept.Notifications)
	_, err = s.NotificationByID(ctx, n.ServiceID, n.ID)
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// TestRecentBesideWriter: what is read beside writes never goes back, and the
// last word stays.
func TestRecentBesideWriter(t *testing.T) {
	ctx := t.Context()
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	now := time.Now()
	created, err := s.Create(ctx, benchCreation(now))
	require.NoError(t, err)
	n := created.Notification
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			seen := 0
			for !done.Load() {
				got, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
				if !assert.NoError(t, err) || !assert.GreaterOrEqual(t, got.Attempts, seen) {
					return
				}
				seen = got.Attempts
			}
		})
	}
	const rounds = 50
	for i := range rounds {
		claims, err := s.Claim(ctx, storage.ClaimRequest{Channel: n.Channel, Limit: 1, Now: now, Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		got, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
		require.NoError(t, err)
		assert.Equal(t, i+1, got.Attempts, "a claim that was answered is seen")
		require.NoError(t, s.Complete(ctx, claims[0], storage.Outcome{Status: storage.StatusCreated, At: now, NextAttempt: now}))
	}
	done.Store(true)
	wg.Wait()
	got, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
	require.NoError(t, err)
	assert.Equal(t, rounds, got.Attempts)
}

func TestRecentKeepsNothingReadBesideACommit(t *testing.T) {
	var x recent
	n := storage.Notification{ID: 7, ServiceID: "a"}
	known := func() bool {
		_, _, ok := x.get("a", 7)
		return ok
	}
	_, before, _ := x.get("a", 7)
	failed := errors.New("failed")
	require.ErrorIs(t, x.commit(nil, func() error {
		_, during, _ := x.get("a", 7)
		x.put(&n, during)
		assert.False(t, known(), "read during the commit")
		x.put(&n, before)
		assert.False(t, known(), "read before the commit, kept during it")
		return failed
	}), failed)
	x.put(&n, before)
	assert.False(t, known(), "read before the commit, kept after it")
	_, after, _ := x.get("a", 7)
	x.put(&n, after)
	assert.True(t, known())
	require.NoError(t, x.commit([]int64{8}, func() error { return nil }))
	assert.True(t, known(), "it was another's commit")
	require.NoError(t, x.commit([]int64{7}, func() error {
		assert.False(t, known())
		return nil
	}))
	assert.False(t, known())
}

func TestRecentIsBounded(t *testing.T) {
	var x recent
	for id := range int64(2 * maxRecent) {
		x.put(&storage.Notification{ID: id}, 0)
	}
	assert.Len(t, x.rows, maxRecent)
	x.reset()
	x.put(&storage.Notification{ID: 1, Body: strings.Repeat("x", maxRecentBody), Subject: "y"}, 0)
	assert.Empty(t, x.rows)
}
