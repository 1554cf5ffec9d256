//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// unprivileged returns whom to run as in root's place.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

// process is a running server.
type process struct {
	c    *exec.Cmd
	done chan struct{} // closed when it has ended
}

// run starts a server that doesn't outlive us, where the system can see to
// that.
func run(c *exec.Cmd) (*process, error) {
	p := &process{c: c, done: make(chan struct{})}
	dieWithUs(c.SysProcAttr)
	started := make(chan error)
	go func() {
		// The kernel ties the child to the thread that has started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() //nolint:errcheck // it is killed
			close(p.done)
		}
	}()
	return p, <-started
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) stop(how syscall.Signal) error {
	if err := p.c.Process.Signal(how); err != nil && !p.ended() {
		return err
	}
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		return fmt.Errorf("the PostgreSQL server %d doesn't end", p.c.Process.Pid)
	}
}
