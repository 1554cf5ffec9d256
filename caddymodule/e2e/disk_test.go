//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	smallDisk = 12 * mib
	otherFile = 4 * mib // of smallDisk, until it is deleted
	roomy     = 5 * time.Second
)

// disk is where a server has its database, with little room.
type disk struct {
	folder string   // as the server sees it
	prefix []string // with which the server is run
	// reach returns the folder once the server runs.
	reach func(t *testing.T, s *server) *os.Root
	free  func(t *testing.T, s *server, root *os.Root)
	fill  func(t *testing.T, root *os.Root)
}

// mounts are the ways to a file system of one's own: as root, and in a user
// namespace. It is in a namespace that ends with the server, so that nothing
// stays mounted.
var mounts = [][]string{{"unshare", "--mount"}, {"unshare", "--map-root-user", "--mount"}}

// mountedDisk is a tmpfs. err says why there can't be one.
func mountedDisk(t *testing.T) (d disk, err error) {
	t.Helper()
	d.folder = t.TempDir()
	script := []string{"sh", "-c", fmt.Sprintf(`mount -t tmpfs -o size=%d,mode=700 tmpfs "$0" && exec "$@"`, smallDisk), d.folder}
	for _, mount := range mounts {
		d.prefix = append(append([]string{}, mount...), script...)
		out, failed := exec.CommandContext(t.Context(), d.prefix[0], append(d.prefix[1:], "true")...).CombinedOutput() //nolint:gosec // ours
		if failed == nil {
			err = nil
			break
		}
		err = errors.Join(err, fmt.Errorf("%s: %w: %s", strings.Join(mount, " "), failed, strings.TrimSpace(string(out))))
	}
	d.reach = func(t *testing.T, s *server) *os.Root {
		root, err := os.OpenRoot(filepath.Join(fmt.Sprintf("/proc/%d/root", s.cmd.Process.Pid), d.folder))
		require.NoError(t, err)
		f, err := root.OpenFile("other", os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.Write(make([]byte, otherFile))
		require.NoError(t, errors.Join(err, f.Close()))
		return root
	}
	// What is left is too little for a notification, and may be enough for less.
	d.fill = func(t *testing.T, root *os.Root) {
		f, err := root.OpenFile("rest", os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
	}
	d.free = func(t *testing.T, _ *server, root *os.Root) {
		require.NoError(t, root.Remove("other"))
	}
	return d, err
}

// limitedFiles is a limit of the size of a file: a write beyond it fails, with
// another error than on a full disk, which means a fault to the server.
func limitedFiles(t *testing.T) disk {
	t.Helper()
	d := disk{folder: t.TempDir()}
	d.prefix = []string{"prlimit", fmt.Sprintf("--fsize=%d:unlimited", mib)}
	d.reach = func(t *testing.T, _ *server) *os.Root {
		root, err := os.OpenRoot(d.folder)
		require.NoError(t, err)
		return root
	}
	d.free = func(t *testing.T, s *server, _ *os.Root) {
		out := execute(t, s.dir, s.env, "", "prlimit", "--pid", strconv.Itoa(s.cmd.Process.Pid), "--fsize=unlimited:unlimited")
		require.Zero(t, out.code, out.all())
	}
	return d
}

// A full disk: callers get 503 and lose nothing, and there being room again is
// enough for all to go on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d, err := mountedDisk(t)
	if err != nil {
		t.Logf("no file system of one's own can be mounted here: %v; instead of a full disk, which ends a write with ENOSPC, "+
			"this is a limit of the size of files, which ends it with EFBIG", err)
		d = limitedFiles(t)
		out, err := exec.CommandContext(t.Context(), d.prefix[0], append(d.prefix[1:], "true")...).CombinedOutput()
		require.NoError(t, err, "this drill needs a file system of limited size: run it as root with CAP_SYS_ADMIN, "+
			"allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or install util-linux for prlimit: %s", out)
	}
	testFull(t, d)
}

// Writes that fail otherwise than by a full disk are a fault: nothing is
// trusted until the database has been opened anew.
func TestWritesFail(t *testing.T) {
	t.Parallel()
	testFull(t, limitedFiles(t))
}

func testFull(t *testing.T, d disk) {
	const clients = 8
	port, side := freePort(t), freePort(t)
	s := newServer(t)
	s.prefix = d.prefix
	s.start(t, config{
		port: port, storage: filepath.Join(d.folder, "signpost.db"), api: noLimits,
		sites: fmt.Sprintf("http://127.0.0.1:%d {\n handle /health/* {\n  signpost_health\n }\n handle {\n  notify_auth\n  respond ok\n }\n}\n", side),
	}.String())
	root := d.reach(t, s)
	defer root.Close()
	c, beside := newClient(t, plainURL(port)), newClient(t, plainURL(side))
	ready := func() int {
		a, err := beside.doAs("", http.MethodGet, "/health/ready", nil)
		require.NoError(t, err)
		return a.status
	}
	require.Equal(t, http.StatusOK, ready())

	accepted := make(map[int64]string)
	var mu sync.Mutex
	// post returns whether the notification was accepted; a refusal must be one
	// that a client can work with.
	post := func(c *client, code string) (bool, error) {
		a, err := c.do(http.MethodPost, "/notifications/sms", smsBody(code))
		if err != nil {
			return false, err
		}
		if a.status == http.StatusCreated {
			n, err := parseNotification(a.body)
			mu.Lock()
			defer mu.Unlock()
			accepted[n.ID] = messageStart + code
			return true, err
		}
		var out struct{ Result, Message string }
		if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusServiceUnavailable ||
			a.header.Get("Retry-After") == "" || out.Result != "error" || out.Message == "" {
			return false, fmt.Errorf("not a refusal of the API: %d %v %s (%w)", a.status, a.header, a.body, err)
		}
		return false, nil
	}
	// postAll has every client post until it was refused some times.
	refusals, longest := 0, time.Duration(0)
	postAll := func(round string, patient int) {
		var running sync.WaitGroup
		for i := range clients {
			c := newClient(t, plainURL(port))
			running.Go(func() {
				for j, refused := 0, 0; refused < patient; j++ {
					began := time.Now()
					ok, err := post(c, fmt.Sprintf("%s-%d-%d.%s", round, i, j, strings.Repeat("x", 300)))
					took := time.Since(began)
					if !assert.NoError(t, err) {
						return
					}
					if !ok {
						refused++
						mu.Lock()
						refusals++
						longest = max(longest, took)
						mu.Unlock()
					}
				}
			})
		}
		running.Wait()
	}
	postAll("a", 5)
	before := len(accepted)
	require.Greater(t, before, 20)
	if d.fill != nil {
		d.fill(t, root)
	}
	// After a fault the log is emptied into the database, so that there may be
	// room for some more.
	began := time.Now()
	for round := 0; ; round++ {
		require.Less(t, time.Since(began), 2*patience, "health says that all is well")
		postAll(fmt.Sprint("b", round), 20)
		away := 0
		for ; away < 12 && ready() == http.StatusServiceUnavailable; away++ {
			time.Sleep(200 * time.Millisecond) // in all longer than an answer is kept, and than opening it again takes
		}
		if away == 12 {
			break
		}
	}
	if d.fill != nil { // reading goes on
		sample := 0
		for id, message := range accepted {
			if sample++; sample <= 20 {
				require.Equal(t, message, c.get(t, id).Message)
			}
		}
		require.Equal(t, http.StatusServiceUnavailable, ready(), "still full")
	}
	for range 20 {
		require.Equal(t, "ok", string(beside.must(t, http.StatusOK, http.MethodPost, "/x", []byte(`{}`)).body), "configured services need no storage")
	}

	d.free(t, s, root)
	freed := time.Now()
	eventually(t, patience, func() (bool, string) {
		ok, err := post(c, "back.")
		require.NoError(t, err)
		return ok, "notifications are still refused"
	})
	back := time.Since(freed)
	assert.Less(t, back, roomy)
	eventually(t, roomy, func() (bool, string) { return ready() == http.StatusOK, "health says that it is full" })
	for i := range 20 {
		ok, err := post(c, fmt.Sprintf("after-%d.", i))
		require.NoError(t, err)
		require.True(t, ok)
	}
	c.awaitDelivered(t, patience)
	stored := c.all(t)
	for id, message := range accepted {
		require.Equal(t, message, stored[id].Message, "notification %d was answered 201", id)
	}
	assert.Len(t, stored, len(accepted), "what was refused is not stored")

	s.stop(t)
	// The file system is gone for everybody but who has it open.
	database, err := root.ReadFile("signpost.db")
	require.NoError(t, err)
	requireIntact(t, s.write(t, "kept.db", string(database)))
	log, err := os.ReadFile(s.log)
	require.NoError(t, err)
	assert.Regexp(t, `database or disk is full|disk I/O error`, string(log), "the operator is told")
	t.Logf("%d answers of 201, all there; %d refusals, the longest after %s; back %s after there was room",
		len(accepted), refusals, longest.Round(time.Millisecond), back.Round(time.Millisecond))
}

// A page that is damaged beneath a running server stops everything as soon as a
// read has met it, and nothing is lost once the file is as it was.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	const page, intact, rows = 4096, 40, 300
	port, side := freePort(t), freePort(t)
	caddyfile := config{
		port: port, api: noLimits,
		sites: fmt.Sprintf("http://127.0.0.1:%d {\n signpost_health\n respond ok\n}\n", side),
	}.String()
	s := newServer(t)
	s.start(t, caddyfile)
	c := newClient(t, plainURL(port))
	accepted := make(map[int64]string, rows)
	for i := range rows {
		code := fmt.Sprintf("%d.%s", i, strings.Repeat("x", 600))
		accepted[c.send(t, code).ID] = messageStart + code
	}
	c.awaitDelivered(t, patience)
	s.stop(t)
	s.start(t, caddyfile) // with nothing in memory but what writing needs
	for i := range 3 {
		code := fmt.Sprintf("later-%d.", i)
		accepted[c.send(t, code).ID] = messageStart + code
	}
	c.awaitDelivered(t, patience)

	path := filepath.Join(s.dir, "signpost.db")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, len(whole), 2*intact*page)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, len(whole)-intact*page), intact*page)
	require.NoError(t, err)

	status := func(method, path string, body []byte) int {
		a, err := c.do(method, path, body)
		require.NoError(t, err)
		return a.status
	}
	met := 0
	for id := range accepted {
		if met = status(http.MethodGet, fmt.Sprintf("/notifications/%d", id), nil); met != http.StatusOK {
			break
		}
	}
	require.Equal(t, http.StatusServiceUnavailable, met, "no read has met the damage")
	for i := range 100 {
		require.Equal(t, http.StatusServiceUnavailable, status(http.MethodPost, "/notifications/sms", smsBody(fmt.Sprint(i))))
	}
	eventually(t, 2*time.Second, func() (bool, string) {
		a, err := newClient(t, plainURL(side)).doAs("", http.MethodGet, "/ready", nil)
		return err == nil && a.status == http.StatusServiceUnavailable, fmt.Sprint("health says ", a.status)
	})

	// Pages that a last checkpoint has written stay.
	now := make([]byte, page)
	for at := intact * page; at+page <= len(whole); at += page {
		_, err := f.ReadAt(now, int64(at))
		require.NoError(t, err)
		if bytes.Count(now, []byte{0xff}) == page {
			_, err = f.WriteAt(whole[at:at+page], int64(at))
			require.NoError(t, err)
		}
	}
	repaired := time.Now()
	eventually(t, patience, func() (bool, string) {
		return status(http.MethodPost, "/notifications/sms", smsBody("back.")) == http.StatusCreated, "notifications are still refused"
	})
	back := time.Since(repaired)
	assert.Less(t, back, roomy)
	stored := c.all(t)
	assert.Len(t, stored, len(accepted)+1)
	for id, message := range accepted {
		require.Equal(t, message, stored[id].Message, "notification %d was answered 201", id)
	}
	s.stop(t)
	requireIntact(t, path)
	t.Logf("back %s after the repair", back.Round(time.Millisecond))
}
