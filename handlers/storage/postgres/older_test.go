//go:build unix

package postgres

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestOlderNode: a node of the version before creates with store_1, and finds
// nothing of what it doesn't know in totals, lists and callbacks.
func TestOlderNode(t *testing.T) {
	ctx := t.Context()
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	c := connect(t, server.DSN(name))
	now := storage.Micro(time.Now())

	made, err := s.Create(ctx, sample(now))
	require.NoError(t, err)
	var tenant int32
	require.NoError(t, c.QueryRow(ctx, `SELECT no FROM signpost.tenant`).Scan(&tenant))
	id := uuid.Must(uuid.NewV7())
	var ids []int64
	require.NoError(t, c.QueryRow(ctx, `SELECT signpost.store_1(ARRAY[$1::uuid], ARRAY[$2::bigint], ARRAY[$2::bigint], NULL, ARRAY[$3::int],
		ARRAY[1], ARRAY['live'], ARRAY['normal'], ARRAY['+447700900123'], ARRAY['1'], ARRAY[''], ARRAY['webhook'], ARRAY[''], ARRAY['text'],
		ARRAY[8::smallint], NULL, NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[$3::int], ARRAY[8::smallint], ARRAY[1::bigint])`,
		[16]byte(id), asMicro(now), tenant).Scan(&ids))
	old, err := s.NotificationByUUID(ctx, service, id)
	require.NoError(t, err)
	assert.Equal(t, ids[0], old.ID)
	assert.Zero(t, old.Details)
	due, err := s.NextDue(ctx, storage.SMS)
	require.NoError(t, err)
	assert.Equal(t, now, due)

	// It doesn't say that a key is a special one.
	_, err = c.Exec(ctx, `UPDATE signpost.notification SET key_type = 'test' WHERE id = $1`, ids[0])
	require.NoError(t, err)
	for keyType, want := range map[storage.KeyType]int64{storage.KeyNormal: made.Notification.ID, storage.KeyTest: ids[0]} {
		p, err := s.Notifications(ctx, storage.Query{ServiceID: service, KeyTypes: []storage.KeyType{keyType}, Limit: 10})
		require.NoError(t, err)
		require.Len(t, p.Notifications, 1)
		assert.Equal(t, want, p.Notifications[0].ID)
	}

	claims, err := s.Claim(ctx, storage.ClaimRequest{Channel: storage.SMS, Limit: 2, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 2)
	for i, status := range []storage.Status{storage.StatusSent, storage.StatusPending} {
		require.NoError(t, s.Complete(ctx, claims[i], storage.Outcome{Status: status, At: now, Callback: true}))
	}
	assert.Equal(t, made.Notification.ID, claims[0].Notification.ID)

	// What the version before asks.
	var kinds []int16
	require.NoError(t, c.QueryRow(ctx, `SELECT array_agg(kind) FROM (SELECT kind FROM signpost.total WHERE tenant = $1
		GROUP BY kind HAVING sum(n) > 0) AS k`, tenant).Scan(&kinds))
	assert.Equal(t, []int16{9}, kinds, "pending is sending")
	var owed int
	require.NoError(t, c.QueryRow(ctx, `SELECT count(*) FROM signpost.callback WHERE tenant = $1`, tenant).Scan(&owed))
	assert.Zero(t, owed)
	_, err = c.Exec(ctx, `UPDATE signpost.outbox SET kind = 9, phase = 3, leased = false, updated_at = $2, reason = 'again'
		WHERE id = $1 AND least(kind & 7, 2) <= 1`, ids[0], asMicro(now))
	require.NoError(t, err)
	got, err := s.NotificationByID(ctx, service, ids[0])
	require.NoError(t, err)
	assert.Equal(t, storage.StatusPending, got.Status, "its writes leave the mark")

	// Its sweep counts down where it knows the tenant.
	_, err = c.Exec(ctx, `WITH gone AS (DELETE FROM signpost.notification WHERE kind = 14 RETURNING id, tenant, kind)
		INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, 0, -1 FROM gone`)
	require.NoError(t, err)
	for _, q := range []storage.Query{{}, {Statuses: []storage.Status{storage.StatusPending}}} {
		q.ServiceID, q.Limit = service, 10
		p, err := s.Notifications(ctx, q)
		require.NoError(t, err)
		assert.EqualValues(t, 1, p.Total)
		require.Len(t, p.Notifications, 1)
		assert.Equal(t, ids[0], p.Notifications[0].ID)
	}
}
