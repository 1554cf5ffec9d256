package delivery

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestCallbackWire makes real calls.
func TestCallbackWire(t *testing.T) {
	slow := make(chan struct{})
	mux := http.NewServeMux()
	var bodies []string
	mux.HandleFunc("POST /receipts", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		bodies = append(bodies, string(body))
		if r.Header.Get("Authorization") != "Bearer s3cret" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(make([]byte, 64<<10)) // not read to its end
	})
	mux.Handle("POST /moved", http.RedirectHandler("/receipts", http.StatusTemporaryRedirect))
	mux.HandleFunc("POST /slow", func(http.ResponseWriter, *http.Request) { <-slow })
	s := httptest.NewServer(mux)
	defer s.Close()
	defer close(slow)

	n := storage.Notification{UUID: uuid.New(), Status: storage.StatusDelivered, Channel: storage.SMS, To: testNumber, CreatedAt: time.Now()}
	for path, want := range map[string]string{
		"/receipts": "",
		"/moved":    "the service answered 307; redirects are not followed",
		"/slow":     "no answer from the service within 50ms",
		"/nothing":  "the service answered 404",
	} {
		c, err := NewCallbacks(CallbacksConfig{
			Outbox:  newBench(t).store,
			Targets: map[string]CallbackTarget{testService: {URL: s.URL + path, Bearer: "s3cret"}},
			Timeout: map[string]time.Duration{"/slow": 50 * time.Millisecond}[path],
		})
		require.NoError(t, err)
		failure := c.call(c.targets.of(testService), &n)
		require.NoError(t, c.Close())
		if want == "" {
			assert.Nil(t, failure)
			continue
		}
		require.NotNil(t, failure, path)
		assert.Equal(t, want, failure.Reason)
	}
	want, err := newCallbackBody(&n)
	require.NoError(t, err)
	assert.Equal(t, []string{string(want)}, bodies)
}
