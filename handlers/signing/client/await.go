package client

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Defaults of [AwaitOptions.Every], and how long Await waits for a browser
// whose signatures it has found already.
const (
	DefaultEvery         = 2 * time.Second
	DefaultEveryCallback = 10 * time.Second
	callbackGrace        = 3 * time.Second
)

// ErrNotSigned says that nobody has signed in time.
var ErrNotSigned = errors.New("nobody has signed in time")

// AwaitOptions say how to wait.
type AwaitOptions struct {
	// Every is the time between two questions. Default, when 0: 2 s, or 10 s
	// with a Callback.
	Every time.Duration
	// Callback, unless nil, tells at once when the browser has come back; it
	// must be served where the client's callback points. It is finished when
	// Await returns.
	Callback *Callback
	// Opened, unless nil, is called once when the browser page has got the
	// request.
	Opened func()
	// Check, unless nil, is asked of the response before the browser is told
	// that all is well. Its error is Await's.
	Check func(*Response) error
}

// Await asks for the signatures until they are there, the request's deadline
// has passed ([ErrNotSigned]) or ctx ends. Failures that may pass by are tried
// again until then.
func (c *Client) Await(ctx context.Context, p *Pending, o AwaitOptions) (*Response, error) {
	if o.Every == 0 {
		o.Every = DefaultEvery
		if o.Callback != nil {
			o.Every = DefaultEveryCallback
		}
	}
	w := &wait{client: c, pending: p, options: &o}
	if o.Callback != nil {
		w.visits = o.Callback.visits
	}
	response, err := w.run(ctx)
	if o.Callback != nil {
		o.Callback.finish(err == nil)
	}
	return response, err
}

// wait is one Await.
type wait struct {
	client  *Client
	pending *Pending
	options *AwaitOptions
	visits  chan chan outcome // nil without a callback
	opened  bool
}

func (w *wait) run(ctx context.Context) (*Response, error) {
	deadline := time.NewTimer(w.pending.Deadline.Sub(w.client.config.Now()))
	defer deadline.Stop()
	pause := w.options.Every
	for over := false; ; {
		var visitor chan outcome
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case visitor = <-w.visits:
		case <-deadline.C:
			over = true
		case <-ctx.Done():
			next.Stop()
			return nil, context.Cause(ctx)
		}
		next.Stop()
		response, err := w.ask(ctx, visitor)
		switch {
		case err == nil:
			if visitor == nil {
				w.linger(ctx)
			}
			return response, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		var end error
		if pause, end = w.goOn(err); end != nil {
			return nil, end
		}
		if over {
			return nil, w.notSigned(err)
		}
	}
}

// ask asks once, and tells the browser that has come back, if one has.
func (w *wait) ask(ctx context.Context, visitor chan outcome) (*Response, error) {
	told := outcomeFailed
	if visitor != nil {
		defer func() { visitor <- told }() // it has room for one
	}
	response, err := w.client.Fetch(ctx, w.pending.Token)
	if err == nil && w.options.Check != nil {
		if err := w.options.Check(response); err != nil {
			return nil, &checkError{err}
		}
	}
	switch {
	case err == nil:
		told = outcomeSigned
	case again(err):
		told = outcomePending
	}
	return response, err
}

// checkError keeps the caller's error apart from the API's.
type checkError struct{ err error }

func (e *checkError) Error() string { return e.err.Error() }
func (e *checkError) Unwrap() error { return e.err }

// again reports whether a failure may pass by.
func again(err error) bool {
	if _, ok := errors.AsType[*transportError](err); ok {
		return true
	}
	answer, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	pending, _ := answer.Pending()
	return pending || answer.Temporary()
}

// goOn says how long to wait before the next question, or why there is to be
// none.
func (w *wait) goOn(err error) (pause time.Duration, end error) {
	if check, ok := errors.AsType[*checkError](err); ok {
		return 0, check.err
	}
	answer, _ := errors.AsType[*Error](err)
	if answer != nil && answer.Unknown() {
		return 0, fmt.Errorf("%w, or the signatures have been read or removed already (%w)", ErrNotSigned, err)
	}
	if !again(err) {
		return 0, err
	}
	pause = w.options.Every
	if answer != nil {
		pause = max(pause, answer.RetryAfter)
		if _, opened := answer.Pending(); opened && !w.opened {
			w.opened = true
			if w.options.Opened != nil {
				w.options.Opened()
			}
		}
	}
	return pause, nil
}

// notSigned says what was last heard when the time was over.
func (w *wait) notSigned(last error) error {
	at := w.pending.Deadline.Format(time.RFC3339)
	answer, ok := errors.AsType[*Error](last)
	if ok {
		if pending, _ := answer.Pending(); pending {
			return fmt.Errorf("%w: it could be signed until %s", ErrNotSigned, at)
		}
	}
	return fmt.Errorf("whether somebody has signed until %s can't be told: %w", at, last)
}

// linger lets a browser that is on its way find its page.
func (w *wait) linger(ctx context.Context) {
	if w.visits == nil {
		return
	}
	timer := time.NewTimer(callbackGrace)
	defer timer.Stop()
	select {
	case visitor := <-w.visits:
		visitor <- outcomeSigned
	case <-timer.C:
	case <-ctx.Done():
	}
}
