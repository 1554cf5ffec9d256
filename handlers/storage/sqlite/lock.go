package sqlite

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// lockPoll is how often a lock that another holds is tried again.
const lockPoll = 20 * time.Millisecond

// acquire takes the lock file at path, waiting while its holder goes away. The
// file holds the process id of its owner, and stays when it is released:
// removing it would let two processes lock two files.
func acquire(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, ownerOnly) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, explain("the lock file", path, err)
	}
	giveUp := time.NewTimer(wait)
	defer giveUp.Stop()
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		ok, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if ok {
			return f, sign(f)
		}
		select {
		case <-poll.C:
			continue
		case <-giveUp.C:
		case <-ctx.Done():
		}
		holder := holderOf(f)
		_ = f.Close()
		return nil, fmt.Errorf("the database is in use by %s, which holds %s: stop that process, or give this one another path", holder, path)
	}
}

func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holderOf(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid, bad := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || bad != nil:
		return "another process"
	case pid == os.Getpid():
		return "this very process (an older configuration may still be finishing)"
	}
	return fmt.Sprintf("process %d", pid)
}

// release gives the lock back.
func release(f *os.File) {
	if f != nil {
		_ = f.Close()
	}
}
