package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// asker says how the user is asked.
type asker struct {
	word   string // of the option consent
	secure bool   // whether the hub's pages are reached by TLS
}

// make makes what asks. The terminal is returned as well when it is one; it isn't
// opened yet.
func (a asker) make() (consent hub.Consenter, console *lateConsole, err error) {
	switch a.word {
	case "", "page":
		consent, err = hub.NewPageConsent(a.open)
		return consent, nil, err
	case "terminal":
		console = new(lateConsole)
		consent, err = hub.NewTerminalConsent(console)
		return consent, console, err
	case "never":
		return hub.ConsentNever(), nil, nil
	}
	return nil, nil, fmt.Errorf("consent %q: it must be page, terminal or never", a.word)
}

// open shows a page to the user: in the browser, and by its address on the
// terminal that the program runs in, for browsers may fail without a word. Not
// in a log, and not as an argument of the browser: whoever has the address can
// answer.
func (a asker) open(ctx context.Context, address string) error {
	if rest, ok := strings.CutPrefix(address, "http://"); ok && a.secure {
		address = "https://" + rest
	}
	doorway, err := hub.Doorway(ctx, address)
	if err == nil {
		err = openBrowser(doorway)
	}
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nA web site asks for your signature. The hub's question has been opened in your browser, or open it yourself:\n%s\n", address)
	return nil
}

// openConsole opens the terminal that the program runs in.
var openConsole = func() (*hub.TTY, error) { return hub.OpenConsole() }

// lateConsole is a terminal that is opened when the configuration starts, or by
// the first question if that comes earlier: whoever only validates a
// configuration may have none. It is a hub.Console.
type lateConsole struct {
	once sync.Once
	tty  *hub.TTY
	err  error
}

func (l *lateConsole) open() (*hub.TTY, error) {
	l.once.Do(func() { l.tty, l.err = openConsole() })
	return l.tty, l.err
}

// Write implements io.Writer.
func (l *lateConsole) Write(p []byte) (int, error) {
	tty, err := l.open()
	if err != nil {
		return 0, err
	}
	return tty.Write(p)
}

// ReadLine implements hub.Console.
func (l *lateConsole) ReadLine(ctx context.Context, prompt string, secret bool) (string, error) {
	tty, err := l.open()
	if err != nil {
		return "", err
	}
	return tty.ReadLine(ctx, prompt, secret)
}

// Close closes the terminal. One that was never opened isn't any more.
func (l *lateConsole) Close() error {
	l.once.Do(func() { l.err = errors.New("the terminal is closed") })
	if l.tty == nil {
		return nil
	}
	return l.tty.Close()
}
