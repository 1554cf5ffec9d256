//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// becomeOlder has a server run the older binary.
func (s *server) becomeOlder(path string) {
	s.env = append(s.env, "OLDER="+path)
	s.prefix = []string{"sh", "-c", `shift; exec "$OLDER" "$@"`, "sh"}
}

// refused runs a configuration that must end with this text.
func (s *server) refused(t *testing.T, caddyfile, text string) {
	t.Helper()
	s.launch(t, caddyfile)
	select {
	case <-s.exited:
		assert.NotZero(t, s.cmd.ProcessState.ExitCode())
	case <-time.After(patience):
		t.Errorf("caddy does not end, but should with: %s", text)
	}
	b, err := os.ReadFile(s.log)
	require.NoError(t, err)
	assert.Contains(t, string(b), text)
	s.kill()
}

// rolling is a load on nodes of which some come and go. Who finds a node gone
// goes to the next one, as a load balancer does; any answer but 201 is a fault.
type rolling struct {
	mu       sync.Mutex
	nodes    []*node
	accepted map[int64]string
	gone     int // requests without an answer, which were sent again
	count    atomic.Int64
	stop     chan struct{}
	running  sync.WaitGroup
}

func (r *rolling) serve(nodes ...*node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = nodes
}

func (r *rolling) run(t *testing.T, posters int) {
	r.accepted, r.stop = make(map[int64]string), make(chan struct{})
	for i := range posters {
		r.running.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-r.stop:
					return
				default:
				}
				if !assert.NoError(t, r.post(i+j, fmt.Sprintf("%d-%d.", i, j))) {
					return
				}
			}
		})
	}
}

func (r *rolling) post(turn int, code string) error {
	body := smsBody(code)
	authorization, err := configured.sign(http.MethodPost, "/notifications/sms", body)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; turn++ {
		r.mu.Lock()
		n := r.nodes[turn%len(r.nodes)]
		r.mu.Unlock()
		a, err := n.c.doAs(authorization, http.MethodPost, "/notifications/sms", body)
		if err != nil && time.Now().Before(deadline) {
			r.mu.Lock()
			r.gone++
			r.mu.Unlock()
			continue
		}
		if err != nil || a.status != http.StatusCreated {
			return fmt.Errorf("%d %s (%w)", a.status, a.body, err)
		}
		v, err := parseNotification(a.body)
		r.mu.Lock()
		r.accepted[v.ID] = messageStart + code
		r.mu.Unlock()
		r.count.Add(1)
		return err
	}
}

// more waits for that many more notifications.
func (r *rolling) more(t *testing.T, n int64) {
	t.Helper()
	until := r.count.Load() + n
	eventually(t, 2*patience, func() (bool, string) {
		if t.Failed() {
			t.FailNow()
		}
		return r.count.Load() >= until, "the load has stopped"
	})
}

func (r *rolling) end() {
	close(r.stop)
	r.running.Wait()
}

// An older node and a new one on one database: the new one brings the schema up
// to date while the older one works, and takes its place. SIGNPOST_OLD_CADDY
// names the older binary; see the manual's chapter about drills.
func TestUpgrade(t *testing.T) {
	path := os.Getenv("SIGNPOST_OLD_CADDY")
	if path == "" {
		t.Skip("SIGNPOST_OLD_CADDY names no older binary; what older nodes send is tested in handlers/storage/postgres")
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExists(t, path)
	_, dsn := newDatabase(t)
	db, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer db.Close(t.Context())
	schema := func() (version int) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT max(version_id) FROM signpost.schema_version WHERE is_applied`).Scan(&version))
		return version
	}
	stand := newProvider(t, nil)
	cfg := config{
		postgres: dsn, api: noLimits,
		signpost: "delivery sms webhook {\n url " + stand.URL + "/send\n delivered_on_accept\n}\n",
	}
	checking := func(n *node) string {
		return strings.Replace(n.caddyfile, "pooler off", "pooler off\n\t\t\tmigrate check", 1)
	}
	older, newer, instead := newNode(t, cfg), newNode(t, cfg), newNode(t, cfg)
	older.becomeOlder(path)
	older.run(t)
	before := schema()
	load := &rolling{}
	load.serve(older)
	load.run(t, 8)
	stopped := false
	defer func() {
		if !stopped {
			load.end()
		}
	}()
	phase := int64(setting(t, "SIGNPOST_DRILL_UPGRADE", 300, 1000))
	load.more(t, phase)

	// The new one comes, first such that it may not change the schema.
	if needs := latestSchema(t); needs > before {
		newer.refused(t, checking(newer), fmt.Sprintf(
			"the database has schema version %d, and this program needs %d: start one node with migrate auto", before, needs))
		require.Equal(t, before, schema())
	}
	began := time.Now()
	newer.run(t)
	migrated := time.Since(began)
	after := schema()
	load.more(t, phase) // the older one alone, on the new schema
	load.serve(older, newer)
	load.more(t, 2*phase)
	reload := older.load(t, strings.Replace(older.caddyfile, "grace_period 10s", "grace_period 9s", 1))
	require.Equal(t, http.StatusOK, reload.status, reload.body)
	load.more(t, phase)

	// The older one ends, as by systemd, and another new one takes its place.
	load.serve(newer)
	older.stop(t)
	load.more(t, phase)
	instead.run(t)
	load.serve(instead, newer)
	load.more(t, phase)

	// The older program finds what it doesn't know.
	for name, caddyfile := range map[string]string{"auto": older.caddyfile, "check": checking(older)} {
		if after > before {
			older.refused(t, caddyfile, fmt.Sprintf("the database has schema version %d, and this program knows up to %d", after, before))
			continue
		}
		older.start(t, caddyfile)
		older.stop(t)
		t.Logf("both programs have schema version %d: the older one starts with migrate %s", after, name)
	}
	require.Equal(t, after, schema())
	load.more(t, phase)
	load.end()
	stopped = true
	if t.Failed() {
		return
	}

	newer.c.awaitDelivered(t, 2*time.Minute)
	stored := instead.c.all(t)
	assert.Len(t, stored, len(load.accepted))
	for id, message := range load.accepted {
		require.Equal(t, message, stored[id].Message, "notification %d was answered 201", id)
	}
	calls := stand.got()
	seen := make(map[string]int, len(calls))
	for _, c := range calls {
		seen[c.reference]++
	}
	assert.Len(t, seen, len(stored), "the provider must have seen each reference")
	assert.Len(t, calls, len(seen), "the provider has seen twins")
	t.Logf("schema %d to %d in %s with the older node at work; %d notifications, none refused, none lost, %d twins; %d requests met a node that had just gone",
		before, after, migrated.Round(time.Millisecond), len(stored), len(calls)-len(seen), load.gone)
}

// latestSchema is this program's schema version.
func latestSchema(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("../../handlers/storage/postgres/migrations/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return len(files)
}
