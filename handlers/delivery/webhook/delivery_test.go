package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/webhook"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

const service = "26785a09-ab16-4eb0-8407-a37497a57506"

func create(t *testing.T, store *memory.Store) storage.Notification {
	t.Helper()
	now := time.Now()
	c, err := store.Create(t.Context(), storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: service, Channel: storage.SMS, To: "+447700900417", Body: "hello",
		Sender: "webhook", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}})
	require.NoError(t, err)
	return c.Notification
}

// Drills F11 and F12: a provider in trouble gets the message again under the
// same reference, as often as it answered badly and not once more; the receipt
// then decides.
func TestTroubledProvider(t *testing.T) {
	var mu sync.Mutex
	var references []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client goes
		mu.Lock()
		references = append(references, r.Header.Get("Idempotency-Key"))
		asked := len(references)
		mu.Unlock()
		switch asked {
		case 1: // the answer is lost
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 4: // hangs
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprint(w, `{"message":{"id":"theirs-1"}}`)
		}
	}))
	defer srv.Close()
	provider, err := webhook.New(webhook.Config{URL: srv.URL, Timeout: 200 * time.Millisecond, ReferencePath: "message.id"})
	require.NoError(t, err)
	defer provider.Close() //nolint:errcheck // a test
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	results := make(chan delivery.Result, 100)
	d, err := delivery.New(delivery.Config{
		Outbox:    store,
		Providers: map[string]delivery.Provider{"webhook": provider},
		Channels:  map[storage.Channel]string{storage.SMS: "webhook"},
		Retry:     delivery.Retry{Initial: time.Millisecond, MaxRetryAfter: 5 * time.Millisecond},
		Observe:   func(e delivery.Event) { results <- e.Result },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	n := create(t, store)
	for range 4 {
		require.Equal(t, delivery.ResultRetry, <-results)
	}
	require.Equal(t, delivery.ResultSent, <-results)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, d.Wait(t.Context()))
	require.Len(t, references, 5)
	for _, r := range references {
		assert.Equal(t, n.UUID.String(), r)
	}
	got, err := store.NotificationByID(t.Context(), service, n.ID)
	require.NoError(t, err)
	assert.Equal(t, storage.StatusSending, got.Status)
	assert.Equal(t, "theirs-1", got.ProviderReference)

	receipts, err := delivery.NewReceipts(delivery.ReceiptsConfig{Outbox: store, Sender: "webhook", Secrets: []string{"s"}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("reference=theirs-1&status=delivered"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("provider", "s")
	w := httptest.NewRecorder()
	receipts.ServeHTTP(w, r)
	assert.Equal(t, http.StatusNoContent, w.Code)
	got, err = store.NotificationByID(t.Context(), service, n.ID)
	require.NoError(t, err)
	assert.Equal(t, storage.StatusDelivered, got.Status)
}

func TestLeaseMustExceedTimeout(t *testing.T) {
	provider, err := webhook.New(webhook.Config{URL: "https://sms.example.org/"})
	require.NoError(t, err)
	_, err = delivery.New(delivery.Config{
		Outbox: memory.New(), Providers: map[string]delivery.Provider{"webhook": provider}, Lease: webhook.DefaultTimeout,
	})
	require.ErrorContains(t, err, `the time-out of provider "webhook" (10s) must be shorter than the lease (10s)`)
}
