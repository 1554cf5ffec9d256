//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// target is one of the two handlers that read bodies.
type target struct {
	name  string
	port  int
	path  string
	ok    int    // the status of an authenticated POST of the drill
	fault string // how an answer begins that is no matter of authentication
}

// floodServer runs both handlers, with an upstream that counts what reaches it.
func floodServer(t testing.TB, timeouts string) (*server, []target, *upstream) {
	t.Helper()
	up := &upstream{}
	up.Server = httptest.NewServer(up)
	t.Cleanup(up.Close)
	api, auth := freePort(t), freePort(t)
	s := startServer(t, config{
		port: api, api: noLimits,
		global: "servers {\n\t\ttimeouts {\n" + timeouts + "\n\t\t}\n\t}",
		sites: fmt.Sprintf("http://127.0.0.1:%d {\n\tnotify_auth\n\treverse_proxy %s\n}\n",
			auth, strings.TrimPrefix(up.URL, "http://")),
	}.String())
	return s, []target{
		{"notify_auth", auth, "/upload", http.StatusOK, `{"error":`},
		// A personalisation of that length is longer than a message may be.
		{"notify_api", api, "/notifications/sms", http.StatusBadRequest, `{"result":"error",`},
	}, up
}

// upstream reads whole bodies and counts them by length.
type upstream struct {
	*httptest.Server

	mu      sync.Mutex
	lengths map[int64]int
}

func (u *upstream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		n = -1
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lengths == nil {
		u.lengths = make(map[int64]int)
	}
	u.lengths[n]++
}

// idle is what is resident after a few requests, when nothing happens.
func (s *server) idle(t testing.TB, tg target) int64 {
	t.Helper()
	c := newClient(t, plainURL(tg.port))
	for range 50 {
		_, err := c.do(http.MethodGet, "/warm/up", nil)
		require.NoError(t, err)
	}
	c.http.CloseIdleConnections()
	return s.leastResident(t)
}

// leastResident is the least of several samples.
func (s *server) leastResident(t testing.TB) int64 {
	t.Helper()
	least := s.memory(t, "VmRSS")
	for range 20 {
		time.Sleep(20 * time.Millisecond) // between samples
		least = min(least, s.memory(t, "VmRSS"))
	}
	return least
}

// framing writes a body with a length or in chunks.
type framing bool

const (
	withLength framing = false
	chunked    framing = true
)

func (f framing) String() string {
	if f == chunked {
		return "chunked"
	}
	return "Content-Length"
}

func (f framing) head(tg target, authorization string, length int) string {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n", tg.path, address(tg.port))
	if authorization != "" {
		head += "Authorization: " + authorization + "\r\n"
	}
	if f == chunked {
		return head + "Transfer-Encoding: chunked\r\n\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n", length)
}

func (f framing) write(w io.Writer, piece []byte) error {
	if f == chunked {
		piece = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
	}
	_, err := w.Write(piece)
	return err
}

func (f framing) end(w io.Writer) error {
	if f == chunked {
		_, err := io.WriteString(w, "0\r\n\r\n")
		return err
	}
	return nil
}

// A thousand connections that each push 10 MiB without a valid token.
func TestFloodWithoutToken(t *testing.T) {
	connections := setting(t, "SIGNPOST_DRILL_CONNECTIONS", 200, 1000)
	const size, piece = 10 * mib, 64 << 10
	for i, name := range []string{"notify_auth", "notify_api"} {
		t.Run(name, func(t *testing.T) {
			s, targets, up := floodServer(t, "read_header 10s\nread_body 60s\nidle 2m")
			tg := targets[i]
			idle := s.idle(t, tg)
			s.resetPeak(t)

			forged, err := identity{serviceID, strings.Repeat("x", 36)}.sign(http.MethodPost, tg.path, []byte("{}"))
			require.NoError(t, err)
			junk := make([]byte, piece)
			var mu sync.Mutex
			statuses := make(map[int]int)
			var pushed int64
			var ready, done sync.WaitGroup
			start := make(chan struct{})
			ready.Add(connections)
			for n := range connections {
				done.Go(func() {
					conn, err := net.DialTimeout("tcp", address(tg.port), patience)
					ready.Done()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					<-start
					_ = conn.SetDeadline(time.Now().Add(patience)) // fails below if it does
					f, authorization := framing(n%2 == 0), ""
					if n%4 > 1 {
						authorization = forged
					}
					answered := make(chan int, 1)
					go func() {
						status := 0 // the connection was cut before an answer
						if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
							status = resp.StatusCode
							_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
							resp.Body.Close()
						}
						answered <- status
					}()
					var sent int64
					if _, err := io.WriteString(conn, f.head(tg, authorization, size)); err == nil {
						for sent < size && f.write(conn, junk) == nil {
							sent += piece
						}
					}
					status := <-answered
					mu.Lock()
					defer mu.Unlock()
					statuses[status]++
					pushed += sent
				})
			}
			ready.Wait()
			began := time.Now()
			close(start)

			stop := make(chan struct{})
			served, slowest := 0, time.Duration(0)
			var other sync.WaitGroup
			other.Go(func() {
				c := newClient(t, plainURL(tg.port))
				for {
					asked := time.Now()
					a, err := c.do(http.MethodPost, tg.path, smsBody("meanwhile"))
					if err != nil || a.status != http.StatusOK && a.status != http.StatusCreated {
						t.Errorf("another caller: %d %s (%v)", a.status, a.body, err)
						return
					}
					served++
					slowest = max(slowest, time.Since(asked))
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			})
			done.Wait()
			took := time.Since(began)
			close(stop)
			other.Wait()
			peak := s.memory(t, "VmHWM")
			t.Logf("%d connections in %s: statuses %v (0: cut off before the answer was read), %s of %s pushed", connections,
				took.Round(time.Millisecond), statuses, inMiB(pushed), inMiB(int64(connections)*size))
			t.Logf("resident: idle %s, peak %s (+%s); another caller: %d served, the slowest in %s",
				inMiB(idle), inMiB(peak), inMiB(peak-idle), served, slowest.Round(time.Millisecond))
			for status := range statuses {
				assert.Contains(t, []int{0, http.StatusUnauthorized, http.StatusForbidden}, status)
			}
			assert.Positive(t, statuses[http.StatusUnauthorized])
			assert.Positive(t, statuses[http.StatusForbidden])
			assert.LessOrEqual(t, peak-idle, int64(64*mib))
			assert.Positive(t, served)
			up.mu.Lock()
			defer up.mu.Unlock()
			assert.NotContains(t, up.lengths, int64(size))
		})
	}
}

// 200 authenticated bodies of max_body at once: what fits into max_buffered is
// served, the others get 503. The API may let fewer in, since it needs room to
// read them.
func TestFloodOfAuthenticatedBodies(t *testing.T) {
	const connections, size, fit = 200, mib, 64
	for i, name := range []string{"notify_auth", "notify_api"} {
		for _, f := range []framing{withLength, chunked} {
			t.Run(name+" "+f.String(), func(t *testing.T) {
				s, targets, up := floodServer(t, "read_header 10s\nread_body 60s\nidle 2m")
				tg := targets[i]
				idle := s.idle(t, tg)
				s.resetPeak(t)

				start, end := `{"to":"+447723456789","template":1,"personalisation":{"code":"`, `"}}`
				body := []byte(start + strings.Repeat("x", size-len(start)-len(end)) + end)
				authorization, err := configured.sign(http.MethodPost, tg.path, body)
				require.NoError(t, err)
				var mu sync.Mutex
				statuses := make(map[int]int)
				release := make(chan struct{})
				var done sync.WaitGroup
				for range connections {
					done.Go(func() {
						conn, err := net.DialTimeout("tcp", address(tg.port), patience)
						if err != nil {
							t.Error(err)
							return
						}
						defer conn.Close()
						_ = conn.SetDeadline(time.Now().Add(2 * patience)) // fails below if it does
						answered := make(chan int, 1)
						go func() {
							status := 0
							if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
								status = resp.StatusCode
								_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
								resp.Body.Close()
							}
							mu.Lock()
							statuses[status]++
							mu.Unlock()
							answered <- status
						}()
						_, err = io.WriteString(conn, f.head(tg, authorization, size))
						for rest := body[:size-1]; err == nil && len(rest) > 0; {
							n := min(len(rest), 32<<10)
							err = f.write(conn, rest[:n])
							rest = rest[n:]
						}
						select {
						case <-answered:
							return
						case <-release:
						}
						// A connection that was refused in between fails here.
						if f.write(conn, body[size-1:]) == nil {
							_ = f.end(conn)
						}
						<-answered
					})
				}
				eventually(t, patience, func() (bool, string) {
					mu.Lock()
					defer mu.Unlock()
					refused := statuses[http.StatusServiceUnavailable] + statuses[0]
					return refused >= connections-fit, fmt.Sprintf("%d of %d are refused: %v", refused, connections, statuses)
				})
				held := s.memory(t, "VmRSS")
				close(release)
				done.Wait()
				peak := s.memory(t, "VmHWM")
				t.Logf("statuses %v; resident: idle %s, with bodies held %s (+%s), peak %s (+%s)", statuses,
					inMiB(idle), inMiB(held), inMiB(held-idle), inMiB(peak), inMiB(peak-idle))
				assert.Positive(t, statuses[tg.ok])
				assert.LessOrEqual(t, statuses[tg.ok], fit)
				if f == withLength && tg.ok == http.StatusOK {
					assert.Equal(t, map[int]int{tg.ok: fit, http.StatusServiceUnavailable: connections - fit}, statuses)
				}
				for status := range statuses {
					assert.Contains(t, []int{tg.ok, http.StatusServiceUnavailable, 0}, status)
				}
				// Beside the bodies there are 200 connections with their buffers,
				// and what the collector hasn't freed yet.
				const allowed = fit*size + 32*mib
				assert.LessOrEqual(t, held-idle, int64(allowed))
				assert.LessOrEqual(t, peak-idle, int64(allowed))

				// The budget is free again.
				a, err := newClient(t, plainURL(tg.port)).do(http.MethodPost, tg.path, body)
				require.NoError(t, err)
				assert.Equal(t, tg.ok, a.status, string(a.body))
				up.mu.Lock()
				defer up.mu.Unlock()
				if tg.ok == http.StatusOK {
					assert.Equal(t, statuses[tg.ok]+1, up.lengths[size])
				}
			})
		}
	}
}
