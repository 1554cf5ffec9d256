//go:build unix

package sqlite

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const million = 1_000_000

// fill stores a million notifications of one service: nine in ten are
// delivered, the others spread over the other kinds. The oldest 500 were made with
// a test key, the others with a normal one.
func fill(b *testing.B, s *Store) {
	b.Helper()
	now := asMicro(time.Now())
	require.NoError(b, s.write(b.Context(), "filling", func(w *writer) error {
		tenant, err := w.tenant(benchService)
		if err != nil {
			return err
		}
		_, err = w.c.exec(w.ctx, `WITH RECURSIVE serial (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM serial WHERE i < ?1)
			INSERT INTO notification (id, uuid, tenant, kind, phase, due, updated_at, job, created_at, expires_at, key_name,
				key_type, recipient, template_id, template_version, reference, sender, subject, body)
			SELECT i, unhex(printf('%032x', i)), ?2, iif(i % 10 <> 0, 10, 8 * (1 + i / 10 % 2) + i / 20 % 8) + iif(i <= 500, 128, 0), 4, ?3, ?3, i, ?3, ?3,
				'live', iif(i <= 500, 'test', 'normal'), '+447700900123', '1', 1, '', 'log', '', printf('%.400c', 'x') FROM serial`, million, tenant, now)
		if err != nil {
			return err
		}
		_, err = w.c.exec(w.ctx, `INSERT INTO total (tenant, kind, n) SELECT tenant, kind, count(*) FROM notification GROUP BY 1, 2`)
		return err
	}))
}

func BenchmarkMillionRows(b *testing.B) {
	s := openBench(b)
	fill(b, s)
	b.Run("by-id", func(b *testing.B) {
		measure(b, 1, func() error {
			_, err := s.NotificationByID(b.Context(), benchService, 1+rand.Int64N(million)) //nolint:gosec // any row
			return err
		})
	})
	b.Run("by-recent-id", func(b *testing.B) {
		measure(b, 1, func() error {
			_, err := s.NotificationByID(b.Context(), benchService, million-rand.Int64N(100)) //nolint:gosec // any row
			return err
		})
	})
	for _, c := range []struct {
		name string
		q    storage.Query
	}{
		{"first-page", storage.Query{}},
		{"last-page", storage.Query{Offset: million - 50}},
		{"middle-page", storage.Query{Offset: million / 2}},
		{"first-page-failed", storage.Query{Statuses: []storage.Status{storage.StatusPermanentFailure}}},
		{"keyset-page", storage.Query{Before: million / 2}},
		{"first-page-normal", storage.Query{KeyTypes: []storage.KeyType{storage.KeyNormal}}},
		{"first-page-test", storage.Query{KeyTypes: []storage.KeyType{storage.KeyTest}}},
		{"last-page-test", storage.Query{KeyTypes: []storage.KeyType{storage.KeyTest}, Before: 51}},
		{"last-page-keyset", storage.Query{Before: 51}},
	} {
		c.q.ServiceID, c.q.Limit = benchService, 50
		b.Run(c.name, func(b *testing.B) {
			measure(b, 1, func() error {
				p, err := s.Notifications(b.Context(), c.q)
				if err == nil && len(p.Notifications) != 50 {
					b.Fatalf("%d rows", len(p.Notifications))
				}
				return err
			})
		})
	}
}
