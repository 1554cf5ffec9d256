//go:build unix

package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestLookupsTogether: each caller of a batch gets what it would get alone, and
// no other service's.
func TestLookupsTogether(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	var stored []storage.Notification
	for range 3 {
		created, err := s.Create(t.Context(), sample(time.Now()))
		require.NoError(t, err)
		stored = append(stored, created.Notification)
	}
	damaged := stored[2].ID
	_, err := s.pool.Exec(t.Context(), `UPDATE signpost.notification SET kind = 63 WHERE id = $1`, damaged)
	require.NoError(t, err)

	var batch []*op[*lookup]
	ask := func(service string, id int64) *op[*lookup] {
		o := &op[*lookup]{arg: &lookup{service: service, id: id}}
		batch = append(batch, o)
		return o
	}
	one, again, two := ask(service, stored[0].ID), ask(service, stored[0].ID), ask(service, stored[1].ID)
	foreign, missing, negative := ask("another", stored[0].ID), ask(service, 1<<40), ask(service, -1)
	unknown := ask(service, damaged)
	s.runLookups(t.Context(), time.Minute, batch)
	for o, want := range map[*op[*lookup]]storage.Notification{one: stored[0], again: stored[0], two: stored[1]} {
		require.NoError(t, o.err)
		assert.Equal(t, want, o.arg.out)
	}
	for _, o := range []*op[*lookup]{foreign, missing, negative} {
		require.ErrorIs(t, o.err, storage.ErrNotFound)
		assert.Zero(t, o.arg.out)
	}
	require.ErrorIs(t, unknown.err, storage.ErrUnavailable)
	require.ErrorContains(t, unknown.err, "unknown kind 63")
	assert.Zero(t, unknown.arg.out)
}

// TestLookupGivenUp: who leaves while others go on with its look-up takes nothing
// along, since that may still be written to.
func TestLookupGivenUp(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	stored, err := s.Create(t.Context(), sample(time.Now()))
	require.NoError(t, err)
	n := stored.Notification

	run, done, proceed := s.lookups.run, make(chan int), make(chan struct{})
	s.lookups.run = func(ctx context.Context, timeout time.Duration, batch []*op[*lookup]) {
		run(ctx, timeout, batch)
		done <- len(batch)
		<-proceed
	}
	type answer struct {
		n   storage.Notification
		err error
	}
	ask := func(ctx context.Context) <-chan answer {
		out := make(chan answer, 1)
		go func() {
			n, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
			out <- answer{n, err}
		}()
		return out
	}
	waiting := func(n int) func() bool {
		return func() bool {
			s.lookups.mu.Lock()
			defer s.lookups.mu.Unlock()
			return len(s.lookups.waiting) == n
		}
	}
	first := ask(t.Context())
	require.Equal(t, 1, <-done)
	second := ask(t.Context())
	require.Eventually(t, waiting(1), time.Minute, time.Millisecond)
	ctx, leave := context.WithCancel(t.Context())
	third := ask(ctx)
	require.Eventually(t, waiting(2), time.Minute, time.Millisecond)
	proceed <- struct{}{}
	require.Equal(t, 2, <-done)
	leave()
	left := <-third
	require.ErrorIs(t, left.err, storage.ErrUnavailable)
	assert.Zero(t, left.n)
	proceed <- struct{}{}
	for _, out := range []<-chan answer{first, second} {
		got := <-out
		require.NoError(t, got.err)
		assert.Equal(t, n, got.n)
	}
}
