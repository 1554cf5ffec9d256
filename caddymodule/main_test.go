package caddymodule

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

// Caddy keeps its data and configuration below the home directory: the tests
// get one of their own.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signpost-test-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		if err := os.Setenv(name, dir); err != nil {
			panic(err)
		}
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy") // set before the variables above
	code := m.Run()
	// Stop leaves the admin endpoint of the last configuration; one without ends
	// it.
	if err := errors.Join(caddy.Load([]byte(`{"admin":{"disabled":true},"logging":{"logs":{"default":{"level":"ERROR"}}}}`), true), caddy.Stop()); err != nil {
		panic(err)
	}
	if code == 0 {
		// What Caddy itself starts once in a process and never ends.
		if err := goleak.Find(
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // sleeps until it notices
		); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}
