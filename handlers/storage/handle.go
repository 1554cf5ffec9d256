package storage

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Handle shares one back end among generations of a configuration. It is made
// unopened, so that making it has no side effects; Ready opens and migrates
// once. Whoever works with the back end holds a reference meanwhile (Acquire,
// Release): the last release after Destruct closes it, and an Acquire after
// that is ErrUnavailable.
type Handle struct {
	backend Backend

	opening chan struct{} // a one-place semaphore around Open

	mu      sync.Mutex
	open    bool
	dropped bool // by Destruct: close when refs reaches 0
	closed  bool
	refs    int
	lastErr error
	ready   chan struct{} // closed once open, or closed without having been open
}

// NewHandle wraps a back end that is not open yet.
func NewHandle(b Backend) *Handle {
	return &Handle{backend: b, opening: make(chan struct{}, 1), ready: make(chan struct{})}
}

// Backend returns the wrapped back end. Calls outside Acquire and Release may
// find it closed and then return ErrUnavailable.
func (h *Handle) Backend() Backend { return h.backend }

// Ready opens the back end if that has not succeeded yet. Concurrent callers
// share one attempt; after a failure the next call tries again.
func (h *Handle) Ready(ctx context.Context) error {
	select {
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-h.ready:
		return h.closedErr()
	case <-ctx.Done():
		return Unavailable("waiting for storage to open", ctx.Err())
	}
	h.mu.Lock()
	open, closed := h.open, h.closed
	if !open && !closed {
		h.refs++ // Destruct during Open must not close under it
	}
	h.mu.Unlock()
	if closed {
		return h.closedErr()
	}
	if open {
		return nil
	}
	err := h.backend.Open(ctx)
	h.mu.Lock()
	h.lastErr = err
	if err == nil {
		h.open = true
		close(h.ready)
	}
	h.mu.Unlock()
	h.Release()
	if err != nil {
		return err
	}
	return h.closedErr() // Destruct may have come meanwhile
}

func (h *Handle) closedErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	return nil
}

// Acquire takes a reference, waiting until the back end is open, ctx ends or
// wait has passed. Each success must be followed by one Release.
func (h *Handle) Acquire(ctx context.Context, wait time.Duration) error {
	if done, err := h.tryAcquire(); done {
		return err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-h.ready:
		_, err := h.tryAcquire()
		return err
	case <-ctx.Done():
		return Unavailable("waiting for storage to open", ctx.Err())
	case <-t.C:
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.lastErr != nil {
			return h.lastErr
		}
		return fmt.Errorf("%w: not open after %s", ErrUnavailable, wait)
	}
}

func (h *Handle) tryAcquire() (done bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return true, fmt.Errorf("%w: closed", ErrUnavailable)
	case !h.open:
		return false, nil
	}
	h.refs++
	return true, nil
}

// InUse returns how many references are held.
func (h *Handle) InUse() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refs
}

// Release gives a reference back.
func (h *Handle) Release() {
	h.mu.Lock()
	h.refs--
	last, open := h.closeIfUnused(), h.open
	h.mu.Unlock()
	if last && open {
		_ = h.backend.Close() //nolint:errcheck // nobody is left to tell; the back end logs
	}
}

// closeIfUnused reports whether the handle is to be closed now, which it is
// once. The caller holds mu.
func (h *Handle) closeIfUnused() bool {
	if h.refs != 0 || !h.dropped || h.closed {
		return false
	}
	h.closed = true
	if !h.open {
		close(h.ready) // whoever waits for it to open waits in vain
	}
	return true
}

// Revive takes Destruct back while the back end is not closed yet, and reports
// whether it could: a configuration that returns to a storage which an older
// one is still letting go of goes on with the same back end.
func (h *Handle) Revive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.dropped = false
	return true
}

// Destruct gives up the handle (it is called by a usage pool after the last
// configuration has gone) and closes the back end as soon as the last
// reference is released.
func (h *Handle) Destruct() error {
	h.mu.Lock()
	h.dropped = true
	last, open := h.closeIfUnused(), h.open
	h.mu.Unlock()
	if last && open {
		return h.backend.Close()
	}
	return nil
}
