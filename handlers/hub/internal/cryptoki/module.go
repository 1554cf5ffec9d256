package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	openLimit  = 30 * time.Second
	closeLimit = 5 * time.Second
)

// Module is one user's hold on a module that the whole process shares. It is
// safe for concurrent use.
type Module struct {
	entry  *entry
	worker *worker
	log    *slog.Logger
	closed atomic.Bool
}

// entry is a module of the process.
type entry struct {
	path string
	load func() (library, error)

	mu     sync.Mutex // serialises opening and closing
	users  int
	worker *worker // of the last use, when there are no users
}

// entries are the modules that were ever opened, by path: they stay mapped.
var entries = struct {
	sync.Mutex
	byPath map[string]*entry
}{byPath: map[string]*entry{}}

// Open loads and initialises a module, or shares the one that is there. The
// path is absolute. The logger hears when the module hangs.
func Open(path string, log *slog.Logger) (*Module, error) {
	if !available {
		return nil, ErrNoCgo
	}
	file, err := moduleFile(path)
	if err != nil {
		return nil, err
	}
	return entryOf(file).open(log)
}

// Use is Open for an API that needs no loading, such as a test's.
func Use(api API, log *slog.Logger) (*Module, error) {
	e := &entry{path: "the module", load: func() (library, error) { return loaded{api}, nil }}
	return e.open(log)
}

// loaded is a library that begins and ends elsewhere.
type loaded struct{ API }

func (loaded) Initialize() error { return nil }

func (loaded) Finalize() error { return nil }

// InUse tells whether somebody has the module open, and so has it initialised.
func InUse(path string) bool {
	file, err := moduleFile(path)
	if err != nil {
		return false
	}
	e := entryOf(file)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.users > 0
}

// moduleFile follows links, since a module under two names is still one.
func moduleFile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("the PKCS #11 module %q must be a whole path, such as /usr/lib/softhsm/libsofthsm2.so", path)
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("the PKCS #11 module %s can't be found: install the card's software, or correct the path: %w", path, errors.Unwrap(err))
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("the PKCS #11 module %s can't be found: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("the PKCS #11 module %s is not a file", path)
	}
	return file, nil
}

func entryOf(file string) *entry {
	entries.Lock()
	defer entries.Unlock()
	e := entries.byPath[file]
	if e == nil {
		e = &entry{path: file, load: loadOnce(file)}
		entries.byPath[file] = e
	}
	return e
}

// loadOnce loads a file when that has not succeeded before. Only the entry's
// worker calls it, and there is one at a time.
func loadOnce(file string) func() (library, error) {
	var loaded library
	return func() (library, error) {
		if loaded != nil {
			return loaded, nil
		}
		lib, err := load(file)
		if err == nil {
			loaded = lib
		}
		return lib, err
	}
}

func (e *entry) open(log *slog.Logger) (*Module, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.users == 0 {
		if e.worker != nil && !e.worker.ended() {
			return nil, e.worker.explain(ErrBusy)
		}
		if err := e.start(); err != nil {
			return nil, err
		}
	}
	e.users++
	return &Module{entry: e, worker: e.worker, log: log}, nil
}

func (e *entry) start() error {
	w, loaded := startWorker(e.path, e.load)
	e.worker = w
	late := time.NewTimer(openLimit)
	defer late.Stop()
	select {
	case err := <-loaded:
		if err != nil {
			<-w.done
		}
		return err
	case <-late.C:
		close(w.quit)
		return w.explain(ErrNoAnswer)
	}
}

// Do runs a job that uses the module, alone. The job may be silent for the
// limit, and calls alive whenever it has come further. Do returns when the job
// has ended, but also when the context ends (the context's error), when the
// module hangs (an error that is [ErrNoAnswer]) and when it still hangs in
// somebody's earlier job ([ErrBusy]). The job then goes on until its call
// returns: it must look at the context between calls and share nothing
// unguarded with the caller.
func (m *Module) Do(ctx context.Context, limit time.Duration, job func(api API, alive func()) error) error {
	if m.closed.Load() {
		return m.worker.explain(ErrClosed)
	}
	return m.worker.do(ctx, limit, m.log, job)
}

// Path is the file of the module.
func (m *Module) Path() string { return m.entry.path }

// Close ends this hold; the last one finalizes the module. When that hangs, an
// error tells so. It may be called twice.
func (m *Module) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	return m.entry.leave()
}

func (e *entry) leave() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users--
	if e.users > 0 {
		return nil
	}
	return e.worker.stop(closeLimit)
}
