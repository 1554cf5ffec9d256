package jwks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// filePoll is how often a file is looked at.
	filePoll = time.Second
	// fileAskEvery is how often at most an unknown key id has it looked at.
	fileAskEvery = 100 * time.Millisecond
	// fileRacy is the age under which a file may change again without its time
	// of modification changing, on coarse clocks; it is then read, not only
	// looked at.
	fileRacy = 2 * time.Second
)

// File is a [Source] of keys in a file, which is watched: a changed file is
// read within a second. A file that is missing, half written or without any
// usable key (unless its list is empty) is reported, and the keys from before stay in use, without end.
//
// It is watched by looking at the time, size and identity of the file that the
// path leads to, and not by the kernel's events: these are bound to an inode or
// a folder, and miss files replaced through symbolic links (as Kubernetes does
// with mounted secrets), bind mounts and network file systems.
type File struct {
	*poller

	path string
	last os.FileInfo // of the file last read well; used by the poller's goroutine only
	sum  [sha256.Size]byte
}

// NewFile makes a source of the file's keys: a JWK, a JWKS, PEM public keys or
// certificates, at most 1000 keys and 4 MiB. It doesn't open the file: see
// [Set.Start].
func NewFile(path string) (*File, error) {
	if path == "" {
		return nil, errors.New("jwks: a file of keys needs a path")
	}
	// Later changes of the working folder don't matter.
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("jwks: the path of the file of keys: %w", err)
	}
	f := &File{path: abs}
	f.poller = newPoller(pollerConfig{
		kind: "file", location: abs, load: f.load, clock: time.Now,
		askEvery: fileAskEvery, maxWaiters: maxWaiters,
		retryMin: filePoll, retryMax: filePoll,
	})
	return f, nil
}

// load reads the file if it has changed.
func (f *File) load(context.Context) (document, error) {
	same := document{unchanged: true, next: filePoll}
	// Stat follows links. Opening something else than a regular file could
	// block for ever.
	info, err := os.Stat(f.path)
	if err != nil {
		return f.failed(fmt.Errorf("jwks: file of keys: %w", err))
	}
	if !info.Mode().IsRegular() {
		return f.failed(fmt.Errorf("jwks: file of keys %s: found a %s, expected a regular file", f.path, fileKind(info.Mode())))
	}
	if f.last != nil && os.SameFile(f.last, info) && f.last.Size() == info.Size() &&
		f.last.ModTime().Equal(info.ModTime()) && time.Since(info.ModTime()) > fileRacy {
		return same, nil
	}
	text, err := readFile(f.path)
	if err != nil {
		return f.failed(fmt.Errorf("jwks: file of keys: %w", err))
	}
	sum := sha256.Sum256(text)
	if f.last != nil && sum == f.sum {
		f.last = info
		return same, nil
	}
	keys, skipped, err := parseUsable(text, Limits{MaxKeys: DefaultMaxKeys})
	if err != nil {
		return f.failed(fmt.Errorf("jwks: file of keys %s: %w", f.path, err))
	}
	f.last, f.sum = info, sum
	return document{keys: keys, skipped: skipped, next: filePoll}, nil
}

// failed forgets what was read, so that the file is read again even when it
// comes back as it was.
func (f *File) failed(err error) (document, error) {
	f.last = nil
	return document{}, err
}

// readFile reads at most a byte more than a document may have.
func readFile(path string) ([]byte, error) {
	r, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(r, DefaultMaxBytes+1))
	return b.Bytes(), err
}

func fileKind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&os.ModeNamedPipe != 0:
		return "pipe"
	case m&os.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// Start implements [Source].
func (f *File) Start(ctx context.Context, changed func()) error { return f.start(ctx, changed) }

// Snapshot implements [Source].
func (f *File) Snapshot() Snapshot { return f.snapshot() }

// Status implements [Source].
func (f *File) Status() SourceStatus { return f.describe() }

// Refresh implements [Refresher].
func (f *File) Refresh() (<-chan struct{}, func(), Verdict) { return f.refresh() }

// Close implements [Source].
func (f *File) Close() error {
	f.close()
	return nil
}
