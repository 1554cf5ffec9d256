package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// TTY is the terminal of the process. It is a Console.
type TTY struct {
	in, out *os.File
	turn    chan struct{} // held by who reads
}

// OpenConsole opens the terminal that the process was started from, whatever
// its standard input and output are. It is an error when there is none.
func OpenConsole() (*TTY, error) {
	in, err := os.OpenFile(consoleIn, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("hub: there is no terminal to ask at: %w", err)
	}
	out := in
	if consoleOut != consoleIn {
		if out, err = os.OpenFile(consoleOut, os.O_RDWR, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("hub: there is no terminal to ask at: %w", err), in.Close())
		}
	}
	return newTTY(in, out)
}

func newTTY(in, out *os.File) (*TTY, error) {
	t := &TTY{in: in, out: out, turn: make(chan struct{}, 1)}
	if err := t.control(func(fd int) error {
		if !term.IsTerminal(fd) {
			return fmt.Errorf("hub: %s is no terminal", in.Name())
		}
		return nil
	}); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Write implements io.Writer.
func (t *TTY) Write(p []byte) (int, error) { return t.out.Write(p) }

// ReadLine implements Console.
func (t *TTY) ReadLine(ctx context.Context, prompt string, secret bool) (string, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	type line struct {
		text string
		err  error
	}
	got := make(chan line, 1)
	// Not all systems can interrupt the reading of a terminal. Where they can't,
	// it goes on until the next line, for which nobody waits.
	go func() {
		defer func() { <-t.turn }()
		text, err := t.read(ctx, prompt, secret)
		got <- line{text, err}
	}()
	select {
	case l := <-got:
		return l.text, l.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// read reads in raw mode: the echo is the hub's own affair then.
func (t *TTY) read(ctx context.Context, prompt string, secret bool) (text string, err error) {
	var before *term.State
	if err := t.control(func(fd int) (err error) {
		before, err = term.MakeRaw(fd)
		return err
	}); err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, t.control(func(fd int) error { return term.Restore(fd, before) }))
	}()
	t.discard()
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = t.in.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-fired
		}
	}()
	screen := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.in, t.out}, prompt)
	if secret {
		return screen.ReadPassword(prompt)
	}
	return screen.ReadLine()
}

// discard throws away what was typed before it was asked for: it was meant for
// something else.
func (t *TTY) discard() {
	if t.in.SetReadDeadline(time.Now().Add(5*time.Millisecond)) != nil {
		return
	}
	var buffer [256]byte
	for {
		if _, err := t.in.Read(buffer[:]); err != nil {
			break
		}
	}
	_ = t.in.SetReadDeadline(time.Time{})
}

// control calls f with the file descriptor, and leaves its mode alone.
func (t *TTY) control(f func(fd int) error) error {
	conn, err := t.in.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Close closes the terminal's files.
func (t *TTY) Close() error {
	if t.out != t.in {
		return errors.Join(t.in.Close(), t.out.Close())
	}
	return t.in.Close()
}
