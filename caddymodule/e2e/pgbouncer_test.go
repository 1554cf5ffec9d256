//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bouncer runs PgBouncer in transaction mode before a database and returns the
// DSN through it.
func bouncer(t testing.TB, program, target, database string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(target)
	require.NoError(t, err)
	listen := freePort(t)
	dir, err := os.MkdirTemp("", "signpost-pgbouncer-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	ini := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(ini, fmt.Appendf(nil, `[databases]
%s = host=%s port=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
`, database, host, port, listen), 0o600))
	cmd := exec.Command(program, ini)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // it refuses to run as root
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, int(uid), int(gid)))
		require.NoError(t, os.Chown(ini, int(uid), int(gid)))
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-exited
		if t.Failed() {
			t.Log(tail(log.Name(), 20))
		}
	})
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", listen, database)
}

// Two nodes through PgBouncer in transaction mode, from the migration to the
// last delivery.
func TestPgBouncer(t *testing.T) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(program); err != nil {
			t.Fatal("pgbouncer is missing: apt-get install pgbouncer")
		}
	}
	db, _ := newDatabase(t)
	name, err := db.Create(t.Context(), "")
	require.NoError(t, err)
	dsn := bouncer(t, program, db.Address(), name)
	eventually(t, patience, func() (bool, string) {
		c, err := net.DialTimeout("tcp", dsn[len("postgres://postgres@"):len("postgres://postgres@127.0.0.1:12345")], time.Second)
		if err != nil {
			return false, err.Error()
		}
		return c.Close() == nil, ""
	})
	one, two := startNodes(t, config{postgres: dsn, pooler: true, api: noLimits})
	for i := range 200 {
		[]*node{one, two}[i%2].c.send(t, fmt.Sprint(i))
	}
	two.c.awaitDelivered(t, patience)
	assert.Equal(t, 200, one.c.list(t, "/notifications").Total)
}
