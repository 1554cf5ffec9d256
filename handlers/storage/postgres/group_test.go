//go:build unix

package postgres

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// grouped is a group whose batches last until release is closed.
type grouped struct {
	*Store
	g       group[int]
	release chan struct{}
	batches [][]int
}

func newGrouped(key func(int) string) *grouped {
	s := New(Config{})
	s.state = opened
	x := &grouped{Store: s, release: make(chan struct{})}
	x.g = group[int]{key: key, run: func(_ context.Context, _ time.Duration, batch []*op[int]) {
		var args []int
		for _, o := range batch {
			args = append(args, o.arg)
			o.err = nil
			if o.arg < 0 {
				o.err = storage.ErrInvalid
			}
		}
		x.batches = append(x.batches, args)
		<-x.release
	}}
	return x
}

func (x *grouped) do(ctx context.Context, arg int) error {
	return write(ctx, x.Store, &x.g, "testing", arg)
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrouped(nil)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, x.do(t.Context(), 0)) })
		synctest.Wait() // the first leads a batch of its own
		for i := 1; i <= 5; i++ {
			wg.Go(func() { assert.NoError(t, x.do(t.Context(), i)) })
			synctest.Wait()
		}
		wg.Go(func() { assert.ErrorIs(t, x.do(t.Context(), -1), storage.ErrInvalid) })
		synctest.Wait()
		close(x.release)
		wg.Wait()
		assert.Equal(t, [][]int{{0}, {1, 2, 3, 4, 5, -1}}, x.batches)
		require.NoError(t, x.do(t.Context(), 9))
		assert.False(t, x.g.leading)
	})
}

// TestGroupClashes: what depends on another of the same batch comes in the next.
func TestGroupClashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrouped(func(i int) string { return []string{"", "odd"}[i%2] })
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { assert.NoError(t, x.do(t.Context(), i)) })
			synctest.Wait()
		}
		close(x.release)
		wg.Wait()
		assert.Equal(t, [][]int{{0}, {1, 2, 4}, {3}, {5}}, x.batches)
	})
}

func TestGroupFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrouped(nil)
		var wg sync.WaitGroup
		for i := range 2*maxBatch + 2 {
			wg.Go(func() { assert.NoError(t, x.do(t.Context(), i)) })
			synctest.Wait()
		}
		close(x.release)
		wg.Wait()
		sizes := make([]int, len(x.batches))
		for i, b := range x.batches {
			sizes[i] = len(b)
		}
		assert.Equal(t, []int{1, maxBatch, maxBatch, 1}, sizes)
	})
}

// TestGroupCancelled: who gives up while waiting isn't carried out, who gives up
// later is answered at once, and the others are served either way.
func TestGroupCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrouped(nil)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, x.do(t.Context(), 0)) })
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		for i := 1; i <= 2; i++ {
			wg.Go(func() {
				err := x.do(ctx, i)
				assert.ErrorIs(t, err, storage.ErrUnavailable)
				assert.ErrorIs(t, err, context.Canceled)
			})
			synctest.Wait()
		}
		wg.Go(func() { assert.NoError(t, x.do(t.Context(), 3)) })
		synctest.Wait()
		cancel(errors.New("gone"))
		synctest.Wait()
		close(x.release)
		wg.Wait()
		assert.Equal(t, [][]int{{0}, {3}}, x.batches)
	})
}

// TestGroupPanics: a batch that panics fails, and the next is carried out.
func TestGroupPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrouped(nil)
		run := x.g.run
		x.g.run = func(ctx context.Context, timeout time.Duration, batch []*op[int]) {
			if batch[0].arg == 0 {
				<-x.release
				panic("no")
			}
			run(ctx, timeout, batch)
		}
		var wg sync.WaitGroup
		wg.Go(func() { assert.Panics(t, func() { _ = x.do(t.Context(), 0) }) })
		synctest.Wait()
		wg.Go(func() { assert.NoError(t, x.do(t.Context(), 1)) })
		synctest.Wait()
		close(x.release)
		wg.Wait()
	})
}
