package storage_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub counts openings and closings.
type stub struct {
	storage.Backend
	opened, closed atomic.Int32
	fail           atomic.Bool
	opening        chan struct{} // receives when Open runs, if not nil
	proceed        chan struct{} // lets Open go on, if not nil
}

func (s *stub) Open(ctx context.Context) error {
	if s.opening != nil {
		s.opening <- struct{}{}
		select {
		case <-s.proceed:
		case <-ctx.Done():
			return storage.Unavailable("opening", ctx.Err())
		}
	}
	if s.fail.Load() {
		return storage.Unavailable("opening", errors.New("no such disk"))
	}
	s.opened.Add(1)
	return nil
}

func (s *stub) Close() error {
	s.closed.Add(1)
	return nil
}

func counts(s *stub) [2]int32 { return [2]int32{s.opened.Load(), s.closed.Load()} }

func TestHandleOpensOnceAndClosesAtTheLastRelease(t *testing.T) {
	s := &stub{}
	h := storage.NewHandle(s)
	assert.Same(t, s, h.Backend())
	assert.Equal(t, [2]int32{0, 0}, counts(s), "making it has no side effects")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.NoError(t, h.Ready(t.Context())) })
	}
	wg.Wait()
	assert.Equal(t, [2]int32{1, 0}, counts(s))
	require.NoError(t, h.Acquire(t.Context(), 0))
	require.NoError(t, h.Acquire(t.Context(), 0))
	require.NoError(t, h.Destruct())
	h.Release()
	assert.Equal(t, [2]int32{1, 0}, counts(s), "a request still runs")
	require.NoError(t, h.Acquire(t.Context(), 0), "and may take another reference")
	h.Release()
	h.Release()
	assert.Equal(t, [2]int32{1, 1}, counts(s))
	require.ErrorIs(t, h.Acquire(t.Context(), time.Hour), storage.ErrUnavailable)
	require.ErrorIs(t, h.Ready(t.Context()), storage.ErrUnavailable)
	require.NoError(t, h.Destruct())
	assert.Equal(t, [2]int32{1, 1}, counts(s))
}

func TestHandleNeverOpened(t *testing.T) {
	s := &stub{}
	h := storage.NewHandle(s)
	waiting := make(chan error)
	go func() { waiting <- h.Acquire(context.Background(), time.Hour) }()
	require.NoError(t, h.Destruct())
	require.ErrorIs(t, <-waiting, storage.ErrUnavailable, "it isn't left to wait")
	require.ErrorIs(t, h.Ready(t.Context()), storage.ErrUnavailable)
	assert.Equal(t, [2]int32{0, 0}, counts(s))
}

func TestHandleRetriesAFailedOpen(t *testing.T) {
	s := &stub{}
	s.fail.Store(true)
	h := storage.NewHandle(s)
	require.ErrorContains(t, h.Acquire(t.Context(), 0), "not open")
	require.ErrorContains(t, h.Ready(t.Context()), "no such disk")
	require.ErrorContains(t, h.Acquire(t.Context(), 0), "no such disk", "the reason is told")
	s.fail.Store(false)
	require.NoError(t, h.Ready(t.Context()))
	require.NoError(t, h.Acquire(t.Context(), 0))
	h.Release()
	require.NoError(t, h.Destruct())
	assert.Equal(t, [2]int32{1, 1}, counts(s))
}

func TestHandleAcquireWaitsForOpen(t *testing.T) {
	s := &stub{opening: make(chan struct{}), proceed: make(chan struct{})}
	h := storage.NewHandle(s)
	ready := make(chan error)
	go func() { ready <- h.Ready(context.Background()) }()
	<-s.opening
	acquired := make(chan error)
	go func() { acquired <- h.Acquire(context.Background(), time.Hour) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Acquire(ctx, time.Hour), context.Canceled)
	require.ErrorIs(t, h.Ready(ctx), context.Canceled)
	require.ErrorIs(t, h.Acquire(t.Context(), time.Nanosecond), storage.ErrUnavailable)
	close(s.proceed)
	require.NoError(t, <-ready)
	require.NoError(t, <-acquired)
	h.Release()
	require.NoError(t, h.Destruct())
	assert.Equal(t, [2]int32{1, 1}, counts(s))
}

func TestHandleDestructDuringOpen(t *testing.T) {
	for _, fail := range []bool{false, true} {
		s := &stub{opening: make(chan struct{}), proceed: make(chan struct{})}
		s.fail.Store(fail)
		h := storage.NewHandle(s)
		ready := make(chan error)
		go func() { ready <- h.Ready(context.Background()) }()
		<-s.opening
		require.NoError(t, h.Destruct())
		assert.Equal(t, [2]int32{0, 0}, counts(s), "not closed while it opens")
		close(s.proceed)
		require.ErrorIs(t, <-ready, storage.ErrUnavailable)
		if fail {
			assert.Equal(t, [2]int32{0, 0}, counts(s))
		} else {
			assert.Equal(t, [2]int32{1, 1}, counts(s))
		}
		require.ErrorIs(t, h.Acquire(t.Context(), time.Hour), storage.ErrUnavailable)
	}
}

func TestHandleConcurrentUse(t *testing.T) {
	s := &stub{}
	h := storage.NewHandle(s)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if err := h.Acquire(context.Background(), time.Hour); err != nil {
					assert.ErrorIs(t, err, storage.ErrUnavailable)
					return
				}
				assert.Zero(t, s.closed.Load(), "open while referenced")
				h.Release()
			}
		})
	}
	wg.Go(func() {
		assert.NoError(t, h.Ready(context.Background()))
		assert.NoError(t, h.Destruct())
	})
	wg.Wait()
	assert.Equal(t, [2]int32{1, 1}, counts(s))
}

func TestRevive(t *testing.T) {
	h := storage.NewHandle(new(stub))
	require.NoError(t, h.Ready(t.Context()))
	require.NoError(t, h.Acquire(t.Context(), time.Second))
	require.Equal(t, 1, h.InUse())
	require.NoError(t, h.Destruct())
	require.True(t, h.Revive(), "it is still open")
	h.Release()
	require.NoError(t, h.Acquire(t.Context(), time.Second), "the revived handle stays open without references")
	h.Release()
	require.NoError(t, h.Destruct())
	require.False(t, h.Revive(), "it has closed")
}
