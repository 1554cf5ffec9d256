package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
)

const (
	// checkpointFrames is the number of pages in the write-ahead log from
	// which they are moved into the database.
	checkpointFrames = 4000
	// largeLog is the number of pages from which the log is cut back even if
	// that means to wait for readers.
	largeLog = 8 * checkpointFrames
)

// checkpoint moves the write-ahead log into the database. An error that isn't
// harmless means that a sync may have failed, after which no other may be
// tried on these connections. busy says that a reader stood in the way, and
// pages is what the log held.
func (w *writer) checkpoint(ctx context.Context, mode string) (busy bool, pages int, err error) {
	err = w.c.query(ctx, func(row []driver.Value) error {
		busy, pages = asInt(row[0]) != 0, int(asInt(row[1]))
		return nil
	}, "PRAGMA wal_checkpoint("+mode+")")
	if err != nil {
		return false, 0, fmt.Errorf("emptying the write-ahead log: %w", err)
	}
	return busy, pages, nil
}

// maintain keeps the write-ahead log small. Readers that follow one another
// closely keep SQLite from starting it anew; once it is large, the writer
// waits a moment for them.
func (w *writer) maintain() error {
	written := w.c.framesWritten()
	if written-w.backfilled < checkpointFrames {
		return nil
	}
	w.backfilled = written
	_, pages, err := w.checkpoint(w.ctx, "PASSIVE")
	if err == nil && pages >= w.largeLog {
		var busy bool
		if _, err = w.c.exec(w.ctx, "PRAGMA busy_timeout = 100"); err == nil {
			busy, _, err = w.checkpoint(w.ctx, "TRUNCATE")
		}
		if err == nil {
			_, err = w.c.exec(w.ctx, "PRAGMA busy_timeout = 5000")
		}
		// A reader that stays (a backup) isn't waited for at every checkpoint.
		w.largeLog = largeLog
		if busy {
			w.largeLog += pages
		}
	}
	if err != nil && !harmless(err) {
		return err
	}
	return nil
}
