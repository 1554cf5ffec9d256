//go:build unix

package sqlite

import (
	"bufio"
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// childPath names the variable that turns this program into one that stores
// notifications until it is killed.
const childPath = "SIGNPOST_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		store(path)
	}
	goleak.VerifyTestMain(m)
}

// store writes "id uuid" for each notification once it is acknowledged.
func store(path string) {
	s := New(Config{Path: path})
	if err := s.Open(context.Background()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for range 8 {
		go func() {
			for {
				c := benchCreation(time.Now())
				got, err := s.Create(context.Background(), c)
				if err != nil {
					_, _ = fmt.Fprintf(os.Stdout, "error %q\n", err)
					time.Sleep(time.Millisecond) // as a client that tries again
					continue
				}
				// One write call, so that lines don't mix.
				_, _ = fmt.Fprintf(os.Stdout, "%d %s\n", got.Notification.ID, c.Notification.UUID)
			}
		}()
	}
	select {}
}

type child struct {
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
	all   []string
}

func startChild(t *testing.T, path string, wrapper ...string) *child {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := append(wrapper, program)
	c := &child{cmd: exec.Command(command[0], command[1:]...), lines: make(chan string, 1<<20), ended: make(chan struct{})} //nolint:gosec // ourselves
	c.cmd.Env = append(os.Environ(), childPath+"="+path)
	c.cmd.Stderr = os.Stderr
	group(c.cmd)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		defer close(c.lines)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err == nil {
				c.lines <- strings.TrimSpace(line)
			} else {
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
	}()
	return c
}

// acknowledged waits for n more acknowledgements.
func (c *child) acknowledged(t *testing.T, n int) {
	t.Helper()
	for range n {
		line, ok := <-c.lines
		require.True(t, ok, "the child has ended")
		c.all = append(c.all, line)
	}
}

// kill ends the child as a crash would, and collects what it still said.
func (c *child) kill(t *testing.T) {
	t.Helper()
	killGroup(t, c.cmd)
	for line := range c.lines {
		c.all = append(c.all, line)
	}
	<-c.ended
	_ = c.cmd.Wait()
}

// check compares what a child acknowledged with what is stored.
func check(t *testing.T, s *Store, ledger map[int64]uuid.UUID) {
	t.Helper()
	require.NoError(t, s.read(t.Context(), "checking", func(c *conn) error {
		return c.query(t.Context(), func(row []driver.Value) error {
			assert.Equal(t, "ok", row[0])
			return nil
		}, `PRAGMA integrity_check`)
	}))
	for id, u := range ledger {
		n, err := s.NotificationByID(t.Context(), benchService, id)
		require.NoError(t, err, "notification %d is lost", id)
		require.Equal(t, u, n.UUID)
	}
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, p.Total, int64(len(ledger)))
	stored, err := s.Counter(t.Context(), benchCreation(time.Now()).Limits[0].Key)
	require.NoError(t, err)
	assert.Equal(t, p.Total, stored, "limits count what is stored")
	st, err := s.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, p.Total, st.Queued)
}

// record adds what a child acknowledged to the ledger, and returns how many
// times it was refused.
func (c *child) record(t *testing.T, ledger map[int64]uuid.UUID) (refused int) {
	t.Helper()
	for _, line := range c.all {
		if strings.HasPrefix(line, "error ") {
			refused++
			continue
		}
		var id int64
		var u string
		_, err := fmt.Sscan(line, &id, &u)
		require.NoError(t, err)
		require.NotContains(t, ledger, id, "an id was given twice")
		ledger[id] = uuid.MustParse(u)
	}
	return refused
}

func TestKilledDuringCreations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	ledger := map[int64]uuid.UUID{}
	for round := range 5 {
		c := startChild(t, path)
		c.acknowledged(t, 50+97*round)
		c.kill(t)
		assert.Zero(t, c.record(t, ledger), "refused in round %d", round)
		s := openAt(t, path)
		check(t, s, ledger)
		require.NoError(t, s.Close())
	}
}

// TestSyncFails makes one sync fail in the kernel's place: nothing that it was
// to make durable is acknowledged, and the store comes back by itself.
func TestSyncFails(t *testing.T) {
	if exec.CommandContext(t.Context(), "strace", "-f", "-o", os.DevNull, "true").Run() != nil {
		if testing.Short() {
			t.Skip("strace is missing or may not trace")
		}
		t.Fatal("this test needs strace, and the right to trace: apt-get install strace (./xcaddy.sh test does that), or run with -short")
	}
	folder := t.TempDir()
	path, trace := filepath.Join(folder, "x.db"), filepath.Join(folder, "trace")
	c := startChild(t, path, "strace", "-f", "-o", trace, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=30")
	refused, after := 0, 0
	for after < 100 {
		c.acknowledged(t, 1)
		switch last := c.all[len(c.all)-1]; {
		case strings.HasPrefix(last, "error "):
			assert.Contains(t, last, "storage: unavailable")
			refused++
		case refused > 0:
			after++
		}
	}
	c.kill(t)
	ledger := map[int64]uuid.UUID{}
	assert.Positive(t, c.record(t, ledger))
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	assert.Contains(t, string(text), "INJECTED")
	s := openAt(t, path)
	check(t, s, ledger)
}

// TestReopen checks that what is kept in memory comes back from the file.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	ctx := t.Context()
	now := time.Now()
	s := openAt(t, path)
	c := benchCreation(now)
	c.Limits[0].Max = 1
	first, err := s.Create(ctx, c)
	require.NoError(t, err)
	key := storage.ReplayKey{ServiceID: benchService, Key: []byte("k"), ExpiresAt: now.Add(time.Hour)}
	_, err = s.Remember(ctx, key, now)
	require.NoError(t, err)
	_, _, err = s.Receipt(ctx, storage.Receipt{Sender: "log", Reference: c.Notification.UUID.String(), Status: storage.StatusDelivered, At: now})
	require.NoError(t, err)
	swept := benchCreation(now)
	swept.Limits = nil
	last, err := s.Create(ctx, swept)
	require.NoError(t, err)
	_, _, err = s.Receipt(ctx, storage.Receipt{Sender: "log", Reference: swept.Notification.UUID.String(), Status: storage.StatusDelivered, At: now})
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = openAt(t, path)
	again, err := s.Create(ctx, c)
	require.NoError(t, err)
	assert.True(t, again.Replayed)
	assert.Equal(t, first.Notification.ID, again.Notification.ID)
	fresh, err := s.Remember(ctx, key, now)
	require.NoError(t, err)
	assert.False(t, fresh)
	limited := benchCreation(now)
	limited.Limits[0].Max = 1
	_, err = s.Create(ctx, limited)
	var limit *storage.LimitError
	require.ErrorAs(t, err, &limit)
	_, err = s.Sweep(ctx, storage.SweepRequest{Now: now.Add(1000 * time.Hour)})
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = openAt(t, path)
	next, err := s.Create(ctx, benchCreation(now))
	require.NoError(t, err)
	assert.Greater(t, next.Notification.ID, last.Notification.ID, "ids of swept rows aren't given again")
}

// TestConcurrentClose checks that calls under way at Close are answered, and
// that what was acknowledged is there afterwards.
func TestConcurrentClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := openAt(t, path)
	var mu sync.Mutex
	var ids []int64
	var wg sync.WaitGroup
	some := make(chan struct{}, 1000)
	for range 16 {
		wg.Go(func() {
			for {
				got, err := s.Create(context.Background(), benchCreation(time.Now()))
				if err != nil {
					assert.ErrorIs(t, err, storage.ErrUnavailable)
					return
				}
				mu.Lock()
				ids = append(ids, got.Notification.ID)
				mu.Unlock()
				select {
				case some <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 50 {
		<-some
	}
	require.NoError(t, s.Close())
	wg.Wait()
	s = openAt(t, path)
	for _, id := range ids {
		_, err := s.NotificationByID(t.Context(), benchService, id)
		require.NoError(t, err)
	}
}
