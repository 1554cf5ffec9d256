//go:build linux

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startV2Nodes starts three nodes on one database.
func startV2Nodes(t testing.TB, api string) (clients []*v2Client) {
	t.Helper()
	_, dsn := newDatabase(t)
	for range 3 {
		n := newNode(t, config{postgres: dsn, service: v2Service, api: api})
		n.run(t)
		clients = append(clients, newV2Client(t, n.c.base))
	}
	return clients
}

// An idempotency key creates one notification, however many nodes it reaches at
// once.
func TestV2IdempotencyAcrossNodes(t *testing.T) {
	t.Parallel()
	clients := startV2Nodes(t, noLimits)
	const rounds = 10
	for round := range rounds {
		_, ids := sameKey(t, fmt.Sprint("round-", round), clients...)
		assert.Len(t, ids, 1)
	}
	assert.Len(t, objects(t, clients[0].get(t, "/v2/notifications")["notifications"]), rounds)
	other := object{"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": "other"}}
	for _, c := range clients {
		assert.Equal(t, faults(http.StatusUnprocessableEntity, "IdempotencyKeyError", "This Idempotency-Key was used with another request"),
			c.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/v2/notifications/sms", other, "Idempotency-Key", "round-0"))
	}
}

// The rate limit is that of all nodes together.
func TestV2RateLimitAcrossNodes(t *testing.T) {
	t.Parallel()
	const limit, each = 120, 40
	burst := int(math.Ceil(limit/3.0)) + 1
	clients := startV2Nodes(t, fmt.Sprintf("rate_limit %d\n\t\tdaily_limit 0", limit))
	body := marshal(t, object{"phone_number": "07700900000", "template_id": smsTemplate, "personalisation": object{"name": "x"}})
	var mu sync.Mutex
	statuses := make(map[int]int)
	var running sync.WaitGroup
	started := time.Now()
	for _, c := range clients {
		running.Go(func() {
			for range each {
				a, err := c.do(http.MethodPost, "/v2/notifications/sms", body)
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				statuses[a.status]++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	refilled := int(time.Since(started).Seconds()*limit/60) + 1
	require.Equal(t, len(clients)*each, statuses[http.StatusCreated]+statuses[http.StatusTooManyRequests], "%v", statuses)
	assert.GreaterOrEqual(t, statuses[http.StatusCreated], burst)
	assert.LessOrEqual(t, statuses[http.StatusCreated], burst+refilled)
}
