package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Limits of the attempts to open a faulty database again.
const (
	recoverFirst = 100 * time.Millisecond
	recoverMost  = 3 * time.Second // and half as much again, by chance
	recoverOpen  = time.Minute     // of one attempt
)

// report notes what a read has found and has the writer see to it. From now on
// nothing is read or written until the database has been opened anew. It is
// called within trusted.
func (s *Store) report(damage error) {
	if s.damage.CompareAndSwap(nil, &damage) {
		s.alarm()
	}
}

// alarm tells the writer of a fault, unless it has been told.
func (s *Store) alarm() {
	select {
	case s.faulty <- struct{}{}:
	default:
	}
}

// unusable returns why nothing may be written: a fault of the writer's, or
// what a read has found.
func (w *writer) unusable() error {
	if damage := w.s.damage.Load(); w.fault == nil && damage != nil {
		w.fault = *damage
	}
	return w.fault
}

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
	for pause := b.NextBackOff(); ; {
		retry := time.NewTimer(pause)
		if _, ok := refuse(w, retry.C, fault); !ok {
			retry.Stop()
			return false
		}
		began := time.Now()
		ok, err := w.reopen(fault)
		if !ok {
			return false
		}
		if err == nil {
			log.Info("the database is in use again", slog.Duration("after", time.Since(since)))
			return true
		}
		log.Warn("the database can't be opened yet", slog.Any("error", err))
		pause = b.NextBackOff()
		if malformed(fault) { // the check has read all of it: not all the time
			pause = max(pause, time.Since(began))
		}
	}
}

// reopen tries once to open the database again, and answers operations with
// the fault meanwhile. ok is false when the store was closed.
func (w *writer) reopen(fault error) (ok bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		if malformed(fault) {
			// What is damaged on the disk would be met again, after more had
			// been entrusted to it. The check takes as long as it takes.
			if err := w.check(ctx); err != nil {
				done <- err
				return
			}
		}
		ctx, cancel := context.WithTimeout(ctx, recoverOpen)
		defer cancel()
		done <- w.connect(ctx)
	}()
	if err, ok = refuse(w, done, fault); ok {
		return true, err
	}
	cancel()
	if err = <-done; err == nil {
		err = w.s.disconnect(w)
	}
	return false, err
}

// check reads the whole database with a connection of its own.
func (w *writer) check(ctx context.Context) (err error) {
	c, err := dial(ctx, w.s.cfg.Path, "query_only(on)", "cache_size(-2000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return c.query(ctx, func(row []driver.Value) error {
		if found := asText(row[0]); found != "ok" {
			return fmt.Errorf("the database is damaged (%s): restore a backup, or mend it with the sqlite3 program's .recover", found)
		}
		return nil
	}, "PRAGMA quick_check(1)")
}

// refuse answers operations with the fault until something is received, which
// it returns. ok is false when the store was closed first.
func refuse[T any](w *writer, until <-chan T, fault error) (received T, ok bool) {
	for {
		select {
		case o := <-w.s.ops:
			if o.state.CompareAndSwap(opWaiting, opTaken) {
				o.err = fault
				o.answer()
			}
		case received = <-until:
			return received, true
		case <-w.s.quit:
			return received, false
		}
	}
}
