package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// health knows whether the server can be reached. When a call has met a fault
// of the connection, one goroutine asks after the server; while that has no
// answer, calls fail at once instead of each waiting in vain.
type health struct {
	s *Store

	mu      sync.Mutex
	probing bool
	down    error // why calls fail at once
}

// away returns why no call can be served, nil when it may be tried.
func (h *health) away() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

// failed starts to ask after the server, unless that is being done.
func (h *health) failed(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probing {
		return
	}
	h.probing = true
	h.s.tenants.forget()
	h.s.task(func() { h.probe(cause) })
}

// The waits between probes: the first is at once, and no wait is long, so that
// the store is back soon after the server is. They vary by half, so that many
// nodes don't come at the same instant.
const (
	firstProbe   = 50 * time.Millisecond
	longestProbe = time.Second
)

func (h *health) probe(cause error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier, wait.RandomizationFactor = firstProbe, longestProbe, 2, 0.5
	for since := time.Now(); ; {
		err := h.ask()
		if err == nil || h.s.quit.Err() != nil {
			h.settle(err, since)
			return
		}
		h.mu.Lock()
		first := h.down == nil
		h.down = errors.Join(err, cause)
		h.mu.Unlock()
		if first {
			h.s.log.Error("the PostgreSQL server is away", explain(err), slog.Any("cause", cause))
		}
		h.s.pool.Reset() // connections to it are of no use
		select {
		case <-h.s.quit.Done():
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// ask has the server answer, on a connection that it may have to make. One that
// has ended says nothing about the server.
func (h *health) ask() error {
	err := h.askOnce()
	if err != nil && lostConnection(err) {
		h.s.pool.Reset()
		err = h.askOnce()
	}
	return err
}

func (h *health) askOnce() error {
	ctx, cancel := context.WithTimeout(h.s.quit, h.s.cfg.Timeout)
	defer cancel()
	return h.s.once(ctx, func(ctx context.Context, c conn) error {
		_, err := c.Exec(ctx, `SELECT 1`)
		return err
	})
}

func (h *health) settle(err error, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && h.down != nil {
		h.s.log.Info("the PostgreSQL server is back", slog.Duration("away", time.Since(since)))
	}
	h.down, h.probing = nil, false
}
