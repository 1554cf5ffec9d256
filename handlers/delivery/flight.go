package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// flight is one claim under way.
type flight struct {
	lane  *lane
	begun time.Time
	sent  bool // its worker is free again

	mu    sync.Mutex
	claim storage.Claim
}

func (f *flight) current() storage.Claim {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claim
}

func (f *flight) setClaim(c storage.Claim) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claim = c
}

// errLeaseLost is the cause with which a heartbeat ends its send.
var errLeaseLost = errors.New("delivery: the lease was lost")

// fly makes one attempt and records what became of it.
func (d *Dispatcher) fly(f *flight) {
	n := f.current().Notification
	name, provider := d.provider(n.Sender)
	if provider == nil {
		d.postpone(f, &n)
		return
	}
	ctx, cancel := context.WithCancelCause(d.sends)
	defer cancel(nil)
	sending, stop := context.WithTimeout(ctx, d.cfg.SendTimeout)
	defer stop()
	beat := make(chan struct{})
	beats := time.AfterFunc(d.beat(), func() { // most sends end before
		defer close(beat)
		d.heartbeat(sending, f, cancel)
	})
	began := time.Now()
	sent, err := d.send(sending, provider, &n)
	took := time.Since(began)
	cause := context.Cause(sending)
	stop()
	if !beats.Stop() {
		<-beat
	}
	f.sent = true
	f.lane.release(1, 0)

	outcome, result := d.judge(&n, sent, err, cause)
	if result != ResultLeaseLost && !d.record(f, outcome) {
		result = ResultLeaseLost
	}
	d.report(f, result, outcome)
	d.cfg.Observe(Event{Channel: n.Channel, Provider: name, Result: result, Duration: took})
}

// provider returns the name for metrics and the provider, nil when unknown.
func (d *Dispatcher) provider(sender string) (string, Provider) {
	if sender == Simulated {
		return Simulated, simulated{}
	}
	if p, ok := d.cfg.Providers[sender]; ok {
		return sender, p
	}
	return UnknownProvider, nil
}

func (d *Dispatcher) message(ctx context.Context, n *storage.Notification) Message {
	return Message{
		Reference:   n.UUID.String(),
		ServiceID:   n.ServiceID,
		ServiceName: d.cfg.ServiceName(ctx, n.ServiceID),
		Channel:     n.Channel,
		To:          n.To,
		Subject:     n.Subject,
		Body:        n.Body,
		Sender:      n.Sender,
	}
}

// send calls the provider. A panic is an error of this one attempt. Neither
// its value nor a foreign error's text is logged, as they may quote the
// message; the stack holds addresses only.
func (d *Dispatcher) send(ctx context.Context, p Provider, n *storage.Notification) (sent Sent, err error) {
	defer func() {
		if r := recover(); r != nil {
			d.cfg.Logger.Error("a delivery provider panicked",
				slog.String("provider", n.Sender),
				slog.String("reference", n.UUID.String()),
				slog.String("panic", fmt.Sprintf("%T", r)),
				slog.String("stack", string(debug.Stack())))
			sent, err = Sent{}, &SendError{Reason: "the provider panicked"}
		}
	}()
	return p.Send(ctx, d.message(ctx, n))
}

// beat is the pause between two renewals of a lease.
func (d *Dispatcher) beat() time.Duration { return max(d.cfg.Lease/3, time.Millisecond) }

// heartbeat renews the lease until the send ends, at once for the first time.
func (d *Dispatcher) heartbeat(sending context.Context, f *flight, cancel context.CancelCauseFunc) {
	t := time.NewTicker(d.beat())
	defer t.Stop()
	for sending.Err() == nil {
		c := f.current()
		call, stop := context.WithTimeout(sending, storageTimeout)
		err := d.cfg.Outbox.Renew(call, c, d.cfg.Now().Add(d.cfg.Lease))
		stop()
		switch {
		case sending.Err() != nil:
			return
		case errors.Is(err, storage.ErrLeaseLost):
			if f.current().Token == c.Token {
				cancel(errLeaseLost)
				return
			}
		default:
			d.writes.note(err)
		}
		select {
		case <-sending.Done():
		case <-t.C:
		}
	}
}

// judge turns the end of a send into what is to be recorded. cause says why
// the dispatcher itself ended the send, if it did.
func (d *Dispatcher) judge(n *storage.Notification, sent Sent, err, cause error) (storage.Outcome, Result) {
	now := d.cfg.Now()
	o := storage.Outcome{At: now, ProviderReference: sent.Reference}
	if err == nil {
		if sent.Delivered {
			o.Status = storage.StatusDelivered
			return o, ResultDelivered
		}
		o.Status = storage.StatusSending
		return o, ResultSent
	}
	o.ProviderReference = ""
	failure := &SendError{Reason: "the provider failed"}
	switch {
	case errors.Is(cause, errLeaseLost):
		return o, ResultLeaseLost
	case errors.Is(cause, errStopped):
		o.Status, o.NextAttempt = storage.StatusCreated, now
		o.Reason = "the server stopped during the attempt"
		return o, ResultReturned
	case errors.As(err, &failure):
	case errors.Is(err, context.DeadlineExceeded):
		failure.Reason = fmt.Sprintf("the provider did not answer within %s", d.cfg.SendTimeout)
	}
	reason := scrubFor(failure.Reason, n)
	if failure.Permanent {
		o.Status, o.Reason = storage.StatusPermanentFailure, reason
		return o, ResultRefused
	}
	next, giveUp := d.cfg.Retry.next(n.Attempts, n.CreatedAt, now, failure.RetryAfter, d.random())
	if giveUp {
		o.Status = storage.StatusTechnicalFailure
		o.Reason = fmt.Sprintf("given up after %d attempts in %s: %s",
			n.Attempts, now.Sub(n.CreatedAt).Round(time.Second), reason)
		return o, ResultGaveUp
	}
	o.Status, o.NextAttempt, o.Reason = storage.StatusCreated, next, reason
	return o, ResultRetry
}

// absentFor is how long notifications wait at least for a provider that is not
// configured, so that a slip in the configuration can be mended the next day.
const absentFor = 24 * time.Hour

// postpone puts a notification aside whose sender isn't configured, until it is
// too old. A young one is looked at soon again: during a reload the new
// configuration may know it.
func (d *Dispatcher) postpone(f *flight, n *storage.Notification) {
	now := d.cfg.Now()
	pause := min(max(now.Sub(n.CreatedAt), d.cfg.Retry.Initial), d.cfg.Retry.Max)
	reason := fmt.Sprintf("no delivery provider named %q", n.Sender)
	o := storage.Outcome{
		Status: storage.StatusCreated, At: now, NextAttempt: now.Add(pause),
		Reason: reason, Unattempted: true,
	}
	if now.Sub(n.CreatedAt) >= max(absentFor, d.cfg.Retry.Budget) {
		o.Status, o.NextAttempt, o.Unattempted = storage.StatusTechnicalFailure, time.Time{}, false
	}
	if d.record(f, o) {
		level := slog.LevelDebug
		if _, known := d.missing.LoadOrStore(n.Sender, true); !known {
			level = slog.LevelError // once, as the configuration can't change under us
		}
		d.log(f, level, "notifications wait for a provider that is not configured", ResultNoProvider, reason)
	}
	d.cfg.Observe(Event{Channel: n.Channel, Provider: UnknownProvider, Result: ResultNoProvider})
}

// giveBack returns a claim that came too late to be begun.
func (d *Dispatcher) giveBack(f *flight) {
	now := d.cfg.Now()
	n := f.current().Notification
	d.record(f, storage.Outcome{
		Status: storage.StatusCreated, At: now, NextAttempt: now, Reason: n.Reason, Unattempted: true,
	})
	name, _ := d.provider(n.Sender)
	d.cfg.Observe(Event{Channel: n.Channel, Provider: name, Result: ResultReturned})
}

// record completes the claim, and keeps trying while storage is away: the
// result of a send is known nowhere else. It returns false when it is not for
// this worker to decide any more: the lease is lost, or the dispatcher is
// aborted, so that the lease will run out.
func (d *Dispatcher) record(f *flight, o storage.Outcome) bool {
	pause := firstPause
	for last := false; ; {
		c := f.current()
		call, cancel := context.WithTimeout(context.WithoutCancel(d.sends), storageTimeout)
		err := d.cfg.Outbox.Complete(call, c, o)
		cancel()
		temporary := errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
		switch {
		case err == nil:
			d.writes.note(nil)
			if o.Status == storage.StatusCreated {
				f.lane.stir() // it rests until the lease's end otherwise
			}
			return true
		case errors.Is(err, storage.ErrLeaseLost):
			if f.current().Token != c.Token {
				continue // claimed anew by this dispatcher meanwhile
			}
			return false
		case last || !temporary:
			d.cfg.Logger.Error("the outcome of a send can't be recorded; the notification is sent again after its lease",
				slog.String("reference", c.Notification.UUID.String()), slog.Any("error", err))
			return false
		}
		d.writes.note(err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-d.sends.Done():
			t.Stop()
			last = true
		}
		pause = min(2*pause, d.cfg.Poll)
	}
}

// report logs a recorded outcome.
func (d *Dispatcher) report(f *flight, result Result, o storage.Outcome) {
	switch result {
	case ResultDelivered, ResultSent:
		d.log(f, slog.LevelDebug, "notification handed over", result, "")
	case ResultRefused:
		d.log(f, slog.LevelInfo, "notification refused by its provider", result, o.Reason)
	case ResultRetry, ResultReturned:
		d.log(f, slog.LevelInfo, "notification is tried again later", result, o.Reason,
			slog.Duration("in", o.NextAttempt.Sub(o.At)))
	case ResultGaveUp:
		d.log(f, slog.LevelError, "notification given up", result, o.Reason)
	case ResultLeaseLost:
		d.log(f, slog.LevelInfo, "lease lost during a send; whoever claims the notification next decides", result, "")
	case ResultNoProvider: // logged by postpone
	}
}

func (d *Dispatcher) log(f *flight, level slog.Level, msg string, result Result, reason string, more ...slog.Attr) {
	ctx := context.Background()
	if !d.cfg.Logger.Enabled(ctx, level) {
		return
	}
	n := f.current().Notification
	attrs := append([]slog.Attr{
		slog.String("code", string(result)),
		slog.String("service", n.ServiceID),
		slog.Int64("id", n.ID),
		slog.String("reference", n.UUID.String()),
		slog.String("channel", string(n.Channel)),
		slog.String("provider", n.Sender),
		slog.Int("attempt", n.Attempts),
	}, more...)
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	d.cfg.Logger.LogAttrs(ctx, level, msg, attrs...)
}
