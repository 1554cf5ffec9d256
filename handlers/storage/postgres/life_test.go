//go:build unix

package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// BenchmarkLife measures how much WAL a notification costs at each step of its
// life, for 64 callers at once and text messages of 140 characters with an
// idempotency key, a daily limit, and a provider with references of 34
// characters. There is no checkpoint meanwhile: after one, the first change of
// each page costs an image of the page too.
//
//	go test -run '^$' -bench Life -benchtime 20000x ./handlers/storage/postgres
func BenchmarkLife(b *testing.B) {
	server, name := database(b)
	s := node(b, Config{DSN: server.DSN(name), Timeout: time.Minute})
	c, err := pgx.Connect(b.Context(), server.DSN(name))
	require.NoError(b, err)
	b.Cleanup(func() { c.Close(b.Context()) })
	each := func(b *testing.B, n int, f func(i int) error) {
		b.Helper()
		var wg sync.WaitGroup
		for first := range 64 {
			wg.Go(func() {
				for i := first; i < n; i += 64 {
					if err := f(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	now := time.Now()
	life := func(b *testing.B, n int, step func(name string, f func())) {
		b.Helper()
		step("create", func() {
			each(b, n, func(i int) error {
				one := sample(now)
				one.Notification.Body = fmt.Sprintf("%0140d", i)
				_, err := s.Create(b.Context(), one)
				return err
			})
		})
		var claims []storage.Claim
		step("claim", func() {
			for len(claims) < n {
				some, err := s.Claim(b.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 20, Now: now, Lease: time.Minute})
				require.NoError(b, err)
				require.NotEmpty(b, some)
				claims = append(claims, some...)
			}
		})
		step("send", func() {
			each(b, n, func(i int) error {
				return s.Complete(b.Context(), claims[i], storage.Outcome{
					Status: storage.StatusSending, ProviderReference: reference(claims[i].Notification.ID), At: now,
				})
			})
		})
		step("deliver", func() {
			each(b, n, func(i int) error {
				_, _, err := s.Receipt(b.Context(), storage.Receipt{
					Sender: "log", Reference: reference(claims[i].Notification.ID), Status: storage.StatusDelivered, At: now,
				})
				return err
			})
		})
		step("sweep", func() {
			for {
				done, err := s.Sweep(b.Context(), storage.SweepRequest{Now: now.Add(time.Hour * 24 * 365), Limit: 1000})
				require.NoError(b, err)
				if !done.More {
					return
				}
			}
		})
	}
	life(b, 2000, func(_ string, f func()) { f() }) // connections, statements, and the first pages
	var all int64
	b.ResetTimer()
	life(b, b.N, func(name string, f func()) {
		before := logged(b, c)
		f()
		used := logged(b, c) - before
		b.ReportMetric(float64(used)/float64(b.N), name+"-B/row")
		all += used
	})
	b.ReportMetric(float64(all)/float64(b.N), "all-B/row")
	b.ReportMetric(0, "ns/op")
}

// reference is a provider's.
func reference(id int64) string { return fmt.Sprintf("SM%032d", id) }

// logged returns how many bytes of WAL there have been.
func logged(b *testing.B, c *pgx.Conn) (bytes int64) {
	b.Helper()
	require.NoError(b, c.QueryRow(b.Context(), `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`).Scan(&bytes))
	return bytes
}
