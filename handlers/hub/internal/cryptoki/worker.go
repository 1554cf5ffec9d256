package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// ErrNoAnswer says that the module did not return from a call in time. Nothing
// can end such a call; what it leaves behind is one thread.
var ErrNoAnswer = errors.New("the PKCS #11 module doesn't answer")

// ErrBusy says that the module still has not returned from somebody else's
// call.
var ErrBusy = errors.New("the PKCS #11 module still doesn't answer an earlier call")

// ErrClosed says that the module was closed.
var ErrClosed = errors.New("the PKCS #11 module is closed")

// worker is the one goroutine, and the one thread, that calls a module.
type worker struct {
	path string
	jobs chan func()
	quit chan struct{}
	done chan struct{} // closed when the goroutine has ended
	turn chan struct{} // held by who has a job in the worker

	api library // of the goroutine

	mu    sync.Mutex
	beat  time.Time     // when the running job last gave a sign of life
	limit time.Duration // how long it may be silent, 0: none runs
	stuck bool
}

// startWorker starts a worker that loads and initialises a module; loaded
// receives how that went.
func startWorker(path string, load func() (library, error)) (w *worker, loaded <-chan error) {
	w = &worker{path: path, jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	result := make(chan error, 1)
	go w.run(load, result)
	return w, result
}

func (w *worker) run(load func() (library, error), loaded chan<- error) {
	defer close(w.done)
	// Some modules keep state by thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	finalize, err := w.initialize(load)
	loaded <- err
	if err != nil {
		return
	}
	for {
		select {
		case job := <-w.jobs:
			job()
		case <-w.quit:
			if finalize {
				_ = w.api.Finalize() // there is nobody left whom its failure could concern
			}
			return
		}
	}
}

// initialize tells whether it is this worker's to finalize the module: when
// another part of the program has initialised it, it is theirs.
func (w *worker) initialize(load func() (library, error)) (finalize bool, err error) {
	if w.api, err = load(); err != nil {
		return false, err
	}
	switch err := w.api.Initialize(); {
	case err == nil:
		return true, nil
	case CodeOf(err) == pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED:
		return false, nil
	default:
		return false, fmt.Errorf("%s can't be initialised: %w", w.path, err)
	}
}

// do runs a job when it is its turn. The job may be silent for the limit; it
// calls alive whenever it has come further. When do returns because the context
// ended or the module hangs, the job goes on until its call returns: it must
// look at the context between calls, and share nothing unguarded.
func (w *worker) do(ctx context.Context, limit time.Duration, log *slog.Logger, job func(api API, alive func()) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.takeTurn(ctx, log); err != nil {
		return err
	}
	w.begin(limit)
	result := make(chan error, 1)
	run := func() {
		err := job(w.api, w.alive)
		w.end(log)
		<-w.turn
		result <- err
	}
	select {
	case w.jobs <- run:
	case <-w.quit:
		w.end(log)
		<-w.turn
		return w.explain(ErrClosed)
	}
	for {
		late := time.NewTimer(w.remaining())
		select {
		case err := <-result:
			late.Stop()
			return err
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		case <-late.C:
			if w.overdue(log) {
				return w.explain(ErrNoAnswer)
			}
		}
	}
}

// takeTurn waits until no other job is in the worker.
func (w *worker) takeTurn(ctx context.Context, log *slog.Logger) error {
	for {
		late := time.NewTimer(w.remaining())
		select {
		case w.turn <- struct{}{}:
			late.Stop()
			return nil
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		case <-w.quit:
			late.Stop()
			return w.explain(ErrClosed)
		case <-late.C:
			if w.overdue(log) {
				return w.explain(ErrBusy)
			}
		}
	}
}

// stop ends the worker after its running job, and waits for that, but not
// longer than the limit.
func (w *worker) stop(limit time.Duration) error {
	close(w.quit)
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-w.done:
		return nil
	case <-late.C:
		return w.explain(ErrNoAnswer)
	}
}

// ended tells whether the goroutine has ended.
func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *worker) begin(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat, w.limit = time.Now(), limit
}

func (w *worker) alive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat = time.Now()
}

func (w *worker) end(log *slog.Logger) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = 0
	if w.stuck {
		w.stuck = false
		log.Info("the PKCS #11 module answers again", slog.String("module", w.path))
	}
}

// remaining is how long to wait before a look whether the job is overdue.
func (w *worker) remaining() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit == 0 {
		return time.Second
	}
	return w.limit - time.Since(w.beat)
}

// overdue tells whether the running job has been silent for longer than it may.
func (w *worker) overdue(log *slog.Logger) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit == 0 || time.Since(w.beat) < w.limit {
		return false
	}
	if !w.stuck {
		w.stuck = true
		log.Error("the PKCS #11 module doesn't answer: its driver or its reader hangs; "+
			"take the card out and put it in again, and restart the hub if that doesn't help",
			slog.String("module", w.path), slog.Duration("silent", time.Since(w.beat)))
	}
	return true
}

func (w *worker) explain(err error) error { return fmt.Errorf("%s: %w", w.path, err) }
