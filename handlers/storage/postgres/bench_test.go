//go:build unix

package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measure runs one b.N times from so many callers and reports rows per second,
// the median latency, and this process's CPU per row.
func measure(b *testing.B, callers int, one func() error) {
	b.Helper()
	latencies := make([][]time.Duration, callers)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu, start := cpuTime(), time.Now()
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				t := time.Now()
				if err := one(); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = append(latencies[i], time.Since(t))
			}
		})
	}
	wg.Wait()
	took, used := time.Since(start), cpuTime()-cpu
	b.StopTimer()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/took.Seconds(), "rows/s")
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-us/row")
}

func benchStore(b *testing.B, connections int) *Store {
	server, name := database(b)
	s := node(b, Config{DSN: server.DSN(name), Connections: connections})
	for range 50 { // the connections, and their statements
		_, err := s.Create(b.Context(), sample(time.Now()))
		require.NoError(b, err)
	}
	return s
}

// BenchmarkCreate compares creations in groups with the same ones one
// transaction each (single), and with no more than one INSERT each of a row as
// large into a table with two indexes, without idempotency, limits, queue and
// totals (insert). They take turns, since the machine's other work varies.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchCreate(b, callers) })
	}
}

func benchCreate(b *testing.B, callers int) {
	connections := min(callers, 64)
	create := benchStore(b, 0)
	single := benchStore(b, connections)
	pool := plainTable(b, connections)
	for range 3 {
		b.Run("insert", func(b *testing.B) {
			measure(b, callers, func() error { return insertPlain(b.Context(), pool) })
		})
		b.Run("single", func(b *testing.B) {
			measure(b, callers, func() error {
				c, err := sample(time.Now()).Normalised()
				if err != nil {
					return err
				}
				alone := []*op[*creation]{{arg: &creation{c: c}}}
				single.runCreations(b.Context(), time.Minute, alone)
				return alone[0].err
			})
		})
		b.Run("create", func(b *testing.B) {
			measure(b, callers, func() error {
				_, err := create.Create(b.Context(), sample(time.Now()))
				return err
			})
		})
	}
}

func plainTable(b *testing.B, connections int) *pgxpool.Pool {
	server, name := database(b)
	require.NoError(b, server.Exec(b.Context(), name, `CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		uuid uuid NOT NULL UNIQUE, service text NOT NULL, status text NOT NULL, recipient text NOT NULL, body text NOT NULL, created_at bigint NOT NULL)`))
	config, err := pgxpool.ParseConfig(server.DSN(name))
	require.NoError(b, err)
	config.MaxConns = int32(connections) //nolint:gosec // small
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	for range 50 {
		require.NoError(b, insertPlain(b.Context(), pool))
	}
	return pool
}

func insertPlain(ctx context.Context, pool *pgxpool.Pool) error {
	n := sample(time.Now()).Notification
	var id int64
	return pool.QueryRow(ctx, `INSERT INTO plain (uuid, service, status, recipient, body, created_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`,
		[16]byte(n.UUID), n.ServiceID, "created", n.To, n.Body, n.CreatedAt.UnixMicro()).Scan(&id)
}

func BenchmarkRead(b *testing.B) {
	s := benchStore(b, 0)
	created, err := s.Create(b.Context(), sample(time.Now()))
	require.NoError(b, err)
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			measure(b, callers, func() error {
				_, err := s.NotificationByID(b.Context(), service, created.Notification.ID)
				return err
			})
		})
	}
}

// BenchmarkClaim counts notifications that are claimed, twenty at a time, and
// completed, each by itself.
func BenchmarkClaim(b *testing.B) {
	for _, workers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s := benchStore(b, 0)
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range b.N/64 + 1 {
						c := sample(time.Now())
						c.Idempotency, c.Limits = nil, nil
						if _, err := s.Create(b.Context(), c); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			var done atomic.Int64
			b.ResetTimer()
			start := time.Now()
			for range workers {
				wg.Go(func() {
					for done.Load() < int64(b.N) {
						claims, err := s.Claim(b.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 20, Now: time.Now(), Lease: time.Minute})
						if err != nil {
							b.Error(err)
							return
						}
						var each sync.WaitGroup
						for _, c := range claims {
							each.Go(func() {
								if err := s.Complete(b.Context(), c, storage.Outcome{
									Status: storage.StatusSending, ProviderReference: uuid.NewString(), At: time.Now(),
								}); err != nil {
									b.Error(err)
								}
							})
						}
						each.Wait()
						done.Add(int64(len(claims)))
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(done.Load())/time.Since(start).Seconds(), "claims/s")
		})
	}
}
