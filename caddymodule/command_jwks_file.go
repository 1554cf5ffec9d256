package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// absent refuses the name of a file that exists.
func absent(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return existsError(path)
	}
	return nil
}

func existsError(path string) error {
	return fmt.Errorf("%s exists already, and is never overwritten: name another file", path)
}

// createFile writes a file that doesn't exist yet, and leaves none when it
// can't be written whole.
func createFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the user names their own file
	if errors.Is(err, fs.ErrExist) {
		return existsError(path)
	}
	if err != nil {
		return err
	}
	if err := writeAndClose(f, text); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func writeAndClose(f *os.File, text []byte) error {
	_, err := f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// replaceFile puts a new text in the place of one that was read before, at once
// for all readers, with the old one's mode and owner. Behind a symbolic link,
// the file that it leads to is replaced.
func replaceFile(path string, before, text []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("%w (the file is replaced by a new one in the same folder)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(f.Chmod(info.Mode().Perm()), keepOwner(f, info)); err != nil {
		return errors.Join(fmt.Errorf("keeping the mode and owner of %s: %w", path, err), f.Close())
	}
	if err := writeAndClose(f, text); err != nil {
		return err
	}
	now, err := os.ReadFile(path) //nolint:gosec // the user names their own file
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return fmt.Errorf("%s was changed by another program meanwhile: nothing was written, try again", path)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	// Makes the new name last through a power cut, where folders can be synced.
	if d, err := os.Open(folder); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}
