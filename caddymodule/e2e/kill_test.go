//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pending is a request whose answer never came.
type pending struct {
	authorization string
	body          []byte
	code          string
	at            time.Time
}

// poster is one client of the kill drill.
type poster struct {
	c        *client
	accepted map[int64]string // code by the id that a 201 named
	lost     *pending
	unsure   map[string]bool // codes whose answer never came
	replays  int
	err      error
}

// run posts one numbered message after the other until the connection breaks.
// A request whose answer was lost is sent again first, with the same token.
func (p *poster) run(name string) {
	for i := 0; ; i++ {
		now := p.lost
		if now == nil || time.Since(now.at) > 20*time.Second {
			code := fmt.Sprintf("%s-%d.", name, i)
			body := smsBody(code)
			authorization, err := p.c.sign(http.MethodPost, "/notifications/sms", body)
			if err != nil {
				p.err = err
				return
			}
			now = &pending{authorization, body, code, time.Now()}
		}
		p.lost = nil
		a, err := p.c.doAs(now.authorization, http.MethodPost, "/notifications/sms", now.body)
		if err != nil {
			p.lost, p.unsure[now.code] = now, true
			return
		}
		n, err := parseNotification(a.body)
		if err != nil || a.status != http.StatusCreated {
			p.err = fmt.Errorf("%d %s (%w)", a.status, a.body, err)
			return
		}
		if a.header.Get("Idempotent-Replayed") != "" {
			p.replays++
		}
		delete(p.unsure, now.code)
		p.accepted[n.ID] = now.code
	}
}

// After kill -9 in the middle of a stream of POSTs, again and again, everything
// that was answered 201 is there, once, and gets delivered.
func TestKill(t *testing.T) {
	const clients = 8
	kills := setting(t, "SIGNPOST_DRILL_KILLS", 5, 50)
	port := freePort(t)
	caddyfile := config{port: port, api: noLimits}.String()
	s := newServer(t)
	posters := make([]*poster, clients)
	for i := range posters {
		posters[i] = &poster{c: newClient(t, plainURL(port)), accepted: make(map[int64]string), unsure: make(map[string]bool)}
	}
	began := time.Now()
	for round := range kills {
		s.start(t, caddyfile)
		var running sync.WaitGroup
		for i, p := range posters {
			running.Go(func() { p.run(fmt.Sprintf("r%d-c%d", round, i)) })
		}
		// The moment of the kill is what this drill varies.
		time.Sleep(time.Duration(50+rand.IntN(350)) * time.Millisecond)
		s.kill()
		running.Wait()
		for _, p := range posters {
			require.NoError(t, p.err, "round %d", round)
		}
	}
	struck := time.Since(began)

	s.start(t, caddyfile)
	c := newClient(t, plainURL(port))
	began = time.Now()
	c.awaitDelivered(t, 2*time.Minute)
	recovered := time.Since(began)
	stored := c.all(t)
	times := make(map[string]int, len(stored))
	for _, n := range stored {
		code := strings.TrimPrefix(n.Message, messageStart)
		times[code]++
		assert.Equal(t, "delivered", n.Status, "notification %d", n.ID)
		assert.Equal(t, 1, times[code], "the message %s was stored twice", code)
	}
	accepted, unsure, replays := 0, 0, 0
	for _, p := range posters {
		for id, code := range p.accepted {
			require.Equal(t, messageStart+code, stored[id].Message, "notification %d was answered 201", id)
		}
		accepted += len(p.accepted)
		unsure += len(p.unsure)
		replays += p.replays
	}
	assert.Positive(t, accepted)
	assert.LessOrEqual(t, len(stored), accepted+unsure)
	// A sample by id, as a client would ask.
	for id := range posters[0].accepted {
		c.get(t, id)
	}
	s.stop(t)
	requireIntact(t, filepath.Join(s.dir, "signpost.db"))
	t.Logf("%d kills in %s: %d accepted, all there; %d stored; %d answers lost, of which %d were asked for again and replayed; the rest delivered %s after the last start",
		kills, struck.Round(time.Second), accepted, len(stored), unsure+replays, replays, recovered.Round(time.Millisecond))
}

// A kill while the database is made leaves nothing that the next start can't
// work with.
func TestKillDuringStart(t *testing.T) {
	rounds := setting(t, "SIGNPOST_DRILL_STARTS", 3, 20)
	port := freePort(t)
	s := newServer(t)
	cut := 0 // rounds in which the database had been begun and not finished
	for round := range rounds {
		path := fmt.Sprintf("data%d/signpost.db", round)
		caddyfile := config{port: port, storage: path}.String()
		s.launch(t, caddyfile)
		// The lock is the first file that is made; then the moment varies.
		eventually(t, patience, func() (bool, string) {
			_, err := os.Stat(filepath.Join(s.dir, path+".lock"))
			return err == nil, "no lock file"
		})
		time.Sleep(time.Duration(rand.IntN(25)) * time.Millisecond)
		if b, err := os.ReadFile(s.log); err == nil && !bytes.Contains(b, []byte("serving initial configuration")) {
			cut++
		}
		s.kill()
		s.start(t, caddyfile)
		newClient(t, plainURL(port)).send(t, "after")
		id := strings.TrimSpace(s.ok(t, "signpost", "service", "add", "Pharmacy"))
		s.ok(t, "signpost", "service", "key", "add", id, "live")
		s.stop(t)
		requireIntact(t, filepath.Join(s.dir, path))
	}
	t.Logf("%d starts on new databases, %d of them killed before Caddy was up", rounds, cut)
}

// An ordinary end under load loses nothing either, and leaves nothing claimed:
// the next start delivers at once.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, stops = 4, 3
	port := freePort(t)
	caddyfile := config{port: port, api: noLimits}.String()
	s := newServer(t)
	posters := make([]*poster, clients)
	for i := range posters {
		posters[i] = &poster{c: newClient(t, plainURL(port)), accepted: make(map[int64]string), unsure: make(map[string]bool)}
	}
	for round := range stops {
		s.start(t, caddyfile)
		var running sync.WaitGroup
		for i, p := range posters {
			running.Go(func() { p.run(fmt.Sprintf("r%d-c%d", round, i)) })
		}
		c := newClient(t, plainURL(port))
		before := c.list(t, "/notifications").Total
		eventually(t, patience, func() (bool, string) {
			return c.list(t, "/notifications").Total > before+50, "the clients don't get on"
		})
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
		select {
		case <-s.exited:
			require.Zero(t, s.cmd.ProcessState.ExitCode())
		case <-time.After(patience):
			t.Fatal("caddy does not end")
		}
		running.Wait()
		for _, p := range posters {
			require.NoError(t, p.err)
		}
		requireIntact(t, filepath.Join(s.dir, "signpost.db"))
	}
	s.start(t, caddyfile)
	c := newClient(t, plainURL(port))
	c.awaitDelivered(t, 10*time.Second)
	stored := c.all(t)
	for _, p := range posters {
		for id, code := range p.accepted {
			assert.Equal(t, messageStart+code, stored[id].Message, "notification %d was answered 201", id)
		}
	}
}
