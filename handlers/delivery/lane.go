package delivery

import (
	"context"
	"runtime"
	"sync"
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
	channel     storage.Channel
	concurrency int
	wake        chan struct{}
	freed       chan struct{} // receives when a worker has become free

	mu      sync.Mutex
	workers int // busy ones
	held    int // claims, including those whose outcome is being recorded
}

// maxHeld bounds the claims of a lane, for each of its workers: a worker sends
// the next notification while the outcome of the last is recorded, so that
// outcomes and claims share transactions.
const maxHeld = 4

func newLane(channel storage.Channel, concurrency int) *lane {
	return &lane{
		channel: channel, concurrency: concurrency,
		wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
	}
}

// acquire waits for a free worker, then takes all that are free.
func (l *lane) acquire(ctx context.Context) int {
	for ctx.Err() == nil {
		if n := l.takeFree(); n > 0 {
			return n
		}
		select {
		case <-l.freed:
			// Whoever is about to end its send as well had better be counted.
			runtime.Gosched()
		case <-ctx.Done():
		}
	}
	return 0
}

func (l *lane) takeFree() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := max(0, min(l.concurrency-l.workers, maxHeld*l.concurrency-l.held))
	l.workers += n
	l.held += n
	return n
}

// release gives workers and claims back.
func (l *lane) release(workers, held int) {
	l.mu.Lock()
	l.workers -= workers
	l.held -= held
	l.mu.Unlock()
	signal(l.freed)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
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
func (l *lane) stir() { signal(l.wake) }

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
	more := false // may be due: the last claim found one for each worker
	for ctx.Err() == nil {
		var wait time.Duration
		var err error
		claimed := 0
		asked := !more
		if asked {
			wait, err = d.untilDue(ctx, l)
		}
		if err == nil && wait <= 0 {
			claimed, more, err = d.claim(ctx, l)
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
		case claimed == 0 && asked:
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

// claim takes as many notifications as there are free workers and starts
// them. more says that there was one for each.
func (d *Dispatcher) claim(ctx context.Context, l *lane) (claimed int, more bool, err error) {
	n := l.acquire(ctx)
	if n == 0 {
		return 0, false, ctx.Err()
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
		l.release(n, n)
		return 0, false, err
	}
	l.release(n-len(claims), n-len(claims))
	for _, c := range claims {
		d.start(ctx, l, c)
	}
	return len(claims), len(claims) == n, nil
}

// start begins the flight of a claim, or takes the claim as the new lease of
// a flight that is still under way here: its lease had run out, because the
// process was stopped or the clock was set.
func (d *Dispatcher) start(ctx context.Context, l *lane, c storage.Claim) {
	d.mu.Lock()
	if f, flying := d.byID[c.Notification.ID]; flying {
		f.setClaim(c)
		d.mu.Unlock()
		l.release(1, 1)
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
			if f.sent {
				l.release(0, 1)
			} else {
				l.release(1, 1)
			}
		}()
		if giveBack {
			d.giveBack(f)
			return
		}
		d.fly(f)
	})
}
