package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// wakeChannel carries the node that has created something.
	wakeChannel = "signpost_created"
	// nodeLock is the advisory lock that the listening connections of all nodes
	// share, by which Attachment.Nodes recognises a node: "signnode" in ASCII.
	nodeLock int64 = 0x7369676e6e6f6465
	// announceEvery bounds how often a node tells the others. NOTIFY makes the
	// commits that it is part of wait for each other, all over the server, so it
	// is sent by itself and not with a creation.
	announceEvery = 20 * time.Millisecond
	// listenCheck is how long nothing may be heard before the connection is
	// asked whether it is still there.
	listenCheck = 15 * time.Second
	// pollEvery is how often other nodes' creations are looked for where there
	// is nothing to listen to.
	pollEvery = 500 * time.Millisecond
)

func newNode() string { return uuid.NewString() }

// rouse tells this node's dispatchers that something is due.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// created tells this node's dispatchers, and soon those of the others.
func (s *Store) created() {
	s.rouse()
	if !s.cfg.Pooler {
		s.announced.soon()
	}
}

// announcer tells other nodes of creations: of the first at once, of those that
// follow together.
type announcer struct {
	s *Store

	mu      sync.Mutex
	running bool
	again   bool
}

func (a *announcer) soon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = true
	if !a.running {
		a.running = true
		a.s.task(a.run)
	}
}

func (a *announcer) more() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	more := a.again && a.s.quit.Err() == nil
	a.running, a.again = more, false
	return more
}

func (a *announcer) run() {
	for a.more() {
		ctx, cancel := context.WithTimeout(a.s.quit, a.s.cfg.Timeout)
		// A failure is not told: the others look at their queues anyway when
		// their next one becomes due, and when they listen again.
		if a.s.health.away() == nil {
			_, _ = a.s.pool.Exec(ctx, `SELECT pg_notify($1, $2)`, wakeChannel, a.s.node) //nolint:errcheck // see above
		}
		cancel()
		select {
		case <-a.s.quit.Done():
		case <-time.After(announceEvery):
		}
	}
}

// listen hears of other nodes' creations until the store is closed.
func (s *Store) listen() {
	if s.cfg.Pooler {
		s.poll()
		return
	}
	for s.quit.Err() == nil {
		err := s.hear()
		if s.quit.Err() != nil {
			return
		}
		s.health.failed(err)
		select {
		case <-s.quit.Done():
		case <-time.After(longestProbe/2 + rand.N(longestProbe)): //nolint:gosec // jitter
		}
	}
}

// hear listens on a connection of its own until that fails.
func (s *Store) hear() error {
	config := s.pool.Config().ConnConfig
	delete(config.RuntimeParams, "statement_timeout")
	delete(config.RuntimeParams, "idle_in_transaction_session_timeout")
	ctx, cancel := context.WithTimeout(s.quit, config.ConnectTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = farewell(c) }() //nolint:errcheck // it has failed, or is of no more use
	if _, err := c.Exec(ctx, "LISTEN "+wakeChannel); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pg_advisory_lock_shared($1)`, nodeLock); err != nil {
		return err
	}
	s.rouse() // for what wasn't heard before
	for {
		if err := s.hearOne(c); err != nil {
			return err
		}
	}
}

func (s *Store) hearOne(c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(s.quit, listenCheck)
	defer cancel()
	n, err := c.WaitForNotification(ctx)
	switch {
	case err == nil:
		if n.Payload != s.node {
			s.rouse()
		}
		return nil
	case s.quit.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	ctx, cancelPing := context.WithTimeout(s.quit, s.cfg.Timeout)
	defer cancelPing()
	return c.Ping(ctx)
}

// poll looks for other nodes' creations until the store is closed.
func (s *Store) poll() {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for last := int64(-1); ; {
		select {
		case <-s.quit.Done():
			return
		case <-t.C:
		}
		if s.health.away() != nil {
			continue
		}
		newest, err := s.lastGiven()
		if err != nil {
			continue // calls find out by themselves
		}
		if last >= 0 && newest != last {
			s.rouse()
		}
		last = newest
	}
}

// lastGiven returns the highest id that a notification was given.
func (s *Store) lastGiven() (id int64, err error) {
	ctx, cancel := context.WithTimeout(s.quit, s.cfg.Timeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `SELECT last_value FROM signpost.notification_id`).Scan(&id)
	return id, err
}
