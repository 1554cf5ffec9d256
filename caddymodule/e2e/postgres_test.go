//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// newDatabase makes a database on the test binary's own PostgreSQL server.
func newDatabase(t testing.TB) (s *pgtest.Server, dsn string) {
	t.Helper()
	s = pgtest.Shared(t)
	name, err := s.Create(t.Context(), "")
	require.NoError(t, err)
	return s, s.DSN(name)
}

// node is one of several servers on one database.
type node struct {
	*server
	c         *client
	port      int
	caddyfile string
}

// newNode prepares a node with a site of its own.
func newNode(t testing.TB, c config) *node {
	t.Helper()
	n := &node{server: newServer(t), port: freePort(t)}
	c.port = n.port
	n.c, n.caddyfile = newClient(t, plainURL(n.port)), c.String()
	return n
}

func (n *node) run(t testing.TB) { n.start(t, n.caddyfile) }

// startNodes starts two nodes, one after the other.
func startNodes(t testing.TB, c config) (one, two *node) {
	t.Helper()
	one, two = newNode(t, c), newNode(t, c)
	one.run(t)
	two.run(t)
	return one, two
}

// A token creates one notification, however many nodes it reaches at once.
func TestIdempotencyAcrossNodes(t *testing.T) {
	t.Parallel()
	_, dsn := newDatabase(t)
	one, two := startNodes(t, config{postgres: dsn, api: noLimits})
	for round := range 20 {
		body := smsBody(fmt.Sprint(round))
		authorization, err := one.c.sign(http.MethodPost, "/notifications/sms", body)
		require.NoError(t, err)
		var running sync.WaitGroup
		answers := make([]answer, 8)
		for i := range answers {
			c := []*client{one.c, two.c}[i%2]
			running.Go(func() {
				var err error
				answers[i], err = c.doAs(authorization, http.MethodPost, "/notifications/sms", body)
				assert.NoError(t, err)
			})
		}
		running.Wait()
		fresh := 0
		for _, a := range answers {
			require.Equal(t, http.StatusCreated, a.status, string(a.body))
			assert.Equal(t, string(answers[0].body), string(a.body))
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		}
		assert.Equal(t, 1, fresh, "round %d", round)
	}
	assert.Equal(t, 20, two.c.list(t, "/notifications").Total)
	one.c.awaitDelivered(t, patience)
}

// A used token is used on every node.
func TestReplayAcrossNodes(t *testing.T) {
	t.Parallel()
	_, dsn := newDatabase(t)
	var clients [2]*client
	for i := range clients {
		port := freePort(t)
		s := newServer(t)
		s.start(t, config{postgres: dsn, sites: fmt.Sprintf("http://127.0.0.1:%d {\n notify_auth {\n  replay reject\n }\n respond ok\n}\n", port)}.String())
		clients[i] = newClient(t, plainURL(port))
	}
	for round := range 20 {
		body := fmt.Appendf(nil, `{"round":%d}`, round)
		authorization, err := clients[0].sign(http.MethodPost, "/x", body)
		require.NoError(t, err)
		var running sync.WaitGroup
		var statuses [2]int
		for i, c := range clients {
			running.Go(func() {
				a, err := c.doAs(authorization, http.MethodPost, "/x", body)
				assert.NoError(t, err)
				statuses[i] = a.status
			})
		}
		running.Wait()
		assert.ElementsMatch(t, []int{http.StatusOK, http.StatusForbidden}, statuses[:])
	}
}

// A daily limit is that of all nodes together.
func TestLimitAcrossNodes(t *testing.T) {
	t.Parallel()
	_, dsn := newDatabase(t)
	const limit, callers, each = 25, 8, 10
	one, two := startNodes(t, config{postgres: dsn, api: fmt.Sprintf("rate_limit 0\n\t\tdaily_limit %d", limit)})
	var mu sync.Mutex
	statuses := make(map[int]int)
	var running sync.WaitGroup
	for i := range callers {
		c := []*client{one.c, two.c}[i%2]
		running.Go(func() {
			for j := range each {
				a, err := c.do(http.MethodPost, "/notifications/sms", smsBody(fmt.Sprintf("%d-%d", i, j)))
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
	assert.Equal(t, map[int]int{http.StatusCreated: limit, http.StatusTooManyRequests: callers*each - limit}, statuses)
}

// Of 64 uploads at once over two nodes one wins, and both nodes say which.
func TestUploadsOverNodes(t *testing.T) {
	t.Parallel()
	const uploads, rounds = 64, 3
	_, dsn := newDatabase(t)
	cards := newAuthority(t)
	first := plainApplication(t)
	public := strings.TrimSuffix(first.base, signingPath)
	second := first.at(plainURL(freePort(t))+signingPath, first.http)
	for _, a := range []*application{first, second} {
		s := newServer(t)
		s.write(t, "cards.pem", cards.pem())
		site := signingSite(public, "trust_pool file cards.pem")
		// Both go by the first one's URL, as behind a load balancer.
		site = strings.Replace(site, public, strings.TrimSuffix(a.base, signingPath), 1)
		s.start(t, config{postgres: dsn, signpost: a.block(t), sites: site}.String())
	}
	for range rounds {
		documents := twoDocuments()
		token := first.downloaded(t, documents, nil).Token
		answers, bodies := make([]answer, uploads), make([]string, uploads)
		for i := range bodies {
			bodies[i] = cards.issue(t, nil).signAll(t, "RS256", documents).json(t)
		}
		start := make(chan struct{})
		var running sync.WaitGroup
		for i := range uploads {
			a := []*application{first, second}[i%2]
			running.Go(func() {
				<-start
				answers[i] = a.upload(t, token, bodies[i])
			})
		}
		close(start)
		running.Wait()
		winner := -1
		for i, got := range answers {
			if got.status == http.StatusOK {
				assert.Equal(t, -1, winner, "two uploads won")
				winner = i
				continue
			}
			requireRefused(t, got, http.StatusBadRequest, textAlreadySigned)
		}
		require.GreaterOrEqual(t, winner, 0)
		assert.JSONEq(t, bodies[winner], string(second.result(t, token).body))
	}
}

// A node's data moves to PostgreSQL while it runs, and what has come since after
// it has stopped: ids, queue, keys.
func TestStorageCopy(t *testing.T) {
	t.Parallel()
	_, dsn := newDatabase(t)
	port := freePort(t)
	c := newClient(t, plainURL(port))
	s := newServer(t)
	stand := newProvider(t, func(int) bool { return true })
	before := config{port: port, signpost: "delivery sms webhook {\n url " + stand.URL + "/send\n}\n"}
	s.start(t, before.String())
	stored := strings.TrimSpace(s.ok(t, "signpost", "service", "add", "Stored", "--address", s.admin))
	key := s.ok(t, "signpost", "service", "key", "add", stored, "live", "--address", s.admin)
	secret := strings.Fields(strings.Split(key, "\n")[1])[1]
	other := *c
	other.identity = identity{stored, secret}
	var ids []int64
	for i := range 10 {
		ids = append(ids, c.send(t, fmt.Sprint(i)).ID)
	}
	move := []string{"signpost", "storage", "copy", "--from", "sqlite:signpost.db", "--to", "postgres:" + dsn, "--secrets-key", nodesKey}
	seen := s.ok(t, append(move, "--dry-run")...)
	assert.Regexp(t, `(?m)^notification +10 +0 +differs$`, seen)
	early := s.ok(t, move...)
	assert.Regexp(t, `(?m)^notification +10 +10$`, early)
	assert.Contains(t, early, "The source is in use")
	for i := range 10 {
		ids = append(ids, c.send(t, fmt.Sprint(10+i)).ID)
	}
	body := smsBody("again")
	authorization, err := c.sign(http.MethodPost, "/notifications/sms", body)
	require.NoError(t, err)
	first, err := c.doAs(authorization, http.MethodPost, "/notifications/sms", body)
	require.NoError(t, err)
	s.stop(t)
	out := s.ok(t, move...)
	assert.Regexp(t, `(?m)^notification +21 +21$`, out, "all are in flight")
	assert.Contains(t, out, "the target is complete")
	assert.Contains(t, s.ok(t, append(move, "--verify")...), "are the same")

	// Now delivery works, by a provider of the same name.
	works := newProvider(t, nil)
	after := config{port: port, postgres: dsn, signpost: "delivery sms webhook {\n url " + works.URL + "/send\n delivered_on_accept\n}\n"}
	s.start(t, after.String())
	for i, id := range ids {
		assert.Equal(t, messageStart+fmt.Sprint(i), c.get(t, id).Message)
	}
	second, err := c.doAs(authorization, http.MethodPost, "/notifications/sms", body)
	require.NoError(t, err)
	assert.Equal(t, string(first.body), string(second.body))
	assert.Equal(t, "true", second.header.Get("Idempotent-Replayed"))
	other.must(t, http.StatusOK, http.MethodGet, "/notifications", nil)
	c.awaitDelivered(t, patience*2)
	assert.Greater(t, c.send(t, "new").ID, ids[len(ids)-1])
	s.stop(t)
	again := s.run(t, move...)
	assert.Equal(t, 1, again.code)
	assert.Contains(t, again.stderr, "has been used since")
}
