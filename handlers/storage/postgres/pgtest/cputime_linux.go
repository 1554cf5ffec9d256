package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// CPUTime is the processor time that the server has used since it started, all
// its processes together, those that have ended too.
func (s *Server) CPUTime() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0, errors.New("the PostgreSQL server is not running")
	}
	own := s.process.c.Process.Pid
	first, err := readTimes(strconv.Itoa(own))
	if err != nil {
		return 0, err
	}
	ticks := first.own + first.ended
	others, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range others {
		t, err := readTimes(filepath.Base(filepath.Dir(path)))
		if err == nil && t.parent == own { // else it has ended meanwhile
			ticks += t.own
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// times are what proc(5) says of a process, in ticks.
type times struct {
	parent     int
	own, ended int64 // ended: of children that were waited for
}

func readTimes(pid string) (t times, err error) {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return t, err
	}
	// The second field, the name in brackets, may hold anything.
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 15 {
		return t, fmt.Errorf("/proc/%s/stat has %d fields after the name", pid, len(f))
	}
	var n [5]int64
	for i, field := range []int{1, 11, 12, 13, 14} { // ppid, utime, stime, cutime, cstime
		if n[i], err = strconv.ParseInt(f[field], 10, 64); err != nil {
			return t, err
		}
	}
	return times{parent: int(n[0]), own: n[1] + n[2], ended: n[3] + n[4]}, nil
}
