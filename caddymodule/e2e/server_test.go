//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for something that must come.
const patience = 30 * time.Second

// eventually polls until cond holds. why tells what was seen last.
func eventually(t testing.TB, within time.Duration, cond func() (ok bool, why string)) {
	t.Helper()
	deadline := time.Now().Add(within)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		ok, why := cond()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, why)
		}
		time.Sleep(pause)
	}
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePort returns a loopback port that nobody has. It lies below the range
// from which the system takes the ports of outgoing connections, of which
// other tests make thousands, and no other test of this process gets it.
func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	for range 1000 {
		port := 15000 + rand.IntN(15000)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		ports.given[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}

// server is a caddy process with folders, an admin address and a log of its
// own.
type server struct {
	dir    string // also its working directory
	admin  string
	env    []string
	prefix []string // a command that runs it, such as strace

	cmd    *exec.Cmd
	exited chan struct{}
	log    string
	starts int
}

// newServer prepares a server that is not running yet.
func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), admin: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	s.env = environment(s.dir, "CADDY_ADMIN="+s.admin)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() && s.log != "" {
			t.Logf("the end of %s:\n%s", filepath.Base(s.log), tail(s.log, 15))
		}
	})
	return s
}

// environment keeps a process away from this user's own folders.
func environment(dir string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "share"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"XDG_CACHE_HOME=" + filepath.Join(dir, "cache"),
	}, more...)
}

// startServer runs a Caddyfile until the test ends.
func startServer(t testing.TB, caddyfile string) *server {
	t.Helper()
	s := newServer(t)
	s.start(t, caddyfile)
	return s
}

// start writes the Caddyfile and runs it; it returns when Caddy serves it.
func (s *server) start(t testing.TB, caddyfile string) {
	t.Helper()
	s.launch(t, caddyfile)
	eventually(t, patience, func() (bool, string) {
		select {
		case <-s.exited:
			t.Fatalf("caddy ended at its start:\n%s", tail(s.log, 40))
		default:
		}
		b, err := os.ReadFile(s.log)
		return err == nil && bytes.Contains(b, []byte("serving initial configuration")), "caddy is not serving"
	})
}

// launch runs a Caddyfile without waiting.
func (s *server) launch(t testing.TB, caddyfile string) {
	t.Helper()
	path := s.write(t, "Caddyfile", caddyfile)
	s.starts++
	s.log = filepath.Join(s.dir, fmt.Sprintf("caddy.%d.log", s.starts))
	out, err := os.Create(s.log)
	require.NoError(t, err)
	defer out.Close()
	args := append(append([]string{}, s.prefix...), binary, "run", "--config", path, "--adapter", "caddyfile")
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.env, out, out
	// A group, so that a tracer dies with what it traces; and nothing outlives
	// a test process that was itself killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.cmd.Start())
	exited := make(chan struct{})
	s.exited = exited
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait() // how it ended is judged by who ended it
		close(exited)
	}(s.cmd)
}

// write puts a file into the server's folder.
func (s *server) write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// stop ends the server as an operator does.
func (s *server) stop(t testing.TB) {
	t.Helper()
	resp := s.request(t, http.MethodPost, "/stop", "", "")
	require.Equal(t, http.StatusOK, resp.status, resp.body)
	select {
	case <-s.exited:
		s.cmd = nil
	case <-time.After(patience):
		t.Fatal("caddy does not end")
	}
}

// kill ends the server's process group at once, if it runs.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-s.exited
	s.cmd = nil
}

type adminAnswer struct {
	status int
	body   string
}

// admin clients have no connection to keep, so that they don't count among the
// server's file descriptors.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// request calls the admin API.
func (s *server) request(t testing.TB, method, path, contentType, body string) adminAnswer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.admin+path, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := adminClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return adminAnswer{resp.StatusCode, string(b)}
}

// load replaces the configuration as `caddy reload` does.
func (s *server) load(t testing.TB, caddyfile string) adminAnswer {
	t.Helper()
	return s.request(t, http.MethodPost, "/load", "text/caddyfile", caddyfile)
}

// output is what a command printed.
type output struct {
	stdout, stderr string
	code           int
}

func (o output) all() string { return o.stdout + o.stderr }

// run runs `caddy` with arguments in the server's environment.
func (s *server) run(t testing.TB, args ...string) output {
	t.Helper()
	return execute(t, s.dir, s.env, "", binary, args...)
}

// ok runs a command that must succeed and returns what it printed.
func (s *server) ok(t testing.TB, args ...string) string {
	t.Helper()
	out := s.run(t, args...)
	require.Zero(t, out.code, "caddy %s:\n%s", strings.Join(args, " "), out.all())
	return out.stdout
}

func execute(t testing.TB, dir string, env []string, stdin, name string, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	cmd.Stdin = strings.NewReader(stdin)
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Errorf("%s %s: %v (%v)", name, strings.Join(args, " "), err, ctx.Err())
		return output{code: -1}
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		all[i] = line[:min(len(line), 400)]
	}
	return strings.Join(all, "\n")
}
