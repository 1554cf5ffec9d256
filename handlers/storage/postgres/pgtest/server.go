//go:build unix

// Package pgtest runs a private PostgreSQL server for tests: its data in a new
// folder, reachable by a Unix socket in that folder and a free port of
// loopback, gone when the test binary ends.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running, or stopped, PostgreSQL server.
type Server struct {
	folder     string
	bin        string
	port       int
	credential *syscall.Credential // nil: our own

	mu      sync.Mutex
	process *process // nil while stopped
	serial  atomic.Int64
}

// startTimeout bounds how long a server may take to answer.
const startTimeout = 60 * time.Second

// Start makes a database cluster and starts a server on it. The error says what
// to install when there is none. PostgreSQL refuses to run as root: then it
// runs as the user postgres, or else nobody.
func Start() (s *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s = &Server{bin: bin}
	if s.folder, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.folder))
		}
	}()
	if os.Geteuid() == 0 {
		if s.credential, err = unprivileged(); err != nil {
			return nil, err
		}
		if err := os.Chown(s.folder, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			return nil, err
		}
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	initdb := s.command("initdb", "--pgdata="+s.data(), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, s.Resume()
}

// binaries returns the folder of the newest server that is installed.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
		return filepath.Dir(newest), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("these tests need a PostgreSQL server of their own: run `apt-get install postgresql` " +
			"(or put the folder of `postgres` and `initdb` on PATH)")
	}
	return filepath.Dir(path), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) //nolint:errcheck // then it is the oldest
	return n
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// command runs a program of PostgreSQL as the user that owns the data.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...) //nolint:gosec // the tests' own
	c.Dir = s.folder
	c.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.folder)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Setpgid: true}
	return c
}

// Resume starts the server again after Halt.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() //nolint:errcheck // the server has its own
	c := s.command("postgres", "-D", s.data(), "-k", s.folder, "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "max_connections=200", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "log_min_messages=warning")
	c.Stdout, c.Stderr = log, log
	p, err := run(c)
	if err != nil {
		return err
	}
	s.process = p
	return s.answering()
}

func (s *Server) answering() error {
	deadline := time.Now().Add(startTimeout)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			err = c.Close(ctx)
		}
		cancel()
		switch {
		case err == nil:
			return nil
		case s.process.ended():
			return fmt.Errorf("the PostgreSQL server has ended:\n%s", s.Log())
		case time.Now().After(deadline):
			return fmt.Errorf("the PostgreSQL server doesn't answer: %w\n%s", err, s.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Halt stops the server at once, as a crash does; Resume recovers it.
func (s *Server) Halt() error { return s.halt(syscall.SIGQUIT) }

func (s *Server) halt(how syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	p := s.process
	s.process = nil
	return p.stop(how)
}

// Stop stops the server and removes its data.
func (s *Server) Stop() error {
	return errors.Join(s.halt(syscall.SIGQUIT), os.RemoveAll(s.folder))
}

// Log returns the last part of the server's log.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.folder, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8<<10):])
}

// DSN names a database by the Unix socket.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", s.folder, s.port, database)
}

// Address returns host and port on loopback.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// TCP names a database by an address, which may be that of a proxy before
// Address.
func (s *Server) TCP(address, database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", address, database)
}

// Exec runs statements in a database.
func (s *Server) Exec(ctx context.Context, database, text string) error {
	c, err := pgx.Connect(ctx, s.DSN(database))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, text)
	return errors.Join(err, c.Close(ctx))
}

// Create makes a database, as a copy of template unless that is empty, and
// returns its name.
func (s *Server) Create(ctx context.Context, template string) (string, error) {
	name := "test" + strconv.FormatInt(s.serial.Add(1), 10)
	text := "CREATE DATABASE " + name
	if template != "" {
		text += " TEMPLATE " + template
	}
	return name, s.Exec(ctx, "postgres", text)
}

// Drop removes a database, and the connections that it may have.
func (s *Server) Drop(ctx context.Context, database string) error {
	return s.Exec(ctx, "postgres", "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)")
}

// Terminate ends all connections to a database.
func (s *Server) Terminate(ctx context.Context, database string) error {
	return s.Exec(ctx, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+
		strings.ReplaceAll(database, "'", "''")+"'")
}
