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
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// serverTime is 0 where it isn't known.
func serverTime() time.Duration {
	server, err := pgtest.Binary()
	if err != nil {
		return 0
	}
	t, err := server.CPUTime()
	if err != nil {
		return 0
	}
	return t
}

// measured is what a number of rows took.
type measured struct {
	rows                 int
	took, client, server time.Duration // client and server: processor time of this process and of the server's
	latencies            []time.Duration
}

func (m *measured) perSecond() float64 { return float64(m.rows) / m.took.Seconds() }

func (m *measured) median() time.Duration {
	slices.Sort(m.latencies)
	return m.latencies[len(m.latencies)/2]
}

func (m *measured) perRow(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(m.rows)
}

func (m *measured) report(b *testing.B, prefix string) {
	b.Helper()
	b.ReportMetric(m.perSecond(), prefix+"rows/s")
	b.ReportMetric(float64(m.median().Nanoseconds())/1e3, prefix+"p50-us")
	b.ReportMetric(m.perRow(m.client), prefix+"client-us/row")
	b.ReportMetric(m.perRow(m.server), prefix+"server-us/row")
}

// add runs one so many times from so many callers.
func (m *measured) add(b *testing.B, callers, rows int, one func() error) {
	b.Helper()
	latencies := make([][]time.Duration, callers)
	var left atomic.Int64
	left.Store(int64(rows))
	var wg sync.WaitGroup
	server := serverTime() // which takes some of ours
	client, start := cpuTime(), time.Now()
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
	m.took += time.Since(start)
	m.client += cpuTime() - client
	m.server += serverTime() - server
	m.rows += rows
	m.latencies = append(m.latencies, slices.Concat(latencies...)...)
}

// measure runs one b.N times from so many callers.
func measure(b *testing.B, callers int, one func() error) {
	b.Helper()
	var m measured
	b.ResetTimer()
	m.add(b, callers, b.N, one)
	b.StopTimer()
	m.report(b, "")
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

var settle sync.Once

// settled makes the server one that has run for a while, which writes over old
// files of its log. A new one fills new ones with zeros first.
func settled(b *testing.B) {
	b.Helper()
	settle.Do(func() {
		server := pgtest.Shared(b)
		require.NoError(b, durable(server, true))
		c, err := pgx.Connect(b.Context(), server.DSN("postgres"))
		require.NoError(b, err)
		defer c.Close(b.Context())
		for _, text := range []string{`ALTER SYSTEM SET min_wal_size = '1GB'`, `SELECT pg_reload_conf()`} {
			_, err := c.Exec(b.Context(), text)
			require.NoError(b, err)
		}
		for range 60 { // of 16 MiB
			_, err := c.Exec(b.Context(), `SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()`)
			require.NoError(b, err)
		}
		_, err = c.Exec(b.Context(), `CHECKPOINT`)
		require.NoError(b, err)
	})
}

// BenchmarkCreate compares creations (create) with the same ones one transaction
// each (single), and with the least that would keep a notification, one durable
// INSERT each (insert): of the same row into the table notification itself, with
// its columns and indexes, but no idempotency key, limit, queue or totals. They
// take turns, since the machine's other work varies:
//
//	go test -run '^$' -bench Create -benchtime 10x ./handlers/storage/postgres
//
// The processor time of the server is that of all its processes. The ratios are
// to the INSERTs; cpu is client and server together.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchCreate(b, callers) })
	}
}

func benchCreate(b *testing.B, callers int) {
	connections := min(callers, 64)
	settled(b)
	create, single, insert := benchStore(b, 0), benchStore(b, connections), benchStore(b, connections)
	kinds := []struct {
		name string
		rows int // a turn
		one  func() error
		measured
	}{
		{name: "insert", rows: 500 + 50*callers, one: func() error { return insertPlain(b.Context(), insert.pool) }},
		{name: "single", rows: 250 + callers, one: func() error {
			c, err := sample(time.Now()).Normalised()
			if err != nil {
				return err
			}
			alone := []*op[*creation]{{arg: &creation{c: c}}}
			single.runCreations(b.Context(), time.Minute, alone)
			return alone[0].err
		}},
		{name: "create", rows: 500 + 100*callers, one: func() error {
			_, err := create.Create(b.Context(), sample(time.Now()))
			return err
		}},
	}
	for i := range kinds {
		var warm measured
		warm.add(b, callers, 50*connections, kinds[i].one)
	}
	for b.Loop() {
		for i := range kinds {
			kinds[i].add(b, callers, kinds[i].rows, kinds[i].one)
		}
	}
	plain := &kinds[0].measured
	for i := range kinds {
		m := &kinds[i].measured
		m.report(b, kinds[i].name+"-")
		if i > 0 {
			b.ReportMetric(m.perSecond()/plain.perSecond(), kinds[i].name+"/insert-rows")
			b.ReportMetric(float64(m.median())/float64(plain.median()), kinds[i].name+"/insert-p50")
			b.ReportMetric(m.perRow(m.client+m.server)/plain.perRow(plain.client+plain.server), kinds[i].name+"/insert-cpu")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// insertPlain stores the row of a notification and nothing else.
func insertPlain(ctx context.Context, pool *pgxpool.Pool) error {
	n := sample(time.Now()).Notification
	var id int64
	return pool.QueryRow(ctx, `INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version,
		key_name, key_type, recipient, template_id, reference, subject, body)
		VALUES (nextval('signpost.notification_id'), $1, $2, $3, NULL, 1, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
		[16]byte(n.UUID), n.CreatedAt.UnixMicro(), n.ExpiresAt.UnixMicro(), n.TemplateVersion, n.KeyName, string(n.KeyType), n.To,
		n.TemplateID, n.Reference, n.Subject, n.Body).Scan(&id)
}

// BenchmarkRead reads one notification after another by id.
func BenchmarkRead(b *testing.B) {
	s := benchStore(b, 0)
	var ids []int64
	for range 1000 {
		created, err := s.Create(b.Context(), sample(time.Now()))
		require.NoError(b, err)
		ids = append(ids, created.Notification.ID)
	}
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var next atomic.Int64
			measure(b, callers, func() error {
				_, err := s.NotificationByID(b.Context(), service, ids[next.Add(1)%int64(len(ids))])
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
