//go:build unix

package pgtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Binary returns the test binary's server, which the first call starts.
func Binary() (*Server, error) {
	shared.once.Do(func() { shared.server, shared.err = Start() })
	return shared.server, shared.err
}

// Shared is Binary for a test, which fails without PostgreSQL: a skipped one
// would look like a passed one.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	s, err := Binary()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Main is a testing.M that stops the shared server after the tests. Give it to
// goleak.VerifyTestMain, or call its Run in TestMain.
type Main struct {
	M interface{ Run() int }
}

// Run runs the tests.
func (m Main) Run() int {
	code := m.M.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}
