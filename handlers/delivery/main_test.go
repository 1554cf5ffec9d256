package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testService = "26785a09-ab16-4eb0-8407-a37497a57506"
	testNumber  = "+447700900417"
	testText    = "marker text, code 58213"
)

// tester is what *testing.T and *rapid.T share.
type tester interface {
	require.TestingT
	Helper()
	Context() context.Context
}

// bench is a store with helpers around it.
type bench struct {
	t     tester
	store *memory.Store
	logs  *logBuffer
}

func newBench(t tester) *bench {
	t.Helper()
	s := memory.New()
	require.NoError(t, s.Open(t.Context()))
	return &bench{t: t, store: s, logs: &logBuffer{}}
}

func (b *bench) create(sender string) storage.Notification {
	b.t.Helper()
	return b.createOn(storage.SMS, sender)
}

func (b *bench) createOn(channel storage.Channel, sender string) storage.Notification {
	b.t.Helper()
	now := time.Now()
	c, err := b.store.Create(b.t.Context(), storage.Creation{Notification: storage.Notification{
		UUID: uuid.New(), ServiceID: testService, Channel: channel, To: testNumber, Body: testText,
		Sender: sender, CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
	}})
	require.NoError(b.t, err)
	return c.Notification
}

func (b *bench) get(id int64) storage.Notification {
	b.t.Helper()
	n, err := b.store.NotificationByID(context.Background(), testService, id)
	require.NoError(b.t, err)
	return n
}

func (b *bench) dispatcher(outbox Outbox, provider Provider, change ...func(*Config)) *Dispatcher {
	b.t.Helper()
	cfg := Config{
		Outbox:        outbox,
		Providers:     map[string]Provider{"fake": provider},
		Channels:      map[storage.Channel]string{storage.SMS: "fake"},
		SweepInterval: -1,
		Logger:        b.logs.logger(),
	}
	for _, f := range change {
		f(&cfg)
	}
	d, err := New(cfg)
	require.NoError(b.t, err)
	d.random = func() float64 { return 0.5 } // pauses are exactly their mean
	return d
}

// run runs the dispatcher until the returned function is called, which also
// waits for it to have nothing in flight.
func (b *bench) run(d *Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() {
		b.t.Helper()
		cancel()
		require.NoError(b.t, <-done)
		require.NoError(b.t, d.Wait(context.Background()))
	}
}

// providerFunc is a provider made of a function.
type providerFunc func(ctx context.Context, m Message) (Sent, error)

func (f providerFunc) Send(ctx context.Context, m Message) (Sent, error) { return f(ctx, m) }

// attempt is one call to a scripted provider.
type attempt struct {
	after     time.Duration // since the script was made
	reference string
}

// script answers attempt after attempt, the last answer for ever.
type script struct {
	start time.Time
	steps []error

	mu       sync.Mutex
	attempts []attempt
}

func newScript(steps ...error) *script { return &script{start: time.Now(), steps: steps} }

func (s *script) Send(_ context.Context, m Message) (Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := s.steps[min(len(s.attempts), len(s.steps)-1)]
	s.attempts = append(s.attempts, attempt{time.Since(s.start), m.Reference})
	return Sent{Delivered: true}, step
}

func (s *script) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]time.Duration, len(s.attempts))
	for i, a := range s.attempts {
		out[i] = a.after
	}
	return out
}

// logBuffer collects logs at every level.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines returns the log lines with this message.
func (l *logBuffer) lines(msg string) (out []map[string]any) {
	d := json.NewDecoder(bytes.NewReader([]byte(l.text())))
	for {
		var line map[string]any
		if d.Decode(&line) != nil {
			return out
		}
		if line["msg"] == msg {
			out = append(out, line)
		}
	}
}
