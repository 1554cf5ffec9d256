//go:build unix

package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// fillMillion stores a million notifications that have ended, of one service.
// The oldest 500 were made with a test key, the others with a normal one.
func fillMillion(b *testing.B) *Store {
	b.Helper()
	server, name := database(b)
	s := node(b, Config{DSN: server.DSN(name), Timeout: time.Minute})
	_, err := s.Create(b.Context(), sample(time.Now())) // the tenant
	require.NoError(b, err)
	for _, text := range []string{
		`INSERT INTO signpost.notification (id, uuid, created_at, expires_at, tenant, template_version, key_name, key_type, recipient,
			template_id, reference, subject, body, kind, updated_at, sender)
			SELECT i, lpad(to_hex(i), 32, '0')::uuid, 1, 1, 1, 1, 'live', CASE WHEN i <= 501 THEN 'test' ELSE 'normal' END,
				'+447700900123', '1', '', '', repeat('x', 400), 10, 1, 'log' FROM generate_series(2, 1000001) AS i`,
		`INSERT INTO signpost.total (tenant, kind, shard, n) SELECT tenant, kind, 99, count(*) FROM signpost.notification
			WHERE kind > 0 GROUP BY 1, 2`,
		`VACUUM ANALYZE signpost.notification`,
	} {
		require.NoError(b, server.Exec(b.Context(), name, text))
	}
	return s
}

// fillMillionInFlight stores a million notifications that are queued, of one
// service. The oldest 500 were made with a normal key, the others with a test one.
func fillMillionInFlight(b *testing.B) *Store {
	b.Helper()
	server, name := database(b)
	s := node(b, Config{DSN: server.DSN(name), Timeout: time.Minute})
	_, err := s.Create(b.Context(), sample(time.Now())) // the tenant
	require.NoError(b, err)
	for _, text := range []string{
		`INSERT INTO signpost.notification (id, uuid, created_at, expires_at, tenant, template_version, key_name, key_type, recipient,
			template_id, reference, subject, body)
			SELECT i, lpad(to_hex(i), 32, '0')::uuid, 1, 1, 1, 1, 'live', CASE WHEN i <= 501 THEN 'normal' ELSE 'test' END,
				'+447700900123', '1', '', '', repeat('x', 400) FROM generate_series(2, 1000001) AS i`,
		`INSERT INTO signpost.outbox (id, due, updated_at, tenant, kind, phase, sender, special)
			SELECT id, 1, 1, 1, 8, 1, 'log', key_type <> 'normal' FROM signpost.notification WHERE id > 1`,
		`INSERT INTO signpost.total (tenant, kind, shard, n) VALUES (1, 8, 99, 1000000)`,
		`VACUUM ANALYZE signpost.notification, signpost.outbox`,
	} {
		require.NoError(b, server.Exec(b.Context(), name, text))
	}
	return s
}

type listing struct {
	name string
	q    storage.Query
}

func benchLists(b *testing.B, s *Store, lists []listing) {
	b.Helper()
	for _, c := range lists {
		c.q.ServiceID, c.q.Limit = service, 50
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

func BenchmarkMillionRows(b *testing.B) {
	benchLists(b, fillMillion(b), []listing{
		{"first-page", storage.Query{}},
		{"last-page-keyset", storage.Query{Before: 52}},
		{"first-page-normal", storage.Query{KeyTypes: []storage.KeyType{storage.KeyNormal}}},
		{"first-page-test", storage.Query{KeyTypes: []storage.KeyType{storage.KeyTest}}},
		{"last-page-test", storage.Query{KeyTypes: []storage.KeyType{storage.KeyTest}, Before: 52}},
	})
}

func BenchmarkMillionInFlight(b *testing.B) {
	s := fillMillionInFlight(b)
	benchLists(b, s, []listing{
		{"first-page", storage.Query{}},
		{"last-page-keyset", storage.Query{Before: 52}},
		{"first-page-test", storage.Query{KeyTypes: []storage.KeyType{storage.KeyTest}}},
		{"first-page-normal", storage.Query{KeyTypes: []storage.KeyType{storage.KeyNormal}}},
		{"last-page-normal", storage.Query{KeyTypes: []storage.KeyType{storage.KeyNormal}, Before: 52}},
	})
	b.Run("stats", func(b *testing.B) {
		measure(b, 1, func() error {
			_, err := s.Stats(b.Context())
			return err
		})
	})
}
