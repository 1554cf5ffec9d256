//go:build unix

package postgres

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestParams: pgx reads from each parameter what was put in.
func TestParams(t *testing.T) {
	m := pgtype.NewMap()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.String()).Draw(t, "texts")
		longs := rapid.SliceOf(rapid.Int64()).Draw(t, "longs")
		ints := rapid.SliceOf(rapid.Int32()).Draw(t, "ints")
		shorts := rapid.SliceOf(rapid.Int16()).Draw(t, "shorts")
		blobs := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "blobs")
		null := rapid.SliceOfN(rapid.Bool(), len(blobs), len(blobs)).Draw(t, "null")
		p := newParams()
		defer p.free()
		p.texts(texts)
		p.int8s(longs)
		p.null(typeUUID)
		p.int4s(ints)
		p.int2s(shorts)
		given := 0
		for i := range null {
			if null[i] {
				blobs[i] = nil
			} else {
				given++
				blobs[i] = append([]byte{}, blobs[i]...) // empty is not NULL
			}
		}
		p.some(typeBytea, len(blobs), func(b []byte, i int) []byte {
			if blobs[i] == nil {
				return nil
			}
			return append(b, blobs[i]...)
		})
		p.text("end")

		values := p.values()
		require.Len(t, values, len(p.oids))
		require.Len(t, values, len(p.formats))
		assert.Equal(t, texts, scanned[string](t, m, p, values, 0))
		assert.Equal(t, longs, scanned[int64](t, m, p, values, 1))
		assert.Nil(t, values[2])
		assert.Equal(t, ints, scanned[int32](t, m, p, values, 3))
		assert.Equal(t, shorts, scanned[int16](t, m, p, values, 4))
		if given == 0 {
			assert.Nil(t, values[5], "all NULL")
		} else {
			assert.Equal(t, blobs, scanned[[]byte](t, m, p, values, 5))
		}
		assert.Equal(t, "end", string(values[6]))
	})
}

// scanned reads an array.
func scanned[T any](t *rapid.T, m *pgtype.Map, p *params, values [][]byte, i int) (out []T) {
	require.NoError(t, m.Scan(p.oids[i], p.formats[i], values[i], &out))
	return out
}

// TestCreationParams: the two functions of the schema take the parameters that
// they are given, and each stores everything.
func TestCreationParams(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	now := storage.Micro(time.Now())
	full := func() storage.Creation {
		c := sample(now)
		c.Notification.JobID, c.Notification.Reference, c.Notification.Subject = 77, "order\x00 1", "Subject é"
		c.Notification.KeyType, c.Notification.TemplateVersion = storage.KeyTeam, 3
		c.Idempotency.BodyHash = []byte{1, 2, 3}
		return c
	}
	plain := sample(now)
	plain.Idempotency, plain.Limits = nil, nil
	for name, batch := range map[string][]storage.Creation{
		"one, full": {full()}, "one, plain": {plain},
		"one, two limits": {func() storage.Creation {
			c := full()
			c.Limits = append(c.Limits, storage.Limit{Key: "other", Max: 5, ExpiresAt: now.Add(time.Hour)})
			return c
		}()},
		"mixed": {full(), func() storage.Creation {
			c := plain
			c.Notification.UUID = uuid.Must(uuid.NewV7())
			return c
		}(), full()},
	} {
		t.Run(name, func(t *testing.T) {
			ops := make([]*op[*creation], len(batch))
			for i := range batch {
				c, err := batch[i].Normalised()
				require.NoError(t, err)
				ops[i] = &op[*creation]{arg: &creation{c: c}}
			}
			s.runCreations(t.Context(), time.Minute, ops)
			for _, o := range ops {
				require.NoError(t, o.err)
				want := o.arg.out.Notification
				got, err := s.NotificationByID(t.Context(), service, want.ID)
				require.NoError(t, err)
				assert.Equal(t, want, got)
				k := o.arg.c.Idempotency
				if k == nil {
					continue
				}
				got, err = s.Idempotent(t.Context(), service, k.Key)
				require.NoError(t, err)
				assert.Equal(t, want.ID, got.ID)
				var hash []byte
				require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT body_hash FROM signpost.idempotency WHERE id = $1`, want.ID).Scan(&hash))
				assert.Equal(t, k.BodyHash, hash)
			}
		})
	}
}

// TestNothingStoredAtLimit: what the schema's functions refuse leaves nothing,
// whoever decides.
func TestNothingStoredAtLimit(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	limited := func() *creation {
		c := sample(time.Now())
		c.Limits[0].Max = 2
		c, err := c.Normalised()
		require.NoError(t, err)
		return &creation{c: c}
	}
	store := func(all ...*creation) (done bool) {
		no, err := s.tenants.of(t.Context(), pooled(t, s), all)
		require.NoError(t, err)
		done, err = s.storeTogether(t.Context(), pooled(t, s), all, no)
		require.NoError(t, err)
		return done
	}
	counts := func() (n [5]int64) {
		require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM signpost.notification), (SELECT count(*) FROM signpost.outbox),
			(SELECT count(*) FROM signpost.idempotency), (SELECT sum(value)::bigint FROM signpost.counter), (SELECT sum(n)::bigint FROM signpost.total)`).
			Scan(&n[0], &n[1], &n[2], &n[3], &n[4]))
		return n
	}
	require.True(t, store(limited()))
	assert.False(t, store(limited(), limited()), "one too many")
	assert.Equal(t, [5]int64{1, 1, 1, 1, 1}, counts())
	require.True(t, store(limited()), "the second")
	assert.False(t, store(limited()))
	assert.Equal(t, [5]int64{2, 2, 2, 2, 2}, counts())

	taken := limited()
	taken.c.Limits[0].Key = "another"
	require.True(t, store(taken))
	twin := limited()
	twin.c.Limits, twin.c.Idempotency = nil, taken.c.Idempotency
	other := limited()
	other.c.Limits = nil
	assert.False(t, store(twin))
	assert.False(t, store(twin, other), "its key is taken")
	assert.Equal(t, [5]int64{3, 3, 3, 3, 3}, counts())
}

// pooled is a connection of the pool, given back at the end of the test.
func pooled(t *testing.T, s *Store) conn {
	t.Helper()
	c, err := s.pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(c.Release)
	return c
}
