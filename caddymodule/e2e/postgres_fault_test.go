//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

const (
	firstRefusal = 2 * time.Second // a caller waits no longer for its 503
	backWithin   = 5 * time.Second
)

// relay passes connections on, until its packets vanish.
type relay struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  chan struct{} // closed while packets pass
	conns map[net.Conn]bool
}

func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: l, target: target, open: make(chan struct{}), conns: make(map[net.Conn]bool)}
	close(r.open)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		r.appear()
		assert.NoError(t, l.Close())
		r.mu.Lock()
		for c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	return r
}

func (r *relay) serve(c net.Conn) {
	r.wait()
	d, err := net.Dial("tcp", r.target)
	if err != nil {
		c.Close()
		return
	}
	r.note(true, c, d)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, d}, {d, c}} {
		both.Go(func() {
			r.pass(way[0], way[1])
			c.Close()
			d.Close()
		})
	}
	both.Wait()
	r.note(false, c, d)
}

// pass holds what it has read back while packets vanish, as a network does that
// comes back: then it is sent again.
func (r *relay) pass(from io.Reader, to io.Writer) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.wait()
		if _, bad := to.Write(buffer[:n]); bad != nil || err != nil {
			return
		}
	}
}

func (r *relay) note(open bool, conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if open {
			r.conns[c] = true
		} else {
			delete(r.conns, c)
		}
	}
}

func (r *relay) wait() {
	r.mu.Lock()
	open := r.open
	r.mu.Unlock()
	<-open
}

func (r *relay) vanish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = make(chan struct{})
}

func (r *relay) appear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.open:
	default:
		close(r.open)
	}
}

// PostgreSQL stopped, restarted, its backends ended, and out of reach: callers
// get 503 soon, all is well again soon after, nothing that was answered 201 is
// lost, and nothing piles up.
func TestPostgresFaults(t *testing.T) {
	db, err := pgtest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Stop()) })
	name, err := db.Create(t.Context(), "")
	require.NoError(t, err)
	between := newRelay(t, db.Address())
	n := newNode(t, config{postgres: db.TCP(between.listener.Addr().String(), name), api: noLimits})
	n.run(t)
	accepted := make(map[int64]string)
	serial := 0
	post := func() (int, time.Duration) {
		serial++
		code := fmt.Sprintf("c%d.", serial)
		began := time.Now()
		a, err := n.c.do(http.MethodPost, "/notifications/sms", smsBody(code))
		require.NoError(t, err)
		took := time.Since(began)
		if a.status == http.StatusCreated {
			accepted[a.notification(t).ID] = messageStart + code
		} else {
			require.Equal(t, http.StatusServiceUnavailable, a.status, string(a.body))
			assert.NotEmpty(t, a.header.Get("Retry-After"))
		}
		return a.status, took
	}
	load := func(posts int) {
		for range posts {
			status, _ := post()
			require.Equal(t, http.StatusCreated, status)
		}
	}
	load(50)
	n.c.awaitDelivered(t, patience)
	before := n.goroutines(t)

	for _, fault := range []struct {
		name        string
		begin, end  func() error
		unavailable bool // until it ends
	}{
		{"stopped", db.Halt, db.Resume, true},
		{"restarted", func() error {
			if err := db.Halt(); err != nil {
				return err
			}
			return db.Resume()
		}, func() error { return nil }, false},
		{"backends ended", func() error { return db.Terminate(t.Context(), name) }, func() error { return nil }, false},
		{"black hole", func() error { between.vanish(); return nil }, func() error { between.appear(); return nil }, true},
	} {
		load(20)
		require.NoError(t, fault.begin(), fault.name)
		if fault.unavailable {
			for range 5 {
				status, took := post()
				assert.Equal(t, http.StatusServiceUnavailable, status, fault.name)
				assert.Less(t, took, firstRefusal+200*time.Millisecond, fault.name) // of the machine's own slowness
			}
		}
		ended := time.Now()
		require.NoError(t, fault.end(), fault.name)
		eventually(t, patience, func() (bool, string) {
			status, took := post()
			assert.Less(t, took, firstRefusal+200*time.Millisecond, fault.name)
			return status == http.StatusCreated, fmt.Sprintf("%s: %d", fault.name, status)
		})
		back := time.Since(ended)
		assert.Less(t, back, backWithin, fault.name)
		load(20)
		t.Logf("%s: back after %s", fault.name, back.Round(time.Millisecond))
	}
	n.c.awaitDelivered(t, 2*time.Minute)
	stored := n.c.all(t)
	for id, message := range accepted {
		assert.Equal(t, message, stored[id].Message, "notification %d was answered 201", id)
	}
	eventually(t, patience, func() (bool, string) {
		now := n.goroutines(t)
		return now <= before+10, fmt.Sprintf("%d goroutines, at first %d", now, before)
	})
}
