package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Backup writes a copy of the database, as of now, to a new file at path that
// only its owner can read. Writers need not wait for it. The secrets key is not
// in it: keep that elsewhere. An existing path is refused with
// storage.ErrExists.
func (s *Store) Backup(ctx context.Context, path string) error {
	if path == "" {
		return fmt.Errorf("%w: a backup needs a path", storage.ErrInvalid)
	}
	if err := s.enter(ctx, "backing up"); err != nil {
		return err
	}
	defer s.leave()
	// SQLite would fill an empty file that exists; it must not be one that
	// somebody else has made meanwhile.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, ownerOnly) //nolint:gosec // the operator's own path
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: the backup %s: choose another path, or move that file away", storage.ErrExists, path)
	case err != nil:
		return storage.Unavailable("backing up", explain("the backup", path, err))
	}
	defer func() { _ = f.Close() }()
	// A connection of its own: a backup of a large database takes long, and
	// the readers are few.
	c, err := dial(ctx, s.cfg.Path, "cache_size(-2000)")
	if err == nil {
		_, err = c.exec(ctx, `VACUUM INTO ?`, path)
		err = errors.Join(err, c.close())
	}
	if err == nil {
		err = errors.Join(f.Sync(), syncFolder(filepath.Dir(path)))
	}
	if malformed(err) { // a backup is often the first to read all
		_ = s.trusted(context.WithoutCancel(ctx), "backing up", func() error {
			s.report(err)
			return nil
		})
	}
	if err != nil {
		_ = os.Remove(path)
		return storage.Unavailable("backing up to "+path, err)
	}
	return nil
}
