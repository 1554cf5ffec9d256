//go:build unix

package sqlite

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const benchService = "26785a09-ab16-4eb0-8407-a37497a57506"

// benchCreation is a notification of about 600 bytes with an idempotency key
// and a daily limit, as POST makes them.
func benchCreation(now time.Time) storage.Creation {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return storage.Creation{
		Notification: storage.Notification{
			UUID: uuid.Must(uuid.NewV7()), ServiceID: benchService, KeyName: "live", KeyType: storage.KeyNormal,
			Channel: storage.SMS, To: "+447700900123", Body: strings.Repeat("The appointment. ", 26), TemplateID: "1",
			TemplateVersion: 1, Sender: "log", CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
		},
		Idempotency: &storage.Idempotency{Key: key, ExpiresAt: now.Add(time.Minute)},
		Limits:      []storage.Limit{{Key: "daily/" + benchService + "/sms/2026-11-22", Max: 1 << 40, ExpiresAt: now.Add(48 * time.Hour)}},
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measure runs one b.N times from so many callers and reports rows per second,
// the median latency and CPU per row.
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

func openBench(b *testing.B) *Store {
	b.Helper()
	s := New(Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	require.NoError(b, s.Open(b.Context()))
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("group-commit/callers=%d", callers), func(b *testing.B) {
			s := openBench(b)
			measure(b, callers, func() error {
				_, err := s.Create(b.Context(), benchCreation(time.Now()))
				return err
			})
		})
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("transaction-per-row/callers=%d", callers), func(b *testing.B) {
			s := openBench(b)
			w := &writer{s: s, ctx: b.Context(), m: newMirror()}
			var err error
			w.c, err = dial(b.Context(), s.cfg.Path, "synchronous(full)", "wal_autocheckpoint(4000)", "cache_size(-8000)")
			require.NoError(b, err)
			defer func() { require.NoError(b, w.c.close()) }()
			require.NoError(b, w.m.load(b.Context(), w.c))
			var mu sync.Mutex
			measure(b, callers, func() error {
				c := benchCreation(time.Now())
				mu.Lock()
				defer mu.Unlock()
				return plainInsert(w, &c)
			})
		})
	}
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("raw-log/callers=%d", callers), func(b *testing.B) {
			l := newRawLog(b)
			row := make([]byte, 600)
			measure(b, callers, func() error { return l.append(row) })
		})
	}
}

// plainInsert stores the same rows in a transaction of its own.
func plainInsert(w *writer, c *storage.Creation) error {
	if _, err := w.c.exec(w.ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	args, err := insertArgs(&c.Notification)
	if err != nil {
		return err
	}
	p := creation{c: c, args: args, hash: w.m.idempotency.hash(benchService, c.Idempotency.Key)}
	if _, err := w.create(&p); err != nil {
		return err
	}
	if err := w.m.flush(w.ctx, w.c); err != nil {
		return err
	}
	w.m.commit()
	_, err = w.c.exec(w.ctx, "COMMIT")
	return err
}

// rawLog appends rows to a file with group commit: the bound that no database
// passes.
type rawLog struct {
	f    *os.File
	rows chan rawRow
	end  chan struct{}
}

type rawRow struct {
	data []byte
	done chan error
}

func newRawLog(b *testing.B) *rawLog {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "raw.log"))
	require.NoError(b, err)
	l := &rawLog{f: f, rows: make(chan rawRow, 1024), end: make(chan struct{})}
	go l.run()
	b.Cleanup(func() {
		close(l.rows)
		<-l.end
		require.NoError(b, f.Close())
	})
	return l
}

func (l *rawLog) run() {
	defer close(l.end)
	var buffer []byte
	var waiting []chan error
	for r := range l.rows {
		buffer, waiting = append(buffer[:0], r.data...), append(waiting[:0], r.done)
		for more := true; more && len(waiting) < maxBatch; {
			select {
			case r, more = <-l.rows:
				if more {
					buffer, waiting = append(buffer, r.data...), append(waiting, r.done)
				}
			default:
				more = false
			}
		}
		_, err := l.f.Write(buffer)
		if err == nil {
			err = l.f.Sync()
		}
		for _, done := range waiting {
			done <- err
		}
	}
}

func (l *rawLog) append(data []byte) error {
	r := rawRow{data, make(chan error, 1)}
	l.rows <- r
	return <-r.done
}
