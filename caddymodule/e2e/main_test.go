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

	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// binary is the caddy that the tests run, and builds where those are that the
// tests have built.
var binary, builds string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if builds, err = os.MkdirTemp("", "signpost-e2e-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(builds)
	if binary = os.Getenv("SIGNPOST_CADDY"); binary == "" {
		binary = filepath.Join(builds, "caddy")
		if err := build(binary, "0"); err != nil {
			return fail(err)
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return fail(err)
	}
	if _, err := os.Stat(binary); err != nil {
		return fail(fmt.Errorf("SIGNPOST_CADDY: %w", err))
	}
	code := pgtest.Main{M: m}.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			return fail(err)
		}
	}
	return code
}

// build builds a caddy with the flags of xcaddy.sh, so that the two share Go's
// build cache.
func build(output, cgo string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-ldflags", "-s -w",
		"-o", output, "../cmd/caddy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building caddy: %w", err)
	}
	return nil
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
