package sqlite

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Limits of the attempts to open a faulty database again.
const (
	recoverFirst = 100 * time.Millisecond
	recoverMost  = 5 * time.Second
	recoverOpen  = time.Minute // of one attempt
)

// recover closes every connection after a fault, answers whatever comes with
// it, and opens the database again as soon as that works. It returns false
// when the store was closed meanwhile.
func (w *writer) recover(fault error) bool {
	log := w.s.log.With(slog.String("path", w.s.cfg.Path))
	log.Error("the database is out of use after a fault; trying to open it again", slog.Any("error", fault))
	w.s.faultMu.Lock()
	w.s.fault = fault
	w.s.faultMu.Unlock()
	if err := w.s.disconnect(w); err != nil {
		log.Error("closing the faulty database", slog.Any("error", err))
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = recoverFirst, recoverMost
	since := time.Now()
	for {
		retry := time.NewTimer(b.NextBackOff())
		if !w.refuse(retry.C, fault) {
			retry.Stop()
			return false
		}
		ctx, cancel := context.WithTimeout(context.Background(), recoverOpen)
		err := w.connect(ctx)
		cancel()
		if err == nil {
			log.Info("the database is in use again", slog.Duration("after", time.Since(since)))
			return true
		}
		log.Warn("the database can't be opened yet", slog.Any("error", err))
	}
}

// refuse answers operations with the fault until it is time to try again.
func (w *writer) refuse(until <-chan time.Time, fault error) bool {
	for {
		select {
		case o := <-w.s.ops:
			if o.state.CompareAndSwap(opWaiting, opTaken) {
				o.err = fault
				o.answer()
			}
		case <-until:
			return true
		case <-w.s.quit:
			return false
		}
	}
}
