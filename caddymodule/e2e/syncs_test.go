//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tracedCall is one system call as `strace -f -y` writes it. strace sees one event after
// the other, so the number of a line says what came first: begun is the line
// on which the call was entered, done the one on which it had returned.
type tracedCall struct {
	begun, done int
	name        string
	path        string // of the file descriptor that is its first argument
	text        string // the rest
	failed      bool
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +[\d.]+ (\w+)\((?:\d+<(.*?)>)?(.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +[\d.]+ <\.\.\. (\w+) resumed>(.*)$`)
)

const unfinished = " <unfinished ...>"

// parseTrace reads the output of strace -f -ttt -y.
func parseTrace(r io.Reader) ([]*tracedCall, error) {
	var calls []*tracedCall
	open := make(map[string]*tracedCall) // by thread
	lines := bufio.NewReaderSize(r, 1<<20)
	for number := 1; ; number++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return calls, nil
		}
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		if m := resumedLine.FindStringSubmatch(line); m != nil {
			if c := open[m[1]]; c != nil && c.name == m[2] {
				c.done, c.text, c.failed = number, c.text+m[3], returned(m[3]) < 0
				delete(open, m[1])
			}
			continue
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // a signal, or the end of a thread
		}
		c := &tracedCall{begun: number, name: m[2], path: m[3]}
		calls = append(calls, c)
		if text, ok := strings.CutSuffix(m[4], unfinished); ok {
			c.text = text
			open[m[1]] = c
			continue
		}
		c.done, c.text, c.failed = number, m[4], returned(m[4]) < 0
	}
}

// returned is the value after the last equals sign.
func returned(text string) int {
	i := strings.LastIndex(text, ") = ")
	if i < 0 {
		return -1
	}
	value, _, _ := strings.Cut(text[i+len(") = "):], " ")
	n, err := strconv.Atoi(value)
	if err != nil {
		return -1
	}
	return n
}

// syncReport is what checkSyncs found.
type syncReport struct {
	answers int // that say 201
	syncs   int // of the write-ahead log
	faults  []string
}

var markerPattern = regexp.MustCompile(`marker-\d+-\d+\.`)

// checkSyncs proves that every 201 left after a sync of the write-ahead log
// that began when the row had been written: the row and the answer both hold a
// marker.
func checkSyncs(calls []*tracedCall) (rep syncReport) {
	written := make(map[string]*tracedCall)
	var syncs []*tracedCall
	for _, c := range calls {
		isLog := strings.HasSuffix(c.path, "-wal")
		switch {
		case c.failed || c.done == 0:
		case isLog && strings.HasPrefix(c.name, "pwrite"):
			for _, marker := range markerPattern.FindAllString(c.text, -1) {
				if written[marker] == nil {
					written[marker] = c
				}
			}
		case isLog && (c.name == "fsync" || c.name == "fdatasync"):
			syncs = append(syncs, c)
		}
	}
	rep.syncs = len(syncs)
	for _, c := range calls {
		if !strings.Contains(c.path, "TCP") && !strings.Contains(c.path, "socket:") || !strings.Contains(c.text, "HTTP/1.1 201 ") {
			continue
		}
		rep.answers++
		marker := markerPattern.FindString(c.text)
		row := written[marker]
		if row == nil {
			rep.faults = append(rep.faults, fmt.Sprintf("line %d: the answer for %q, whose row was never written", c.begun, marker))
			continue
		}
		synced := false
		for _, s := range syncs {
			if s.begun > row.done && s.done < c.begun {
				synced = true
				break
			}
		}
		if !synced {
			rep.faults = append(rep.faults, fmt.Sprintf("line %d: the answer for %q: no sync between it and its row in line %d", c.begun, marker, row.begun))
		}
	}
	return rep
}

func TestCheckSyncs(t *testing.T) {
	t.Parallel()
	const (
		row    = `1 1.0 pwrite64(9</d/s.db-wal>, "Your code is marker-1-1.\0", 4096, 32) = 4096` + "\n"
		sync   = `1 1.1 fdatasync(9</d/s.db-wal>) = 0` + "\n"
		answer = `2 1.2 write(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, "HTTP/1.1 201 Created\r\n{marker-1-1.}", 99) = 99` + "\n"
	)
	for _, tc := range []struct {
		name, trace string
		faults      int
	}{
		{"good", row + sync + answer, 0},
		{"no sync", row + answer, 1},
		{"sync before the row", sync + row + answer, 1},
		{"sync after the answer", row + answer + sync, 1},
		{"sync of another file", row + strings.ReplaceAll(sync, "-wal", "") + answer, 1},
		{"failed sync", row + strings.Replace(sync, "= 0", "= -1 EIO (Input/output error)", 1) + answer, 1},
		{"no row", sync + answer, 1},
		{"another row", strings.ReplaceAll(row, "1-1", "1-2") + sync + answer, 1},
		{"sync that began before the row", "3 0.9 fdatasync(9</d/s.db-wal> <unfinished ...>\n" + row + "3 1.1 <... fdatasync resumed>) = 0\n" + answer, 1},
		{"sync that is not done", row + "3 1.1 fdatasync(9</d/s.db-wal> <unfinished ...>\n" + answer + "3 1.3 <... fdatasync resumed>) = 0\n", 1},
		{"sync in two lines", row + "3 1.1 fdatasync(9</d/s.db-wal> <unfinished ...>\n3 1.2 <... fdatasync resumed>) = 0\n" + answer, 0},
		{"row in two lines", `1 1.0 pwrite64(9</d/s.db-wal>, "marker-1-1.", 4096, 32` + unfinished + "\n" + sync + "1 1.1 <... pwrite64 resumed>) = 4096\n" + answer, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			calls, err := parseTrace(strings.NewReader(tc.trace))
			require.NoError(t, err)
			rep := checkSyncs(calls)
			assert.Len(t, rep.faults, tc.faults)
			assert.Equal(t, 1, rep.answers)
		})
	}
}

// Under strace, every 201 is preceded by a sync that began after its row was
// written. A kill can't show that: what a killed process has written is in the
// system's memory.
func TestEveryAcceptanceIsSynced(t *testing.T) {
	const clients = 16
	posts := setting(t, "SIGNPOST_DRILL_POSTS", 5, 40)
	s := newServer(t)
	if out := execute(t, s.dir, s.env, "", "sh", "-c", "command -v strace"); out.code != 0 {
		if testing.Short() {
			t.Skip("strace is not installed")
		}
		t.Fatal("this drill needs strace: apt-get install strace (./xcaddy.sh test does that), or run the tests with -short")
	}
	if out := execute(t, s.dir, s.env, "", "strace", "-f", "true"); out.code != 0 {
		t.Fatalf("strace can't trace here (a container may need --cap-add SYS_PTRACE): %s", out.all())
	}
	trace := filepath.Join(s.dir, "trace")
	s.prefix = []string{
		"strace", "-f", "-ttt", "-yy", "-s", "70000", "-o", trace,
		"-e", "trace=pwrite64,pwritev,pwritev2,fsync,fdatasync,write,writev,sendto,sendmsg",
	}
	port := freePort(t)
	s.start(t, config{port: port, api: noLimits}.String())
	ids := make([][]int64, clients)
	var running sync.WaitGroup
	for i := range clients {
		c := newClient(t, plainURL(port))
		running.Go(func() {
			for j := range posts {
				a, err := c.do("POST", "/notifications/sms", smsBody(fmt.Sprintf("marker-%d-%d.", i, j)))
				if err != nil || a.status != 201 {
					t.Errorf("client %d: %d %s (%v)", i, a.status, a.body, err)
					return
				}
				n, err := parseNotification(a.body)
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = append(ids[i], n.ID)
			}
		})
	}
	running.Wait()
	s.stop(t)

	f, err := os.Open(trace)
	require.NoError(t, err)
	defer f.Close()
	calls, err := parseTrace(f)
	require.NoError(t, err)
	rep := checkSyncs(calls)
	for _, fault := range rep.faults {
		t.Error(fault)
	}
	assert.Equal(t, clients*posts, rep.answers, "the trace must show every answer")
	assert.Positive(t, rep.syncs)
	t.Logf("%d answers of 201 by %d clients, each after a sync that began after its row was written; %d syncs of the write-ahead log in all",
		rep.answers, clients, rep.syncs)
}
