package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// errSlow is the cause with which a call ends that another provider takes over.
var errSlow = errors.New("delivery: the provider is slow")

// call is the end of one call to a provider.
type call struct {
	provider string
	sent     Sent
	err      error
	// cause says why the dispatcher itself ended the call, if it did.
	cause error
	took  time.Duration
}

// givenUp begins the reason of every dead letter that the dispatcher makes. One
// that still has it while it is queued has been queued again.
const givenUp = "given up"

// route returns the names of the providers that a notification may be sent by,
// in their order; none when its sender isn't configured. A dead letter that has
// been queued again is then for those whom its channel has by now: its sender
// may be why it was given up.
func (d *Dispatcher) route(n *storage.Notification) []string {
	if n.Sender == Simulated {
		return []string{Simulated}
	}
	if names := d.routes[n.Channel]; slices.Contains(names, n.Sender) {
		return names
	}
	if _, ok := d.cfg.Providers[n.Sender]; ok {
		return []string{n.Sender}
	}
	if strings.HasPrefix(n.Reason, givenUp) {
		return d.routes[n.Channel]
	}
	return nil
}

// pick returns the first of the providers whose breaker lets a call pass. When
// none does and forced is set, it is the first of all.
func (d *Dispatcher) pick(names []string, forced bool) (i int, p pass, ok bool) {
	for i, name := range names {
		if p, ok := d.breakers[name].allow(); ok {
			return i, p, true
		}
	}
	if !forced || len(names) == 0 {
		return 0, p, false
	}
	return 0, d.breakers[names[0]].force(), true
}

// round calls one provider after the other until one takes the notification or
// refuses it for good. All but the last call have failed; done says that it
// isn't to be recorded as what its error says, since a receipt has shown that a
// provider took it.
//
// An answer that was lost is ambiguous: the provider may have taken the
// notification. It alone can tell a twin by the reference, so it is asked once
// more before another one is. No answer in time is as ambiguous, but then the
// notification's timeliness goes before: another provider is asked.
func (d *Dispatcher) round(ctx context.Context, f *flight, names []string) (calls []call, done bool) {
	if names[0] == Simulated {
		return d.simulate(ctx, f)
	}
	rest, repeated := names, ""
	forced := !slices.ContainsFunc(names, func(name string) bool { return d.breakers[name].ready() })
	for {
		i, permit, ok := d.pick(rest, forced || len(calls) == 0)
		if !ok {
			return calls, false
		}
		name := rest[i]
		queued, err := d.reassign(ctx, f, name)
		if err != nil || !queued {
			d.breakers[name].report(permit, noVerdict)
			if len(calls) == 0 {
				calls = append(calls, call{provider: name, err: err, cause: context.Cause(ctx)})
			}
			return calls, err == nil
		}
		rest = rest[i+1:]
		others := forced && len(rest) > 0 || slices.ContainsFunc(rest, func(name string) bool { return d.breakers[name].ready() })
		c := d.call(ctx, f, name, others)
		d.breakers[name].report(permit, c.verdict())
		calls = append(calls, c)
		if !c.another() || !others {
			return calls, false
		}
		result := ResultFailedOver
		if c.lost() && repeated != name {
			repeated, result = name, ResultRepeated
			rest = append([]string{name}, rest...)
		}
		d.cfg.Observe(Event{Channel: f.lane.channel, Provider: name, Result: result, Duration: c.took})
	}
}

// reassign records who is about to be called, unless it is the one on record.
// A receipt that comes at once is thereby matched, and one that has come
// meanwhile is seen.
func (d *Dispatcher) reassign(ctx context.Context, f *flight, name string) (queued bool, err error) {
	c := f.current()
	if c.Notification.Sender == name {
		return true, nil
	}
	write, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	queued, err = d.cfg.Outbox.Reassign(write, c, name)
	switch {
	case errors.Is(err, storage.ErrLeaseLost):
		return false, errLeaseLost
	case err != nil:
		if ctx.Err() == nil {
			d.writes.note(err)
		}
		return false, &SendError{Reason: "storage was away before the next provider could be called", Err: err}
	}
	if queued {
		f.setSender(name)
	}
	return queued, nil
}

// call calls one provider, no longer than SlowAfter when there are others.
func (d *Dispatcher) call(ctx context.Context, f *flight, name string, others bool) call {
	limit, cause := d.cfg.SendTimeout, context.DeadlineExceeded
	if others && d.cfg.SlowAfter < limit {
		limit, cause = d.cfg.SlowAfter, errSlow
	}
	sending, stop := context.WithTimeoutCause(ctx, limit, cause)
	defer stop()
	n := f.current().Notification
	began := time.Now()
	sent, err := d.send(sending, d.cfg.Providers[name], &n)
	c := call{provider: name, sent: sent, err: err, took: time.Since(began)}
	if err != nil {
		c.cause = context.Cause(sending)
	}
	return c
}

// ended reports whether the dispatcher ended the call for reasons that aren't
// the provider's.
func (c *call) ended() bool {
	return errors.Is(c.err, errLeaseLost) || errors.Is(c.cause, errLeaseLost) || errors.Is(c.cause, errStopped)
}

func (c *call) permanent() bool {
	failure, ok := errors.AsType[*SendError](c.err)
	return ok && failure.Permanent
}

func (c *call) verdict() verdict {
	switch {
	case c.err == nil || c.permanent():
		return works
	case c.ended():
		return noVerdict
	}
	return fails
}

// another reports whether another call may do better.
func (c *call) another() bool { return c.err != nil && !c.permanent() && !c.ended() }

// lost reports whether the connection broke before the answer came, which may
// have been a yes.
func (c *call) lost() bool {
	failure, ok := errors.AsType[*SendError](c.err)
	return ok && failure.Uncertain && !c.late()
}

// late reports whether the answer took too long.
func (c *call) late() bool {
	return errors.Is(c.cause, errSlow) || errors.Is(c.cause, context.DeadlineExceeded) || errors.Is(c.err, context.DeadlineExceeded)
}

// failure is the failed call as it is recorded.
func (d *Dispatcher) failure(c *call) SendError {
	out := SendError{Reason: "the provider failed"}
	switch failure, ok := errors.AsType[*SendError](c.err); {
	case errors.Is(c.cause, errSlow):
		out.Reason = fmt.Sprintf("no answer within %s", d.cfg.SlowAfter)
	case ok:
		out = *failure
	case errors.Is(c.err, context.DeadlineExceeded):
		out.Reason = fmt.Sprintf("the provider did not answer within %s", d.cfg.SendTimeout)
	}
	return out
}

// failures sums up a round in which no provider took the notification.
func (d *Dispatcher) failures(calls []call) SendError {
	sum := d.failure(&calls[len(calls)-1])
	if len(calls) == 1 || sum.Permanent {
		return sum
	}
	reasons := make([]string, 0, len(calls))
	for i := range calls {
		one := d.failure(&calls[i])
		sum.RetryAfter = min(sum.RetryAfter, one.RetryAfter)
		if i+1 < len(calls) && calls[i+1].provider == calls[i].provider {
			continue // the repetition says it
		}
		reasons = append(reasons, calls[i].provider+": "+one.Reason)
	}
	sum.Reason = strings.Join(reasons, "; ")
	return sum
}
