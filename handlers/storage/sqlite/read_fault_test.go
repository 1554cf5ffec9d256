//go:build linux

package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// large makes a database whose bodies no connection has read yet, and returns
// their notifications' ids.
func large(t *testing.T) (path string, ids []int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.db")
	s := New(Config{Path: path})
	require.NoError(t, s.Open(t.Context()))
	for i := range 40 {
		c := benchCreation(time.Now())
		c.Notification.Body = string(bytes.Repeat([]byte{'a' + byte(i%26)}, 60_000))
		made, err := s.Create(t.Context(), c)
		require.NoError(t, err)
		ids = append(ids, made.Notification.ID)
	}
	require.NoError(t, s.Close())
	return path, ids
}

// damage overwrites everything behind the first pages, which the writer has in
// its memory, and returns what repairs it: pages that were written again
// meanwhile stay.
func damage(t *testing.T, path string) (repair func()) {
	t.Helper()
	const page, intact = 4096, 40
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	bad := bytes.Repeat([]byte{0xff}, page)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	for at := intact * page; at < len(whole); at += page {
		_, err := f.WriteAt(bad, int64(at))
		require.NoError(t, err)
	}
	return func() {
		now := make([]byte, page)
		for at := intact * page; at < len(whole); at += page {
			_, err := f.ReadAt(now, int64(at))
			require.NoError(t, err)
			if bytes.Equal(now, bad) {
				_, err = f.WriteAt(whole[at:at+page], int64(at))
				require.NoError(t, err)
			}
		}
	}
}

// fail lets every descriptor by which this process has a file open refuse to
// read: the descriptors stay, and are then ones that can only be written.
func fail(t *testing.T, path string) {
	t.Helper()
	other, err := os.OpenFile(filepath.Join(t.TempDir(), "other"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	replaced := 0
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(folder, e.Name())); err != nil || name != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		require.NoError(t, syscall.Dup3(int(other.Fd()), fd, syscall.O_CLOEXEC))
		replaced++
	}
	require.Positive(t, replaced)
}

type reader struct {
	name string
	read func(ctx context.Context, s *Store, id int64) error
}

// readers are calls that read bodies which aren't in memory.
var readers = []reader{
	{"by id", func(ctx context.Context, s *Store, id int64) error {
		_, err := s.NotificationByID(ctx, benchService, id)
		return err
	}},
	{"list", func(ctx context.Context, s *Store, _ int64) error {
		_, err := s.Notifications(ctx, storage.Query{ServiceID: benchService, Limit: 40})
		return err
	}},
}

// TestDamagedPageFoundByRead: what a read finds stops writes, though the pages
// that they need are in memory, until the file is as it was.
func TestDamagedPageFoundByRead(t *testing.T) {
	backup := reader{"backup", func(ctx context.Context, s *Store, _ int64) error {
		return s.Backup(ctx, s.cfg.Path+".copy")
	}}
	for _, r := range append(slices.Clone(readers), backup) {
		t.Run(r.name, func(t *testing.T) {
			path, ids := large(t)
			s := openAt(t, path)
			kept, err := s.Create(t.Context(), benchCreation(time.Now()))
			require.NoError(t, err)
			ids = append(ids, kept.Notification.ID)
			repair := damage(t, path)
			_, err = s.Create(t.Context(), benchCreation(time.Now()))
			require.NoError(t, err, "nobody can know yet")

			err = r.read(t.Context(), s, ids[len(ids)/2])
			require.ErrorIs(t, err, storage.ErrUnavailable)
			require.True(t, malformed(err), "%v", err)
			// Longer than the first attempts to open it again.
			for began := time.Now(); time.Since(began) < 4*recoverFirst; {
				_, err = s.Create(t.Context(), benchCreation(time.Now()))
				require.ErrorIs(t, err, storage.ErrUnavailable, "no success after a fault")
				require.True(t, malformed(err), "%v", err)
				require.ErrorIs(t, s.Ping(t.Context()), storage.ErrUnavailable)
				_, err = s.NotificationByID(t.Context(), benchService, kept.Notification.ID)
				require.ErrorIs(t, err, storage.ErrUnavailable)
			}
			repair()
			awaitUse(t, s)
			next, err := s.Create(t.Context(), benchCreation(time.Now()))
			require.NoError(t, err)
			assert.Equal(t, kept.Notification.ID+2, next.Notification.ID)
			for _, id := range append(ids, next.Notification.ID) {
				_, err := s.NotificationByID(t.Context(), benchService, id)
				require.NoError(t, err, "notification %d", id)
			}
			p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService})
			require.NoError(t, err)
			assert.EqualValues(t, len(ids)+2, p.Total)
		})
	}
}

// TestReadErrorOfTheDisk: the same for a disk that doesn't answer, which is
// tried again at once.
func TestReadErrorOfTheDisk(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			path, ids := large(t)
			s := openAt(t, path)
			fail(t, path)
			err := r.read(t.Context(), s, ids[3])
			require.ErrorIs(t, err, storage.ErrUnavailable)
			require.True(t, damaged(err), "%v", err)
			awaitUse(t, s)
			for _, id := range ids {
				_, err := s.NotificationByID(t.Context(), benchService, id)
				require.NoError(t, err, "notification %d", id)
			}
		})
	}
}

// TestReadFaultStopsTheNextWrite: whoever calls after the read was answered
// meets the fault, on whichever way a write takes.
func TestReadFaultStopsTheNextWrite(t *testing.T) {
	path, _ := large(t)
	for _, way := range []string{"alone", "queued"} {
		t.Run(way, func(t *testing.T) {
			s := openAt(t, path)
			c := <-s.readers
			_, err := c.exec(t.Context(), `SELECT corrupted FROM nowhere`)
			s.readers <- c
			require.Error(t, err)
			require.False(t, damaged(err), "a wrong statement is no fault")
			found := fmt.Errorf("found by a read: %w", err)

			s.faultMu.RLock() // as within trusted; keeps the writer from recovering
			s.w.turn.Lock()
			s.damage.Store(&found)
			s.w.turn.Unlock()
			if way == "queued" {
				s.writing.Add(1)
				defer s.writing.Add(-1)
			}
			answered := make(chan error, 1)
			go func() {
				_, err := s.Create(context.Background(), benchCreation(time.Now()))
				answered <- err
			}()
			s.faultMu.RUnlock()
			require.ErrorIs(t, <-answered, found)
			awaitUse(t, s)
		})
	}
}

func TestCloseWhileDamaged(t *testing.T) {
	path, ids := large(t)
	s := New(Config{Path: path})
	require.NoError(t, s.Open(t.Context()))
	repair := damage(t, path)
	_, err := s.NotificationByID(t.Context(), benchService, ids[20])
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.NoError(t, s.Close())
	repair()
	again := openAt(t, path)
	_, err = again.NotificationByID(t.Context(), benchService, ids[20])
	require.NoError(t, err)
}
