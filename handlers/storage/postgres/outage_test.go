//go:build unix

package postgres

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// load is callers who store notifications and note what was acknowledged.
type load struct {
	s       *Store
	stop    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	stored  []uuid.UUID
	slowest time.Duration // of a failure
	failed  atomic.Int64
	good    atomic.Int64
}

func newLoad(t *testing.T, s *Store, callers int) *load {
	l := &load{s: s, stop: make(chan struct{})}
	for range callers {
		l.wg.Go(func() { l.run(t) })
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) run(t *testing.T) {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		c := sample(time.Now())
		begun := time.Now()
		_, err := l.s.Create(context.Background(), c)
		took := time.Since(begun)
		l.mu.Lock()
		if err == nil {
			l.stored = append(l.stored, c.Notification.UUID)
			l.good.Add(1)
		} else {
			assert.ErrorIs(t, err, storage.ErrUnavailable)
			l.slowest = max(l.slowest, took)
			l.failed.Add(1)
		}
		l.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // as a caller who was told to come again
		}
	}
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
}

// until waits for something that comes about by itself.
func until(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), what)
	}
}

// nothingLost checks that all that was acknowledged is there.
func (l *load) nothingLost(t *testing.T) {
	t.Helper()
	l.end()
	for _, id := range l.stored {
		_, err := l.s.NotificationByUUID(t.Context(), service, id)
		require.NoError(t, err)
	}
	p, err := l.s.Notifications(t.Context(), storage.Query{ServiceID: service})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, p.Total, int64(len(l.stored)))
	t.Logf("%d stored, %d refused, the slowest after %s", len(l.stored), l.failed.Load(), l.slowest)
}

// drill runs load while a fault comes and goes.
func drill(t *testing.T, s *Store, fault, mend func()) {
	l := newLoad(t, s, 32)
	until(t, 10*time.Second, "no creation before the fault", func() bool { return l.good.Load() > 100 })
	before := runtime.NumGoroutine()
	fault()
	begun := time.Now()
	until(t, 2*time.Second, "the first 503 within 2 s", func() bool { return l.failed.Load() > 0 })
	t.Log("first failure after", time.Since(begun))
	until(t, 20*time.Second, "calls fail at once while the server is away", func() bool { return s.health.away() != nil })
	refused := l.failed.Load()
	until(t, 20*time.Second, "callers are answered while the server is away", func() bool { return l.failed.Load() > refused+300 })
	assert.Less(t, runtime.NumGoroutine(), before+40, "goroutines are flat")
	require.ErrorIs(t, s.Ping(t.Context()), storage.ErrUnavailable)
	mend()
	begun = time.Now()
	good := l.good.Load()
	until(t, 5*time.Second, "back within 5 s", func() bool { return l.good.Load() > good })
	t.Log("back after", time.Since(begun))
	until(t, 5*time.Second, "the probe has ended", func() bool { return s.health.away() == nil })
	l.nothingLost(t)
	assert.Less(t, l.slowest, 2*time.Second)
	require.NoError(t, s.Ping(t.Context()))
	until(t, 20*time.Second, "goroutines are as before", func() bool { return runtime.NumGoroutine() <= before })
}

func TestServerStopsAndReturns(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	t.Cleanup(func() { require.NoError(t, server.Resume()) })
	drill(t, s, func() { require.NoError(t, server.Halt()) }, func() { require.NoError(t, server.Resume()) })
}

// TestBlackHole lets packets vanish: nothing fails by itself, so that deadlines
// must.
func TestBlackHole(t *testing.T) {
	server, name := database(t)
	proxy, err := pgtest.NewProxy(server.Address())
	require.NoError(t, err)
	s := New(Config{DSN: server.TCP(proxy.Address(), name), SecretsKey: testKey})
	require.NoError(t, s.Open(t.Context()))
	drill(t, s, func() { proxy.Swallow(true) }, func() { proxy.Swallow(false) })
	require.NoError(t, s.Close())
	require.NoError(t, proxy.Close())
}

// TestTerminatedBackends ends all connections again and again: calls may fail
// meanwhile, but the store is never away for long.
func TestTerminatedBackends(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	l := newLoad(t, s, 16)
	for range 20 {
		good := l.good.Load()
		require.NoError(t, server.Terminate(t.Context(), name))
		until(t, 5*time.Second, "back after connections were ended", func() bool { return l.good.Load() > good+20 })
	}
	l.nothingLost(t)
	assert.Positive(t, l.failed.Load())
}

// TestReadsOutliveConnections: a read that meets a dead connection is made on
// another.
func TestReadsOutliveConnections(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	created, err := s.Create(t.Context(), sample(time.Now()))
	require.NoError(t, err)
	for range 10 {
		require.NoError(t, server.Terminate(t.Context(), name))
		_, err := s.NotificationByID(t.Context(), service, created.Notification.ID)
		require.NoError(t, err)
	}
}

// TestHangingStatement: a statement that the server can't finish, here for a
// lock, ends by the deadline, and the store isn't taken for away.
func TestHangingStatement(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name), Timeout: 300 * time.Millisecond})
	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE signpost.service`)
	require.NoError(t, err)
	begun := time.Now()
	require.ErrorIs(t, s.PutService(t.Context(), storage.Service{ID: "a", CreatedAt: begun}), storage.ErrUnavailable)
	assert.Less(t, time.Since(begun), 2*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	begun = time.Now()
	err = s.PutService(ctx, storage.Service{ID: "a", CreatedAt: begun})
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(begun), 300*time.Millisecond, "the caller's own deadline counts")
	require.NoError(t, tx.Rollback(t.Context()))
	until(t, 5*time.Second, "usable again", func() bool {
		return s.PutService(t.Context(), storage.Service{ID: "b", CreatedAt: begun}) == nil
	})
}

// TestOpenWithoutServer: the error says so soon, and a later Open works.
func TestOpenWithoutServer(t *testing.T) {
	server, name := database(t)
	t.Cleanup(func() { require.NoError(t, server.Resume()) })
	s := New(Config{DSN: server.TCP(server.Address(), name), SecretsKey: testKey})
	require.NoError(t, server.Halt())
	begun := time.Now()
	require.ErrorIs(t, s.Open(t.Context()), storage.ErrUnavailable)
	assert.Less(t, time.Since(begun), 3*time.Second)
	require.NoError(t, server.Resume())
	require.NoError(t, s.Open(t.Context()))
	require.NoError(t, s.Close())
}
