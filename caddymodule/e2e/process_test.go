//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// descriptors is the number of open files and sockets of the server.
func (s *server) descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	require.NoError(t, err)
	return len(d)
}

var goroutineTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

func (s *server) goroutines(t testing.TB) int {
	t.Helper()
	a := s.request(t, http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	m := goroutineTotal.FindStringSubmatch(a.body)
	require.NotNil(t, m, a.body)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// memory returns a line of the server's /proc/PID/status in bytes: VmRSS is
// what is resident now, VmHWM the most that was.
func (s *server) memory(t testing.TB, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(b)
	require.NotNil(t, m, field)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return n << 10
}

// resetPeak makes VmHWM start anew from what is resident now.
func (s *server) resetPeak(t testing.TB) {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0))
}

const mib = 1 << 20

func inMiB(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }
