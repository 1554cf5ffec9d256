package delivery

import (
	"context"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// storageTimeout bounds each call to the outbox.
	storageTimeout = 10 * time.Second
	// firstPause is the shortest pause after an empty claim or a storage
	// failure.
	firstPause = 100 * time.Millisecond
)

// lane is one channel's share of the work.
type lane struct {
	channel storage.Channel
	slots   chan struct{} // full when all workers are busy
	wake    chan struct{}
}

func newLane(channel storage.Channel, concurrency int) *lane {
	return &lane{channel, make(chan struct{}, concurrency), make(chan struct{}, 1)}
}

// acquire waits for a free worker, then takes all that are free.
func (l *lane) acquire(ctx context.Context) int {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	n := 1
	for ; n < cap(l.slots); n++ {
		select {
		case l.slots <- struct{}{}:
		default:
			return n
		}
	}
	return n
}

func (l *lane) release(n int) {
	for range n {
		<-l.slots
	}
}

// rest waits for d or a wake-up; false means that ctx has ended.
func (l *lane) rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// stir makes the lane look at its queue again.
func (l *lane) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// spreadWake hands the outbox's one wake-up channel on to all lanes.
func (d *Dispatcher) spreadWake(ctx context.Context) {
	wake := d.cfg.Outbox.Wake()
	for {
		select {
		case _, ok := <-wake:
			if !ok {
				wake = nil // closed: the poll remains
			}
			for _, l := range d.lanes {
				l.stir()
			}
		case <-ctx.Done():
			return
		}
	}
}

// pull claims what is due for as long as ctx lasts.
func (d *Dispatcher) pull(ctx context.Context, l *lane) {
	pause := firstPause
	for ctx.Err() == nil {
		wait, err := d.untilDue(ctx, l)
		claimed := 0
		if err == nil && wait <= 0 {
			claimed, err = d.claim(ctx, l)
		}
		switch {
		case err != nil:
			if !l.rest(ctx, pause) {
				return
			}
			pause = min(2*pause, d.cfg.Poll)
			continue
		case wait > 0:
			l.rest(ctx, min(wait, d.cfg.Poll))
		case claimed == 0:
			// Due, yet not to be had: another worker was faster.
			l.rest(ctx, firstPause)
		}
		pause = firstPause
	}
}

// untilDue asks how long the queue can be left alone. It is a read, so that an
// idle dispatcher never occupies the storage's writer.
func (d *Dispatcher) untilDue(ctx context.Context, l *lane) (time.Duration, error) {
	call, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	due, err := d.cfg.Outbox.NextDue(call, l.channel)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	d.reads.note(err)
	switch {
	case err != nil:
		return 0, err
	case due.IsZero():
		return d.cfg.Poll, nil
	}
	return due.Sub(d.cfg.Now()), nil
}

// claim takes as many notifications as there are free workers and starts them.
func (d *Dispatcher) claim(ctx context.Context, l *lane) (claimed int, err error) {
	n := l.acquire(ctx)
	if n == 0 {
		return 0, ctx.Err()
	}
	// Not cancelled with ctx: a claim that is committed while its answer is
	// lost would stay leased to nobody.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	claims, err := d.cfg.Outbox.Claim(call, storage.ClaimRequest{
		Channel: l.channel,
		Limit:   n,
		Now:     d.cfg.Now(),
		Lease:   d.cfg.Lease,
	})
	d.writes.note(err)
	if err != nil {
		l.release(n)
		return 0, err
	}
	l.release(n - len(claims))
	for _, c := range claims {
		d.start(ctx, l, c)
	}
	return len(claims), nil
}

// start begins the flight of a claim, or takes the claim as the new lease of
// a flight that is still under way here: its lease had run out, because the
// process was stopped or the clock was set.
func (d *Dispatcher) start(ctx context.Context, l *lane, c storage.Claim) {
	d.mu.Lock()
	if f, flying := d.byID[c.Notification.ID]; flying {
		f.setClaim(c)
		d.mu.Unlock()
		l.release(1)
		return
	}
	f := &flight{lane: l, claim: c, begun: d.cfg.Now()}
	d.byID[c.Notification.ID] = f
	d.mu.Unlock()
	giveBack := ctx.Err() != nil
	d.flying.Go(func() {
		defer func() {
			d.mu.Lock()
			delete(d.byID, c.Notification.ID)
			d.mu.Unlock()
			l.release(1)
		}()
		if giveBack {
			d.giveBack(f)
			return
		}
		d.fly(f)
	})
}
