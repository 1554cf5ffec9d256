package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

const (
	ownerOnly       = 0o600
	ownerOnlyFolder = 0o700
)

// magic begins every SQLite database.
var magic = []byte("SQLite format 3\x00")

// explain says what can be done about a file that can't be used.
func explain(what, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s can't be written: give it to the user that runs this program (uid %d): %w", what, path, os.Getuid(), err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s can't be made because its folder is missing: %w", what, path, err)
	}
	return fmt.Errorf("%s %s can't be used: %w", what, path, err)
}

// makeFolder makes the folder of a file, readable by its owner alone.
func makeFolder(path string) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", folder)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return explain("the folder", folder, err)
	}
	if err := os.MkdirAll(folder, ownerOnlyFolder); err != nil {
		return explain("the folder", folder, err)
	}
	return nil
}

// prepareFile makes the database file, or looks at the one that is there
// before SQLite does: its own messages don't say what to do. The caller holds
// the lock, since closing a second descriptor of a database drops the locks of
// the first.
func prepareFile(path string, log *slog.Logger) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, ownerOnly) //nolint:gosec // the operator's own path
		if err != nil {
			return explain("the database", path, err)
		}
		return f.Close()
	case err != nil:
		return explain("the database", path, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, ownerOnly); err != nil {
			return fmt.Errorf("the database %s may be read by others and its mode can't be changed: %w", path, err)
		}
		log.Warn("the database was readable by others; only its owner can read it now", slog.String("path", path))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the operator's own path
	if err != nil {
		return explain("the database", path, err)
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, len(magic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading the database %s: %w", path, err)
	}
	if n > 0 && !bytes.Equal(head, magic) {
		return fmt.Errorf("%s is not a SQLite database: give another path, or move that file away", path)
	}
	return nil
}
