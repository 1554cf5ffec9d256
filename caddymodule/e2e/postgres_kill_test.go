//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// roamer posts its share through all nodes in turn; a request without an answer
// goes to the next node with the same token.
type roamer struct {
	nodes    func() []*node
	accepted map[int64]string
	err      error
}

func (r *roamer) post(turn int, code string, deadline time.Time) {
	body := smsBody(code)
	authorization, signed := "", time.Time{}
	for ; ; turn++ {
		nodes := r.nodes()
		c := nodes[turn%len(nodes)].c
		if time.Since(signed) > 20*time.Second {
			var err error
			if authorization, err = c.sign(http.MethodPost, "/notifications/sms", body); err != nil {
				r.err = err
				return
			}
			signed = time.Now()
		}
		a, err := c.doAs(authorization, http.MethodPost, "/notifications/sms", body)
		if err == nil && a.status == http.StatusCreated {
			n, err := parseNotification(a.body)
			if err != nil {
				r.err = err
				return
			}
			r.accepted[n.ID] = code
			return
		}
		if err == nil && a.status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			r.err = fmt.Errorf("%d %s (%w)", a.status, a.body, err)
			return
		}
		time.Sleep(20 * time.Millisecond) // the node is away
	}
}

// Three nodes on one database, one of which is killed and restarted again and
// again, and a fourth that joins: every 201 ends delivered, the provider sees
// each reference at least once, and twins only of what a kill has interrupted.
func TestNodesKill(t *testing.T) {
	const (
		posters   = 12
		perKill   = 8 + 8 // sends under way, and answers that were not recorded yet
		lease     = 30 * time.Second
		takenOver = lease + 5*time.Second
	)
	total := setting(t, "SIGNPOST_DRILL_NODES", 2000, 2000)
	every, joins := 500*time.Millisecond, int64(1) // of a short form
	if total >= 20_000 {
		every, joins = 5*time.Second, int64(total/2)
	}
	_, dsn := newDatabase(t)
	stand := newProvider(t, nil)
	cfg := config{
		postgres: dsn, api: noLimits,
		signpost: "delivery sms webhook {\n url " + stand.URL + "/send\n delivered_on_accept\n}\n",
	}
	nodes := make([]*node, 4)
	for i := range nodes {
		nodes[i] = newNode(t, cfg)
	}
	var up atomic.Int64
	for _, n := range nodes[:3] {
		n.run(t)
		up.Add(1)
	}
	running := func() []*node { return nodes[:up.Load()] }

	began := time.Now()
	var work sync.WaitGroup
	var done atomic.Int64
	all := make([]*roamer, posters)
	for i := range all {
		all[i] = &roamer{nodes: running, accepted: make(map[int64]string)}
		work.Go(func() {
			for j := i; j < total && all[i].err == nil; j += posters {
				all[i].post(j, fmt.Sprintf("n%d.", j), time.Now().Add(time.Minute))
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { work.Wait(); close(finished) }()
	kills := 0
	var lastKill time.Time
	for ended := false; !ended; {
		select {
		case <-finished:
			ended = true
			if kills > 0 {
				continue
			}
		case <-time.After(every):
		}
		nodes[1].kill()
		lastKill = time.Now()
		kills++
		nodes[1].run(t)
		if done.Load() >= joins && up.Load() == 3 {
			nodes[3].run(t)
			up.Add(1)
		}
	}
	posted := time.Since(began)
	require.EqualValues(t, len(nodes), up.Load(), "the last node has not joined")
	accepted := make(map[int64]string, total)
	for _, r := range all {
		require.NoError(t, r.err)
		for id, code := range r.accepted {
			accepted[id] = code
		}
	}
	require.Len(t, accepted, total, "two requests got one notification")

	// What the killed node held is taken over.
	nodes[0].c.awaitDelivered(t, max(takenOver-time.Since(lastKill), 0)+time.Duration(total)*5*time.Millisecond)
	over := time.Since(lastKill)
	stored := nodes[2].c.all(t)
	require.Len(t, stored, total)
	for id, code := range accepted {
		require.Equal(t, messageStart+code, stored[id].Message, "notification %d was answered 201", id)
		require.Equal(t, "delivered", stored[id].Status)
	}
	seen := make(map[string]int, total)
	calls := stand.got()
	for _, c := range calls {
		seen[c.reference]++
	}
	assert.Len(t, seen, total, "the provider must have seen each reference")
	twins := len(calls) - len(seen)
	assert.LessOrEqual(t, twins, kills*perKill, "twins that the kills don't explain")
	t.Logf("%d notifications through 3 to 4 nodes in %s (%.0f/s), %d kills, %d twins; all delivered %s after the last kill",
		total, posted.Round(time.Millisecond), float64(total)/posted.Seconds(), kills, twins, over.Round(time.Millisecond))
}
