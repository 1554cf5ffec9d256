//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const receiptsSecret = "5f0d1c1e-7a56-4b0e-9f5e-3f1c6c6d9a11"

// call is one request that a stand-in for a provider got.
type call struct {
	reference   string
	idempotency string
	to, message string
}

// provider is a stand-in for a provider of text messages. It answers 202, but
// the calls that drop chooses get no answer.
type provider struct {
	*httptest.Server
	drop func(nth int) bool

	mu    sync.Mutex
	calls []call
}

func newProvider(t testing.TB, drop func(nth int) bool) *provider {
	t.Helper()
	p := &provider{drop: drop}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct{ To, Message, Reference string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &in) != nil {
		http.Error(w, "not what a provider expects", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.calls = append(p.calls, call{in.Reference, r.Header.Get("Idempotency-Key"), in.To, in.Message})
	nth := len(p.calls)
	p.mu.Unlock()
	if p.drop != nil && p.drop(nth) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (p *provider) got() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]call{}, p.calls...)
}

func TestWebhookDelivery(t *testing.T) {
	t.Parallel()
	stand := newProvider(t, func(nth int) bool { return nth == 1 })
	port := freePort(t)
	s := newServer(t)
	s.env = append(s.env, "RECEIPTS_SECRET="+receiptsSecret)
	s.start(t, config{port: port, signpost: fmt.Sprintf(`delivery sms webhook {
			name carrier
			url %s/send
			receipts {
				secret {env.RECEIPTS_SECRET}
			}
		}`, stand.URL)}.String())
	c := newClient(t, plainURL(port))

	n := c.send(t, "314")
	assert.Equal(t, "created", n.Status)
	assert.Equal(t, "carrier", n.Sender)
	// The first answer is lost, so that the call comes again.
	eventually(t, patience, func() (bool, string) {
		status := c.get(t, n.ID).Status
		require.Contains(t, []string{"created", "sent"}, status, "before the receipt")
		return len(stand.got()) == 2, fmt.Sprintf("the provider got %d calls, not 2", len(stand.got()))
	})
	calls := stand.got()
	assert.Equal(t, call{calls[0].reference, calls[0].reference, "+447723456789", messageStart + "314"}, normal(calls[0]))
	assert.NotEmpty(t, calls[0].reference)
	assert.Equal(t, calls[0], calls[1], "the retry must carry the same reference")
	c.await(t, n.ID, "sent")

	receipt := func(secret, reference, status string) answer {
		body := fmt.Sprintf(`{"reference":%q,"status":%q}`, reference, status)
		authorization := ""
		if secret != "" {
			authorization = "Bearer " + secret
		}
		a, err := c.doAs(authorization, http.MethodPost, "/receipts/carrier", []byte(body))
		require.NoError(t, err)
		return a
	}
	for _, tc := range []struct {
		secret, reference, status string
		want                      int
	}{
		{"", calls[0].reference, "delivered", http.StatusUnauthorized},
		{secretOne, calls[0].reference, "delivered", http.StatusUnauthorized},
		{receiptsSecret, "00000000-0000-4000-8000-000000000000", "delivered", http.StatusNotFound},
		{receiptsSecret, calls[0].reference, "abducted", http.StatusUnprocessableEntity},
	} {
		a := receipt(tc.secret, tc.reference, tc.status)
		assert.Equal(t, tc.want, a.status, string(a.body))
	}
	assert.Equal(t, "sent", c.get(t, n.ID).Status)

	assert.Equal(t, http.StatusNoContent, receipt(receiptsSecret, calls[0].reference, "delivered").status)
	got := c.get(t, n.ID)
	assert.Equal(t, "delivered", got.Status)
	assert.NotEmpty(t, got.SentAt)
	assert.NotEmpty(t, got.DeliveredAt)
	// States only move forward.
	for _, late := range []string{"sent", "failed", "delivered"} {
		assert.Equal(t, http.StatusNoContent, receipt(receiptsSecret, calls[0].reference, late).status)
		assert.Equal(t, got, c.get(t, n.ID))
	}
	assert.Len(t, stand.got(), 2)

	// The command waits for the receipt as well.
	done := make(chan output, 1)
	go func() {
		done <- execute(t, s.dir, append(s.env, "SIGNPOST_URL="+plainURL(port), "SIGNPOST_SERVICE="+serviceID, "SIGNPOST_SECRET="+secretOne),
			"", binary, "signpost", "notify", "send", "--to", "07723456789", "--template", "1", "-p", "code=2", "--wait")
	}()
	eventually(t, patience, func() (bool, string) {
		return c.list(t, "/notifications?status=sent").Total == 1, "the second notification isn't sent"
	})
	assert.Equal(t, http.StatusNoContent, receipt(receiptsSecret, stand.got()[2].reference, "delivered").status)
	out := <-done
	assert.Zero(t, out.code, out.all())
	assert.True(t, strings.HasSuffix(out.stdout, "\ndelivered\n"), out.stdout)
}

// normal writes the recipient in the international form, whether or not with a
// plus.
func normal(c call) call {
	c.to = "+" + strings.TrimPrefix(c.to, "+")
	return c
}
