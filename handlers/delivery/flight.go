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

// setSender notes a provider that has been recorded as the sender.
func (f *flight) setSender(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claim.Notification.Sender = name
}

// fly makes one attempt, which may be a call to each of several providers, and
// records what became of it.
func (d *Dispatcher) fly(f *flight) {
	n := f.current().Notification
	names := d.route(&n)
	if len(names) == 0 {
		d.postpone(f, &n)
		return
	}
	sending, cancel := context.WithCancelCause(d.sends)
	defer cancel(nil)
	beat := make(chan struct{})
	beats := time.AfterFunc(d.beat(), func() { // most sends end before
		defer close(beat)
		d.heartbeat(sending, f, cancel)
	})
	calls, taken := d.round(sending, f, names)
	cancel(nil)
	if !beats.Stop() {
		<-beat
	}
	f.sent = true
	f.lane.release(1, 0)

	last := &calls[len(calls)-1]
	n = f.current().Notification
	outcome, result := d.judge(&n, calls)
	switch {
	case taken && last.provider == Simulated:
		outcome, result = storage.Outcome{Status: storage.StatusSending, At: d.cfg.Now()}, ResultSimulated
	case taken:
		outcome, result = storage.Outcome{Status: storage.StatusSending, At: d.cfg.Now()}, ResultSent
	}
	if result != ResultLeaseLost && !d.record(f, outcome) {
		result = ResultLeaseLost
	}
	d.report(f, result, outcome)
	d.cfg.Observe(Event{Channel: n.Channel, Provider: last.provider, Result: result, Duration: last.took})
}

func (d *Dispatcher) message(ctx context.Context, n *storage.Notification) Message {
	return Message{
		Reference:      n.UUID.String(),
		ServiceID:      n.ServiceID,
		ServiceName:    d.cfg.ServiceName(ctx, n.ServiceID),
		Channel:        n.Channel,
		To:             n.To,
		Subject:        n.Subject,
		Body:           n.Body,
		Values:         n.Details.Values,
		From:           n.Details.From,
		ReplyTo:        n.Details.ReplyTo,
		UnsubscribeURL: n.Details.UnsubscribeURL,
		Sender:         n.Sender,
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

// judge turns the end of a round of calls into what is to be recorded.
func (d *Dispatcher) judge(n *storage.Notification, calls []call) (storage.Outcome, Result) {
	last := &calls[len(calls)-1]
	now := d.cfg.Now()
	o := storage.Outcome{At: now, Callback: d.cfg.Callbacks.Wants(n.ServiceID)}
	switch {
	case last.err == nil && n.Channel == storage.SMS && n.Details.International:
		// Few countries report delivery, so that GOV.UK Notify waits for none.
		o.Status, o.ProviderReference = storage.StatusSent, last.sent.Reference
		return o, ResultSent
	case last.err == nil && last.sent.Delivered:
		o.Status, o.ProviderReference = storage.StatusDelivered, last.sent.Reference
		return o, ResultDelivered
	case last.err == nil:
		o.Status, o.ProviderReference = storage.StatusSending, last.sent.Reference
		return o, ResultSent
	case errors.Is(last.err, errLeaseLost), errors.Is(last.cause, errLeaseLost):
		return o, ResultLeaseLost
	case errors.Is(last.cause, errStopped):
		o.Status, o.NextAttempt = storage.StatusCreated, now
		o.Reason = "the server stopped during the attempt"
		return o, ResultReturned
	}
	failure := d.failures(calls)
	reason := scrubFor(failure.Reason, n)
	if failure.Permanent {
		o.Status, o.Reason = storage.StatusPermanentFailure, reason
		return o, ResultRefused
	}
	due := n.DueAt()
	next, giveUp := d.cfg.Retry.next(n.Attempts, due, now, failure.RetryAfter, d.random())
	if giveUp {
		o.Status = storage.StatusTechnicalFailure
		o.Reason = fmt.Sprintf(givenUp+" after %d attempts in %s: %s",
			n.Attempts, now.Sub(due).Round(time.Second), reason)
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
	age := now.Sub(n.DueAt())
	pause := min(max(age, d.cfg.Retry.Initial), d.cfg.Retry.Max)
	reason := fmt.Sprintf("no delivery provider named %q", n.Sender)
	o := storage.Outcome{
		Status: storage.StatusCreated, At: now, NextAttempt: now.Add(pause),
		Reason: reason, Unattempted: true,
	}
	if age >= max(absentFor, d.cfg.Retry.Budget) {
		o.Status, o.NextAttempt, o.Unattempted = storage.StatusTechnicalFailure, time.Time{}, false
		o.Reason = givenUp + ": " + reason
		o.Callback = d.cfg.Callbacks.Wants(n.ServiceID)
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
	name := UnknownProvider
	if len(d.route(&n)) > 0 {
		name = n.Sender
	}
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
			switch {
			case o.Status == storage.StatusCreated:
				f.lane.stir() // it rests until the lease's end otherwise
			case o.Status.Final():
				d.cfg.Callbacks.Wake(c.Notification.ServiceID)
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
	case ResultDelivered, ResultSent, ResultSimulated:
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
	case ResultNoProvider, ResultFailedOver, ResultRepeated: // logged by postpone; not the end of an attempt
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
