//go:build unix

package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// awaitUse waits until writes work again.
func awaitUse(t *testing.T, s *Store) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, s.Ping(context.Background())) }, 10*time.Second, 10*time.Millisecond)
}

func TestFaultAtCommit(t *testing.T) {
	s := New(Config{Path: filepath.Join(t.TempDir(), "x.db")})
	var faulty atomic.Bool
	broken := errors.New("the disk is on fire")
	s.failpoint = func() error {
		if faulty.Load() {
			return broken
		}
		return nil
	}
	require.NoError(t, s.Open(t.Context()))
	defer func() { require.NoError(t, s.Close()) }()
	kept, err := s.Create(t.Context(), benchCreation(time.Now()))
	require.NoError(t, err)

	faulty.Store(true)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			_, err := s.Create(t.Context(), benchCreation(time.Now()))
			assert.ErrorIs(t, err, storage.ErrUnavailable, "nothing is acknowledged")
			assert.ErrorIs(t, err, broken)
		})
	}
	wg.Wait()
	faulty.Store(false)
	awaitUse(t, s)

	next, err := s.Create(t.Context(), benchCreation(time.Now()))
	require.NoError(t, err)
	assert.Equal(t, kept.Notification.ID+1, next.Notification.ID)
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService, Limit: 100})
	require.NoError(t, err)
	assert.EqualValues(t, 2, p.Total)
	assert.Len(t, p.Notifications, 2)
	count, err := s.Counter(t.Context(), benchCreation(time.Now()).Limits[0].Key)
	require.NoError(t, err)
	assert.EqualValues(t, 2, count)
	again := benchCreation(time.Now())
	again.Notification.UUID = kept.Notification.UUID
	_, err = s.Create(t.Context(), again)
	require.ErrorIs(t, err, storage.ErrExists)
}

func TestFaultStopsReads(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	s.faultMu.Lock()
	s.fault = errors.New("broken")
	s.faultMu.Unlock()
	_, err := s.Services(t.Context())
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorIs(t, s.Ping(t.Context()), storage.ErrUnavailable)
	_, err = s.Idempotent(t.Context(), benchService, []byte("k"))
	require.ErrorIs(t, err, storage.ErrUnavailable, "unknown is not new")
}

func TestCloseDuringFault(t *testing.T) {
	s := New(Config{Path: filepath.Join(t.TempDir(), "x.db")})
	s.failpoint = func() error { return errors.New("broken for good") }
	require.NoError(t, s.Open(t.Context()))
	_, err := s.Create(t.Context(), benchCreation(time.Now()))
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.NoError(t, s.Close())
}

func TestDiskFull(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	pages := func(most int64) {
		require.NoError(t, s.write(t.Context(), "limiting", func(w *writer) error {
			_, err := w.c.exec(w.ctx, map[bool]string{true: "PRAGMA max_page_count = 100", false: "PRAGMA max_page_count = 1000000"}[most == 100])
			return err
		}))
	}
	pages(100)
	stored := int64(0)
	var err error
	for range 10_000 {
		if _, err = s.Create(t.Context(), benchCreation(time.Now())); err != nil {
			break
		}
		stored++
	}
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorContains(t, err, "full")
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService})
	require.NoError(t, err, "reads go on")
	assert.Equal(t, stored, p.Total)
	for range 3 {
		require.ErrorIs(t, s.Ping(t.Context()), storage.ErrUnavailable, "health tells what callers meet, though a page would do for itself")
	}
	pages(1_000_000)
	require.NoError(t, s.Ping(t.Context()))
	_, err = s.Create(t.Context(), benchCreation(time.Now()))
	require.NoError(t, err, "recovers by itself")
	count, err := s.Counter(t.Context(), benchCreation(time.Now()).Limits[0].Key)
	require.NoError(t, err)
	assert.Equal(t, stored+1, count)
}

// TestBatchIsolation puts operations that fail each in their own way between
// ones that don't, in one batch.
func TestBatchIsolation(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.NoError(t, s.write(t.Context(), "holding the writer", func(*writer) error {
			close(held)
			<-hold
			return nil
		}))
	})
	<-held
	var good atomic.Int64
	for range 10 {
		wg.Go(func() {
			_, err := s.Create(t.Context(), benchCreation(time.Now()))
			assert.NoError(t, err)
			good.Add(1)
		})
		wg.Go(func() {
			c := benchCreation(time.Now())
			c.Limits = []storage.Limit{{Key: "one", Max: 1, ExpiresAt: time.Now().Add(time.Hour)}}
			_, err := s.Create(t.Context(), c)
			if err == nil {
				good.Add(1)
				return
			}
			var limit *storage.LimitError
			assert.ErrorAs(t, err, &limit)
		})
		wg.Go(func() {
			err := s.Complete(t.Context(), storage.Claim{Token: 1}, storage.Outcome{Status: storage.StatusSending, At: time.Now()})
			assert.ErrorIs(t, err, storage.ErrLeaseLost)
		})
		wg.Go(func() {
			err := s.write(t.Context(), "breaking a constraint", func(w *writer) error {
				_, err := w.c.exec(w.ctx, `INSERT INTO service (id, name, created_at) VALUES ('x', NULL, 0)`)
				return err
			})
			assert.ErrorIs(t, err, storage.ErrUnavailable)
		})
	}
	for len(s.ops) < 39 { // the writer holds one more
		time.Sleep(time.Millisecond) // until all wait; there is no event for it
	}
	close(hold)
	wg.Wait()
	assert.EqualValues(t, 11, good.Load())
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService, Limit: 100})
	require.NoError(t, err)
	assert.EqualValues(t, 11, p.Total)
	assert.Len(t, p.Notifications, 11)
	require.NoError(t, s.Ping(t.Context()))
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.NoError(t, s.write(t.Context(), "holding the writer", func(*writer) error {
			close(held)
			<-hold
			return nil
		}))
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		_, err := s.Create(ctx, benchCreation(time.Now()))
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, storage.ErrUnavailable)
		close(hold)
	})
	for s.writing.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	require.NoError(t, s.Ping(t.Context()))
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService})
	require.NoError(t, err)
	assert.Zero(t, p.Total, "a caller that has gone stores nothing")
}

// TestLogStaysSmall checks that the write-ahead log is emptied as it grows.
func TestLogStaysSmall(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 8 {
				c := benchCreation(time.Now())
				c.Notification.Body = string(make([]byte, 100_000))
				_, err := s.Create(t.Context(), c)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait() // some 51 MB
	info := size(t, s.cfg.Path+"-wal")
	assert.Less(t, info, int64(45<<20))
	assert.Greater(t, size(t, s.cfg.Path), int64(30<<20))
}

// TestRolledBackBatch lets a commit fail without a fault of the disk: what the
// writer keeps in memory must go back with the rows.
func TestRolledBackBatch(t *testing.T) {
	s := New(Config{Path: filepath.Join(t.TempDir(), "x.db")})
	fail := false
	s.failpoint = func() error {
		if !fail {
			return nil
		}
		_, err := s.w.c.exec(s.w.ctx, `INSERT INTO service (id, name, created_at) VALUES ('x', NULL, 0)`)
		return err
	}
	require.NoError(t, s.Open(t.Context()))
	defer func() { require.NoError(t, s.Close()) }()
	now := time.Now()
	kept, err := s.Create(t.Context(), benchCreation(now))
	require.NoError(t, err)
	fail = true
	lost := benchCreation(now)
	lost.Notification.ServiceID = "another"
	lost.Limits = append(lost.Limits, storage.Limit{Key: "new", Max: 1, ExpiresAt: now.Add(time.Hour)})
	_, err = s.Create(t.Context(), lost)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	replay := storage.ReplayKey{ServiceID: benchService, Key: []byte("k"), ExpiresAt: now.Add(time.Hour)}
	first, err := s.Remember(t.Context(), replay, now)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	assert.False(t, first)
	receipt := storage.Receipt{
		Sender: "log", Reference: kept.Notification.UUID.String(), Status: storage.StatusDelivered, At: now, Callback: func(string) bool { return true },
	}
	_, _, err = s.Receipt(t.Context(), receipt)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	fail = false
	assert.Zero(t, s.callbacks.Load())

	again, err := s.Create(t.Context(), lost)
	require.NoError(t, err)
	assert.False(t, again.Replayed, "the key was forgotten")
	assert.Equal(t, kept.Notification.ID+1, again.Notification.ID)
	got, err := s.NotificationByID(t.Context(), "another", again.Notification.ID)
	require.NoError(t, err, "the tenant was forgotten and stored again")
	assert.Equal(t, again.Notification, got)
	for key, want := range map[string]int64{"new": 1, lost.Limits[0].Key: 2} {
		n, err := s.Counter(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, want, n, key)
	}
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: "another"})
	require.NoError(t, err)
	assert.EqualValues(t, 1, p.Total)
	first, err = s.Remember(t.Context(), replay, now)
	require.NoError(t, err)
	assert.True(t, first)

	request := storage.ClaimRequest{Channel: storage.SMS, Limit: 9, Now: now, Lease: time.Minute}
	claims, err := s.Claim(t.Context(), request)
	require.NoError(t, err)
	assert.Len(t, claims, 2)
	for _, c := range claims {
		require.NoError(t, s.Complete(t.Context(), c, storage.Outcome{Status: storage.StatusDelivered, At: now}))
	}
	for phase := range s.queued {
		assert.Zero(t, s.queued[phase].Load(), "neither more nor less than was stored")
	}
}
