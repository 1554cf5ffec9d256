//go:build unix

package postgres

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// A week of delivered text messages of 140 characters, in 20 services, as the
// store itself leaves them.
const fillNotifications = `INSERT INTO signpost.notification (id, uuid, created_at, expires_at, tenant, template_version, key_name, key_type,
		recipient, template_id, reference, subject, body, kind, attempts, sent_at, completed_at, updated_at, sender, provider_reference)
	SELECT i, (lpad(to_hex((1795305600000 + i * 10)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 19))::uuid,
		1795305600000000 + i * 10000, 1795910400000000 + i * 10000, 1 + i % 20, 1, 'live', 'normal', '+447700900' || lpad((i % 1000)::text, 3, '0'),
		'1', '', '', rpad('Your appointment is on Monday at 10, reference ' || i, 140, '.'), 10, 1,
		1795305600100000 + i * 10000, 1795305601000000 + i * 10000, 1795305601000000 + i * 10000, 'acme', 'SM' || md5(i::text)
	FROM generate_series($1::bigint, $2::bigint) AS i`

// BenchmarkSize measures what a database of SIGNPOST_SIZING_ROWS notifications
// (default 1,000,000) takes, and how long the store's calls take on it.
func BenchmarkSize(b *testing.B) {
	rows := int64(1_000_000)
	if text := os.Getenv("SIGNPOST_SIZING_ROWS"); text != "" {
		var err error
		rows, err = strconv.ParseInt(text, 10, 64)
		require.NoError(b, err)
	}
	server := pgtest.Shared(b)
	name, err := server.Create(b.Context(), "")
	require.NoError(b, err)
	s := New(Config{DSN: server.DSN(name), SecretsKey: make([]byte, storage.SecretsKeySize), Timeout: time.Minute})
	require.NoError(b, s.Open(b.Context()))
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	c, err := pgx.Connect(b.Context(), server.DSN(name))
	require.NoError(b, err)
	defer c.Close(b.Context())
	began := time.Now()
	_, err = c.Exec(b.Context(), `INSERT INTO signpost.tenant (id) SELECT 'service ' || i FROM generate_series(1, 20) AS i`)
	require.NoError(b, err)
	const step = 100_000
	for from := int64(1); from <= rows; from += step {
		_, err := c.Exec(b.Context(), fillNotifications, from, min(from+step-1, rows))
		require.NoError(b, err)
	}
	filled := time.Since(began)
	for _, text := range []string{
		`INSERT INTO signpost.total (tenant, kind, shard, n) SELECT tenant, kind, 0, count(*) FROM signpost.notification GROUP BY 1, 2`,
		fmt.Sprintf(`SELECT setval('signpost.notification_id', %d)`, rows),
		`VACUUM ANALYZE signpost.notification`, `CHECKPOINT`,
	} {
		_, err := c.Exec(b.Context(), text)
		require.NoError(b, err)
	}
	b.Run("bytes", func(b *testing.B) {
		for b.Loop() { // once would do
			continue
		}
		found, err := c.Query(b.Context(), `SELECT 'table', pg_table_size('signpost.notification')
			UNION ALL SELECT c.relname, pg_relation_size(c.oid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
			WHERE i.indrelid = 'signpost.notification'::regclass`)
		require.NoError(b, err)
		total := int64(0)
		for found.Next() {
			var what string
			var size int64
			require.NoError(b, found.Scan(&what, &size))
			total += size
			b.ReportMetric(float64(size)/float64(rows), what+"-B/row")
		}
		require.NoError(b, found.Err())
		b.ReportMetric(float64(total)/float64(rows), "all-B/row")
		b.ReportMetric(float64(rows)/filled.Seconds(), "filled-rows/s")
	})

	now := time.Now()
	serial := 0
	create := func(b *testing.B) {
		b.Helper()
		serial++
		_, err := s.Create(b.Context(), storage.Creation{Notification: storage.Notification{
			UUID: uuid.Must(uuid.NewV7()), ServiceID: "service 1", KeyName: "live", KeyType: storage.KeyNormal, Channel: storage.SMS,
			TemplateID: "1", TemplateVersion: 1, To: "+447700900123", Body: fmt.Sprintf("%0140d", serial), Status: storage.StatusCreated,
			Sender: "acme", CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
		}})
		require.NoError(b, err)
	}
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			create(b)
		}
	})
	b.Run("by id", func(b *testing.B) {
		id := int64(0)
		for b.Loop() {
			id = (id+7919*13)%rows + 1
			_, err := s.NotificationByID(b.Context(), fmt.Sprintf("service %d", 1+id%20), id)
			if err != nil {
				b.Fatal(id, err)
			}
		}
	})
	b.Run("first page", func(b *testing.B) {
		for b.Loop() {
			p, err := s.Notifications(b.Context(), storage.Query{ServiceID: "service 3", Limit: 50})
			require.NoError(b, err)
			require.Len(b, p.Notifications, 50)
		}
	})
	b.Run("claim and complete", func(b *testing.B) {
		for b.Loop() {
			claims, err := s.Claim(b.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: time.Now(), Lease: time.Minute})
			require.NoError(b, err)
			if len(claims) == 0 {
				b.StopTimer()
				for range 100 {
					create(b)
				}
				b.StartTimer()
				continue
			}
			require.NoError(b, s.Complete(b.Context(), claims[0], storage.Outcome{Status: storage.StatusDelivered, At: time.Now(), ProviderReference: "x"}))
		}
	})
	b.Run("stats", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Stats(b.Context())
			require.NoError(b, err)
		}
	})
	b.Run("sweep of 1000", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Sweep(b.Context(), storage.SweepRequest{Now: time.UnixMicro(1795910400000000 + rows*10000/2), Limit: 1000})
			require.NoError(b, err)
		}
	})
}
