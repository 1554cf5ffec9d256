package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxBytes bounds the files that are read.
const maxBytes = 1 << 20

// readPrivate reads a file that holds a private key, and refuses one that
// others can read or change. It looks at the file that it reads, not at what
// has the name a moment before.
func readPrivate(path string) ([]byte, error) {
	return readChecked(path, func(info fs.FileInfo) error {
		if err := checkOwner(path, info); err != nil {
			return err
		}
		if mode := info.Mode().Perm(); hasModes && mode&0o077 != 0 {
			return fmt.Errorf("keyfile: the private key %s may be used by others (mode %04o): run chmod 600 on it, and consider the key known", path, mode)
		}
		return nil
	})
}

func readPublic(path string) ([]byte, error) {
	return readChecked(path, func(fs.FileInfo) error { return nil })
}

func readChecked(path string, check func(fs.FileInfo) error) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own path
	if err != nil {
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			err = cause.Err
		}
		return nil, fmt.Errorf("keyfile: %s can't be opened: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyfile: %s is not a file", path)
	}
	if err := check(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("keyfile: %s has more than %d bytes", path, maxBytes)
	}
	return text, nil
}
