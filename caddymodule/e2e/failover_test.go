//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const bearer = "8a4b3c1e-2f7d-4d0c-9d52-7d0b7f3f2a10"

// told is a callback that a service got.
type told struct {
	ID, To, Status string
	Authorization  string `json:"-"`
}

// An outage from its beginning to its end: the first provider fails and is
// passed over, the second takes over and reports a failure of its own, the
// service is told, the operator retries, and the service is told again.
func TestFailover(t *testing.T) {
	t.Parallel()
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(failing.Close)
	second := newProvider(t, nil)
	var mu sync.Mutex
	var heard []told
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var n told
		assert.NoError(t, json.Unmarshal(body, &n))
		n.Authorization = r.Header.Get("Authorization")
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, n)
	}))
	t.Cleanup(service.Close)
	calledBack := func(times int) {
		t.Helper()
		eventually(t, patience, func() (bool, string) {
			mu.Lock()
			defer mu.Unlock()
			return len(heard) == times, fmt.Sprintf("the service was told %d times, not %d: %v", len(heard), times, heard)
		})
	}
	port := freePort(t)
	s := newServer(t)
	s.env = append(s.env, "RECEIPTS_SECRET="+receiptsSecret, "BEARER="+bearer)
	c := newClient(t, plainURL(port))
	s.start(t, config{
		port:    port,
		service: fmt.Sprintf("callback %s/told {env.BEARER}", service.URL),
		signpost: fmt.Sprintf(`delivery sms webhook {
			name first
			url %s/send
		}
		delivery sms webhook {
			name second
			url %s/send
			receipts {
				secret {env.RECEIPTS_SECRET}
				status lost technical-failure
			}
		}
		dispatch {
			breaker {
				failures 2
				open_for 1h
			}
		}`, failing.URL, second.URL),
		sites: "http://127.0.0.1:" + fmt.Sprint(freePort(t)) + " {\n metrics\n}\n",
	}.String())
	var sent []notification
	for i := range 3 {
		n := c.send(t, fmt.Sprint(i))
		sent = append(sent, c.await(t, n.ID, "sent"))
		assert.Equal(t, "second", sent[i].Sender)
	}
	var status struct {
		Routes    map[string][]string
		Providers []struct{ Name, Breaker string }
	}
	require.NoError(t, json.Unmarshal([]byte(s.request(t, http.MethodGet, "/signpost/status", "", "").body), &status))
	assert.Equal(t, []string{"first", "second"}, status.Routes["sms"])
	assert.Contains(t, status.Providers, struct{ Name, Breaker string }{"first", "open"})
	assert.Contains(t, s.ok(t, "signpost", "storage", "status", "--address", s.admin), "sms          by first, then second\n")
	assert.Contains(t, s.request(t, http.MethodGet, "/metrics", "", "").body, `caddy_signpost_delivery_breaker{provider="first",state="open"} 1`)

	receipt := func(reference, word string) {
		t.Helper()
		a, err := c.doAs("Bearer "+receiptsSecret, http.MethodPost, "/receipts/second", fmt.Appendf(nil, `{"reference":%q,"status":%q}`, reference, word))
		require.NoError(t, err)
		require.Equal(t, http.StatusNoContent, a.status, string(a.body))
	}
	calls := second.got()
	receipt(calls[0].reference, "delivered")
	calledBack(1)
	receipt(calls[1].reference, "lost")
	calledBack(2)
	assert.Equal(t, []told{
		{calls[0].reference, "+447723456789", "delivered", "Bearer " + bearer},
		{calls[1].reference, "+447723456789", "technical-failure", "Bearer " + bearer},
	}, heard)

	list := s.ok(t, "signpost", "delivery", "dead-letters", "--address", s.admin, "--service", serviceID)
	assert.Regexp(t, fmt.Sprintf(`(?m)^%d +%s +sms +second +1 `, sent[1].ID, serviceID), list)
	assert.NotContains(t, list, "7723456789")
	assert.Equal(t, http.StatusBadRequest, s.request(t, http.MethodGet, "/signpost/dead-letters?servce=x", "", "").status)
	assert.Equal(t, http.StatusBadRequest, s.request(t, http.MethodPost, "/signpost/dead-letters/retry", "application/json", "{}").status)
	for _, args := range [][]string{nil, {"--all", fmt.Sprint(sent[1].ID)}} {
		out := s.run(t, append([]string{"signpost", "delivery", "retry", "--address", s.admin}, args...)...)
		assert.Equal(t, 1, out.code)
		assert.Contains(t, out.stderr, "name ids, --service, --since or --until, or else say --all")
	}
	assert.Equal(t, "0\n", s.ok(t, "signpost", "delivery", "retry", "--address", s.admin, "--service", "another"))
	assert.Equal(t, "1\n", s.ok(t, "signpost", "delivery", "retry", "--address", s.admin, fmt.Sprint(sent[1].ID)))
	eventually(t, patience, func() (bool, string) { return len(second.got()) == 4, "it isn't sent again" })
	assert.Equal(t, calls[1].reference, second.got()[3].reference)
	c.await(t, sent[1].ID, "sent")
	receipt(calls[1].reference, "delivered")
	calledBack(3)
	assert.Equal(t, "delivered", heard[2].Status)
	assert.JSONEq(t, `{"dead_letters":[]}`, s.request(t, http.MethodGet, "/signpost/dead-letters", "", "").body)
}
