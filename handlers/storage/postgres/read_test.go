//go:build unix

package postgres

import (
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
