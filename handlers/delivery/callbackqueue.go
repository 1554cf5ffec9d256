package delivery

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Run claims callbacks and calls services until ctx ends. Calls under way go
// on, see Wait. Storage failures don't end it. It can be called once.
func (c *Callbacks) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return errors.New("delivery: callbacks run once; make new ones")
	}
	if c.cfg.Stored == nil && len(c.Services()) == 0 {
		<-ctx.Done()
	}
	looks := make(map[string]time.Time) // when a service is to be looked at again
	pause := firstPause
	poll := c.cfg.Now() // at once for the first time
	t := time.NewTimer(0)
	defer t.Stop()
	for ctx.Err() == nil {
		now := c.cfg.Now()
		polled := !now.Before(poll)
		c.refresh(ctx, now, polled)
		if polled {
			c.markAll()
			poll = now.Add(c.cfg.Poll)
		}
		next := poll
		if err := c.look(ctx, now, looks); err == nil {
			pause = firstPause
		} else {
			next = now.Add(pause)
			pause = min(2*pause, c.cfg.Poll)
		}
		for _, at := range looks {
			if at.Before(next) {
				next = at
			}
		}
		t.Reset(max(next.Sub(c.cfg.Now()), 0))
		select {
		case <-t.C:
		case <-c.wake:
		case <-ctx.Done():
		}
	}
	go func() {
		c.flying.Wait()
		close(c.idle)
	}()
	return nil
}

// look starts the calls that are due. looks holds when services that have
// nothing due now will have.
func (c *Callbacks) look(ctx context.Context, now time.Time, looks map[string]time.Time) error {
	for id, at := range looks {
		if !at.After(now) {
			delete(looks, id)
			c.mark(id)
		}
	}
	ids := c.free()
	if len(ids) == 0 {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, storageTimeout)
	due, err := c.cfg.Outbox.NextCallbacks(call, ids)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			c.state.note(err)
		}
		c.remark(ids)
		return err
	}
	for i, id := range ids {
		at, owed := due[id]
		delete(looks, id)
		switch {
		case !owed:
		case at.After(now):
			looks[id] = at
		default:
			claimed, err := c.claim(ctx, id)
			if err != nil {
				c.remark(ids[i:])
				return err
			}
			if claimed == 0 {
				// Due, yet not to be had: another node was faster.
				looks[id] = now.Add(firstPause)
			} else {
				c.mark(id) // more may be due, once a call has ended
				if c.hasRoom(id) {
					looks[id] = now
				}
			}
		}
	}
	return nil
}

// free takes the marked services that can be called now.
func (c *Callbacks) free() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.marked {
		if c.busy[id] < c.cfg.Concurrency {
			delete(c.marked, id)
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *Callbacks) hasRoom(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy[id] < c.cfg.Concurrency
}

func (c *Callbacks) remark(ids []string) {
	for _, id := range ids {
		c.mark(id)
	}
}

// claim takes as many of a service's callbacks as may be called at once and
// starts them.
func (c *Callbacks) claim(ctx context.Context, id string) (int, error) {
	c.mu.Lock()
	room := c.cfg.Concurrency - c.busy[id]
	c.busy[id] += room
	c.mu.Unlock()
	// Not cancelled with ctx: a claim that is committed while its answer is
	// lost would stay leased to nobody.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	claims, err := c.cfg.Outbox.ClaimCallbacks(call, storage.CallbackRequest{
		ServiceID: id, Limit: room, Now: c.cfg.Now(), Lease: c.cfg.Lease,
	})
	c.state.note(err)
	c.mu.Lock()
	c.busy[id] -= room - len(claims)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	for _, claim := range claims {
		c.flying.Go(func() {
			c.tell(id, claim)
			c.mu.Lock()
			c.busy[id]--
			c.mu.Unlock()
			c.Wake(id)
		})
	}
	return len(claims), nil
}

// tell makes one call and records what became of it.
func (c *Callbacks) tell(id string, claim storage.CallbackClaim) {
	began := time.Now()
	result, next, reason := CallbackGaveUp, time.Time{}, "a day has passed"
	var took time.Duration
	switch t := c.targets.of(id); {
	case t == nil:
		reason = "the service has no callback any more"
	case c.cfg.Now().Sub(claim.CreatedAt) < callbackAge:
		failure := c.call(t, &claim.Notification)
		took = time.Since(began)
		result, next, reason = c.judge(&claim, failure)
		if c.targets.of(id) != t {
			t.client.CloseIdleConnections() // replaced meanwhile
		}
	}
	if !c.record(claim, next) {
		result = CallbackLeaseLost
	}
	level := slog.LevelDebug
	switch result {
	case CallbackRetry, CallbackReturned, CallbackLeaseLost:
		level = slog.LevelInfo
	case CallbackRefused, CallbackGaveUp:
		level = slog.LevelError
	case CallbackDone:
	}
	attrs := []slog.Attr{
		slog.String("code", string(result)),
		slog.String("service", id),
		slog.Int64("id", claim.Notification.ID),
		slog.String("reference", claim.Notification.UUID.String()),
		slog.Int("attempt", claim.Attempts),
	}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	c.cfg.Logger.LogAttrs(context.Background(), level, "callback to a service", attrs...)
	c.cfg.Observe(CallbackEvent{ServiceID: id, Result: result, Duration: took})
}

// record completes the claim, and keeps trying while storage is away, as long
// as the lease can last.
func (c *Callbacks) record(claim storage.CallbackClaim, next time.Time) bool {
	pause := firstPause
	for last := false; ; {
		call, cancel := context.WithTimeout(context.WithoutCancel(c.calls), storageTimeout)
		err := c.cfg.Outbox.CompleteCallback(call, claim, next)
		cancel()
		switch {
		case err == nil:
			c.state.note(nil)
			return true
		case errors.Is(err, storage.ErrLeaseLost):
			return false
		case last || !errors.Is(err, storage.ErrUnavailable):
			c.cfg.Logger.Error("the outcome of a callback can't be recorded; it is told again after its lease",
				slog.String("reference", claim.Notification.UUID.String()), slog.Any("error", err))
			return false
		}
		c.state.note(err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-c.calls.Done():
			t.Stop()
			last = true
		}
		pause = min(2*pause, c.cfg.Poll)
	}
}
