package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// maxBatch bounds the operations of one transaction, and thereby how long
	// the first of them waits for the last.
	maxBatch = 256
	// maxYields bounds how often collect lets others run.
	maxYields = 8
)

// op is one call's part of a batch. run may be called twice: again on its own
// when the batch failed by the fault of one of its operations.
type op struct {
	doing string
	run   func(w *writer) error
	err   error
	state atomic.Int32 // opWaiting, then opTaken or opGone
	done  chan struct{}

	answered bool // the writer's
}

func (o *op) answer() {
	o.answered = true
	close(o.done)
}

const (
	opWaiting = iota
	opTaken   // by the writer
	opGone    // its caller gave up first
)

// write runs f in a transaction and returns when that is durable. When ctx ends
// while f waits for the writer, f doesn't run; once f has begun, the answer is
// waited for, by a caller who isn't alone no longer than hangingDisk.
func (s *Store) write(ctx context.Context, doing string, f func(w *writer) error) error {
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	defer s.leave()
	o := &op{doing: doing, run: f, done: make(chan struct{})}
	// Who is alone needs no batch, and changing goroutines twice would cost
	// half as much as the sync.
	alone := s.writing.Add(1) == 1
	defer s.writing.Add(-1)
	if !alone || !s.w.direct(o) {
		if err := s.enqueue(ctx, o); err != nil {
			return err
		}
	}
	return classify(doing, o.err)
}

// enqueue leaves an operation to the writer and waits for it.
func (s *Store) enqueue(ctx context.Context, o *op) error {
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return storage.Unavailable(o.doing, ctx.Err())
	}
	select {
	case <-o.done:
		return nil
	case <-ctx.Done():
	}
	if o.state.CompareAndSwap(opWaiting, opGone) {
		return storage.Unavailable(o.doing, ctx.Err())
	}
	// Its batch is on the way to the disk: the answer is near, and unlike an
	// error here it says what has happened. A disk that hangs is the exception.
	select {
	case <-o.done:
		return nil
	case <-time.After(hangingDisk):
		return storage.Unavailable(o.doing, fmt.Errorf("the disk has not answered for %s: %w", hangingDisk, ctx.Err()))
	}
}

// hangingDisk is how long a caller whose context has ended waits for the batch
// that its write is part of.
const hangingDisk = 2 * time.Second

// writer is who writes. Its fields belong to the holder of turn: its own
// goroutine, or a caller who is alone.
type writer struct {
	s     *Store
	turn  sync.Mutex
	fault error // why the connections can't be used; run sees to them

	ctx context.Context // never ends: a transaction is run to its end
	c   *conn
	m   *mirror

	first      bool // not connected before
	full       bool // the disk had no room, as far as is known
	probed     bool // the transaction asks whether it has again
	batch      []*op
	backfilled int // frames written at the last checkpoint
	largeLog   int // pages in the log from which it is truncated
}

// releaseLeases makes due at once what a process held that was killed. The lock
// says that it is gone, so nothing need wait for the end of its leases. (After
// a fault the leases are this process's own, and stay.)
var releaseLeases = []string{
	`UPDATE notification SET leased = 0, due = created_at WHERE leased = 1 AND phase IN (1, 2)`,
	`UPDATE callback SET leased = 0, due = created_at WHERE leased = 1`,
}

// connect opens all connections and reads what the mirror needs.
func (w *writer) connect(ctx context.Context) (err error) {
	w.ctx = context.WithoutCancel(ctx)
	// Checkpoints are the writer's own business, because SQLite's automatic
	// ones ignore failed syncs.
	w.c, err = dial(ctx, w.s.cfg.Path, "journal_mode(wal)", "synchronous(full)", "foreign_keys(on)",
		"wal_autocheckpoint(0)", "journal_size_limit(67108864)", "cache_size(-8000)", "temp_store(memory)")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.s.disconnect(w))
		}
	}()
	// A log from before a fault may hold pages that look written and aren't on
	// the disk; what came after them would be lost with the power. So the log
	// is emptied before anything is added to it.
	busy, _, err := w.checkpoint(ctx, "TRUNCATE")
	if err != nil {
		return err
	}
	if busy {
		return errors.New("another program reads the database and keeps its write-ahead log from being emptied: close it there")
	}
	w.backfilled, w.largeLog = w.c.framesWritten(), largeLog
	if w.first {
		for _, release := range releaseLeases {
			if _, err := w.c.exec(w.ctx, release); err != nil {
				return err
			}
		}
		w.first = false
	}
	m := newMirror()
	if w.m != nil { // readers hold the index; keep its identity
		m.idempotency, m.replays = w.m.idempotency.reset(), w.m.replays.reset()
	}
	if err := m.load(ctx, w.c); err != nil {
		return err
	}
	w.m = m
	w.s.recent.reset()
	w.publish()
	readers := make(chan *conn, w.s.cfg.Readers)
	for range w.s.cfg.Readers {
		c, err := dial(ctx, w.s.cfg.Path, "query_only(on)", "cache_size(-2000)", "temp_store(memory)")
		if err != nil {
			for len(readers) > 0 {
				err = errors.Join(err, (<-readers).close())
			}
			return err
		}
		readers <- c
	}
	w.s.faultMu.Lock()
	w.s.readers, w.s.fault = readers, nil
	w.s.damage.Store(nil) // all that could report it have ended: disconnect has waited
	w.s.faultMu.Unlock()
	return nil
}

// direct runs an operation on its caller's goroutine, unless the writer is at
// work.
func (w *writer) direct(o *op) bool {
	if !w.turn.TryLock() {
		return false
	}
	defer w.turn.Unlock()
	if w.unusable() != nil || len(w.s.ops) > 0 {
		return false
	}
	w.batch = append(w.batch[:0], o)
	if w.fault = w.commitBatch(); w.fault != nil {
		w.s.alarm()
	}
	return true
}

// run commits what is queued until the store is closed.
func (w *writer) run() {
	defer close(w.s.ended)
	for {
		var first *op
		select {
		case first = <-w.s.ops:
		case <-w.s.faulty:
		case <-w.s.quit:
			w.shutdown()
			return
		}
		if !w.work(first) {
			return
		}
	}
}

// work commits one batch and mends what is broken. It returns false when the
// store was closed meanwhile.
func (w *writer) work(first *op) bool {
	w.turn.Lock()
	defer w.turn.Unlock()
	if first != nil {
		w.collect(first)
		if w.unusable() == nil {
			w.fault = w.commitBatch()
		} else {
			w.answerBatch(w.fault)
		}
	}
	for w.unusable() != nil { // more than once when a read meets it again
		if !w.recover(w.fault) {
			return false
		}
		w.fault = nil
		select { // recovered before its signal was seen
		case <-w.s.faulty:
		default:
		}
	}
	return true
}

func (w *writer) shutdown() {
	w.turn.Lock()
	defer w.turn.Unlock()
	if w.fault == nil {
		if _, _, err := w.checkpoint(w.ctx, "TRUNCATE"); err != nil {
			w.s.log.Error("could not empty the write-ahead log at close", slog.String("path", w.s.cfg.Path), slog.Any("error", err))
		}
	}
	if err := w.s.disconnect(w); err != nil {
		w.s.log.Error("could not close the database", slog.String("path", w.s.cfg.Path), slog.Any("error", err))
	}
}

// collect takes what waits, up to maxBatch. It doesn't sleep for more, but it
// lets those run whom the last batch has just answered: they are about to come
// again, and would otherwise all miss this sync.
func (w *writer) collect(first *op) {
	yields := min(len(w.batch)-1, maxYields)
	w.batch = w.batch[:0]
	w.take(first)
	for len(w.batch) < maxBatch {
		select {
		case o := <-w.s.ops:
			w.take(o)
			continue
		default:
		}
		if yields <= 0 {
			return
		}
		yields--
		runtime.Gosched()
	}
}

func (w *writer) take(o *op) {
	if o.state.CompareAndSwap(opWaiting, opTaken) {
		w.batch = append(w.batch, o)
	}
}

// commitBatch runs the batch in one transaction and answers it. It returns an
// error when the database can't be trusted any more; the batch has been
// answered even then.
func (w *writer) commitBatch() error {
	if len(w.batch) == 0 {
		return nil
	}
	err := w.transaction(w.batch)
	if err != nil && ownFault(err) && len(w.batch) > 1 {
		for _, o := range w.batch {
			if err = w.transaction([]*op{o}); err != nil && !harmless(err) {
				break
			}
			o.answer()
			err = nil
		}
	}
	w.answerBatch(err)
	if err != nil && !harmless(err) {
		return err
	}
	if err != nil {
		w.s.log.Warn("a write failed; the database stays open", slog.String("path", w.s.cfg.Path), slog.Any("error", err))
	}
	return w.maintain()
}

// answerBatch answers what hasn't been answered yet: with err, or with the
// operations' own errors.
func (w *writer) answerBatch(err error) {
	for i, o := range w.batch {
		if !o.answered {
			if err != nil {
				o.err = err
			}
			o.answer()
		}
		w.batch[i] = nil
	}
}

// transaction runs operations in one transaction. Their own errors, which they
// return before they have written anything, are left in them. Any other error
// undoes all of them, and it is left in them too.
func (w *writer) transaction(ops []*op) (err error) {
	if _, err = w.c.exec(w.ctx, "BEGIN IMMEDIATE"); err != nil {
		return w.failed(ops, err)
	}
	for _, o := range ops {
		if o.err = o.run(w); o.err == nil {
			continue
		}
		if e := classify(o.doing, o.err); errors.Is(e, storage.ErrUnavailable) {
			return w.failed(ops, errors.Join(o.err, w.undo()))
		}
	}
	if err = w.m.flush(w.ctx, w.c); err == nil && w.s.failpoint != nil {
		err = w.s.failpoint()
	}
	if err == nil {
		err = w.s.recent.commit(w.m.changed, func() error {
			_, err := w.c.exec(w.ctx, "COMMIT")
			return err
		})
	}
	if err != nil {
		return w.failed(ops, errors.Join(err, w.undo()))
	}
	if w.probed {
		w.full, w.probed = false, false
	}
	created := w.m.created
	w.m.commit()
	w.publish()
	if created {
		select {
		case w.s.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// publish tells readers what they need not ask the database for.
func (w *writer) publish() {
	for i, n := range w.m.queued {
		w.s.queued[i].Store(n)
	}
	w.s.callbacks.Store(w.m.callbacks)
}

func (w *writer) failed(ops []*op, err error) error {
	w.m.rollback()
	w.probed = false
	w.full = w.full || code(err) == sqlite3.SQLITE_FULL
	for _, o := range ops {
		o.err = err
	}
	return err
}

// undo rolls back, unless SQLite has done so itself.
func (w *writer) undo() error {
	_, err := w.c.exec(w.ctx, "ROLLBACK")
	if code(err) == sqlite3.SQLITE_ERROR { // no transaction is active
		return nil
	}
	return err
}
