//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// longPoll is a SignalR connection of a page, with a poll.
type longPoll struct {
	hub    *hubServer
	origin string
	query  string
	leave  context.CancelFunc
	// answer gets what came, and nothing when the page has gone.
	answer chan polled
}

type polled struct {
	C string
	D int
}

// negotiate begins a connection; status tells why there is none.
func (h *hubServer) negotiate(t testing.TB, origin string) (p *longPoll, status int) {
	t.Helper()
	got := h.ask(t, http.MethodGet, "/signalr/negotiate?clientProtocol=2.1", "", origin)
	if got.status != http.StatusOK {
		requireImpersonal(t, got)
		return nil, got.status
	}
	var negotiated struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(got.body, &negotiated))
	p = &longPoll{hub: h, origin: origin, query: "?" + url.Values{
		"transport": {"longPolling"}, "clientProtocol": {"2.1"}, "connectionToken": {negotiated.ConnectionToken},
	}.Encode()}
	for _, step := range []string{"connect", "start"} {
		require.Equal(t, http.StatusOK, p.step(t, step).status)
	}
	return p, got.status
}

func (p *longPoll) step(t testing.TB, step string) answer {
	t.Helper()
	return p.hub.send(t, p.newRequest(t, step))
}

func (p *longPoll) newRequest(t testing.TB, step string) *http.Request {
	t.Helper()
	req := p.hub.newRequest(t, http.MethodPost, "/signalr/"+step+p.query, "messageId=s-0%2C1", p.origin)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// poll waits for the hub, until the page leaves.
func (p *longPoll) poll(t testing.TB) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	p.leave, p.answer = leave, make(chan polled, 1)
	req := p.newRequest(t, "poll").WithContext(ctx)
	go func(answer chan polled) {
		defer close(answer)
		resp, err := p.hub.client.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		var got polled
		if json.NewDecoder(resp.Body).Decode(&got) == nil {
			answer <- got
		}
	}(p.answer)
}

// Pages that hang in a poll, that reload, that leave without a word and that
// never read: when they are gone, nothing of them is left, and there are never
// more than the hub allows.
func TestHubPolls(t *testing.T) {
	const (
		own    = "https://sign.example.org"
		most   = 32
		rounds = 5
		other  = 4 // descriptors and goroutines that come and go for reasons of their own
	)
	h, a := trustingHub(t, "", own)
	// Polls hold their connections, so that those of the others are not theirs.
	h.client.Transport.(*http.Transport).DisableKeepAlives = true
	documents := twoDocuments()
	sign := func() {
		t.Helper()
		h.requireSigned(t, h.ask(t, http.MethodPost, "/hub/v1/sign", signBody(t, a.mint(t, a.claims(documents, nil))), own), "RS256", documents)
	}
	sign()
	goroutines, descriptors := h.goroutines(t), h.descriptors(t)

	all := make([]*longPoll, most)
	for i := range all {
		all[i], _ = h.negotiate(t, own)
		require.NotNil(t, all[i], "connection %d", i)
		all[i].poll(t)
	}
	eventually(t, patience, func() (bool, string) {
		n := h.descriptors(t)
		return n >= descriptors+most-other, fmt.Sprintf("%d descriptors, for %d polls", n, most)
	})
	_, status := h.negotiate(t, own)
	require.Equal(t, http.StatusServiceUnavailable, status, "one too many")
	for range rounds {
		for _, p := range all {
			before := p.answer
			p.poll(t)
			got, ok := <-before
			require.True(t, ok, "a new poll answers the one before")
			require.Zero(t, got.D)
		}
	}
	// One never reads what it asks for.
	var deaf []net.Conn
	for _, p := range all[:4] {
		conn, err := net.Dial("tcp", address(h.port))
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /signalr/poll%s HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nContent-Length: 1000\r\n\r\nhalf a bo", p.query, address(h.port), own)
		require.NoError(t, err)
		deaf = append(deaf, conn)
	}
	sign()

	for i, p := range all {
		if i%2 == 0 {
			p.leave()
			continue
		}
		require.Equal(t, http.StatusOK, p.step(t, "abort").status)
		got, ok := <-p.answer
		require.True(t, ok)
		require.Equal(t, 1, got.D, "the poll hears that its connection is over")
		require.Equal(t, http.StatusBadRequest, p.step(t, "start").status, "it is forgotten")
	}
	for _, conn := range deaf {
		require.NoError(t, conn.Close())
	}
	eventually(t, patience, func() (bool, string) {
		g, d := h.goroutines(t), h.descriptors(t)
		return g <= goroutines+other && d <= descriptors+other, fmt.Sprintf("%d goroutines and %d descriptors, where there were %d and %d", g, d, goroutines, descriptors)
	})
	sign()

	// Whoever was aborted has made room, and a hub that is stopped ends what hangs.
	last := make([]*longPoll, most/2)
	for i := range last {
		last[i], _ = h.negotiate(t, own)
		require.NotNil(t, last[i])
		last[i].poll(t)
	}
	eventually(t, patience, func() (bool, string) {
		n := h.descriptors(t)
		return n >= descriptors+len(last)-other, fmt.Sprintf("%d descriptors", n)
	})
	began := time.Now()
	h.stop(t)
	t.Logf("with %d polls hanging the hub took %s to stop", len(last), time.Since(began).Round(time.Millisecond))
	for _, p := range last {
		<-p.answer
	}
	h.requireDiscreet(t, a)
}
