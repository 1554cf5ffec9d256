//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// binary is the caddy that the tests run.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binary = os.Getenv("SIGNPOST_CADDY"); binary == "" {
		dir, err := os.MkdirTemp("", "signpost-e2e-")
		if err != nil {
			return fail(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "caddy")
		// The flags of xcaddy.sh, so that the two share Go's build cache.
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-ldflags", "-s -w",
			"-o", binary, "../cmd/caddy")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fail(fmt.Errorf("building caddy: %w", err))
		}
	}
	abs, err := filepath.Abs(binary)
	if err != nil {
		return fail(err)
	}
	binary = abs
	if _, err := os.Stat(binary); err != nil {
		return fail(fmt.Errorf("SIGNPOST_CADDY: %w", err))
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			return fail(err)
		}
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// setting is a number that makes a drill longer or shorter: that of the
// environment, else the short or the full one.
func setting(t testing.TB, env string, short, full int) int {
	t.Helper()
	if text := os.Getenv(env); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: it must be a number above 0", env, text)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return full
}
