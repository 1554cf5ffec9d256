package jwks

import (
	"bytes"
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
	// fileRacy is the age under which a file may change again without its time
	// of modification changing, on coarse clocks; it is then read, not only
	// looked at.
	fileRacy = 2 * time.Second
)

// watchedFile reads a file again when it has changed. It looks at the time,
// size and identity of the file that the path leads to, and doesn't use the
// kernel's events: these are bound to an inode or a folder, and miss files
// replaced through symbolic links (as Kubernetes does with mounted secrets),
// bind mounts and network file systems.
//
// It is not safe for concurrent use.
type watchedFile struct {
	path  string // absolute: later changes of the working folder don't matter
	limit int64  // bytes

	last  os.FileInfo // of the file last read well; nil when it must be read
	sum   [sha256.Size]byte
	since time.Time // when last was first seen
}

func newWatchedFile(path string, limit int64) (watchedFile, error) {
	if path == "" {
		return watchedFile{}, errors.New("a path is needed")
	}
	abs, err := filepath.Abs(path)
	return watchedFile{path: abs, limit: limit}, err
}

// read returns the file's text when it is another than that last returned. Of
// a file that is longer than the limit it returns one byte more. After an
// error, its own or that of forget, it returns the text in any case.
func (f *watchedFile) read() (text []byte, changed bool, err error) {
	text, changed, err = f.look()
	if err != nil {
		f.forget()
	}
	return text, changed, err
}

// forget makes the next read return the text, though it may be the same: the
// caller could do nothing with it, or has lost it.
func (f *watchedFile) forget() { f.last = nil }

func (f *watchedFile) look() (text []byte, changed bool, err error) {
	// Stat follows links. Opening something else than a regular file could
	// block for ever.
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s: found a %s, expected a regular file", f.path, fileKind(info.Mode()))
	}
	now := time.Now() // not a caller's clock: the file's times are the machine's
	if f.last != nil && sameFile(f.last, info) {
		if now.Sub(info.ModTime()) > fileRacy || now.Sub(f.since) > fileRacy {
			return nil, false, nil
		}
	} else {
		f.since = now
	}
	if text, err = readFile(f.path, f.limit+1); err != nil {
		return nil, false, err
	}
	sum := sha256.Sum256(text)
	if f.last != nil && sum == f.sum {
		f.last = info
		return nil, false, nil
	}
	f.last, f.sum = info, sum
	return text, true, nil
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readFile reads at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	r, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(r, limit))
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
