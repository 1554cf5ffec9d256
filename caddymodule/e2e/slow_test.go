//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whoever sends too slowly is cut off by the timeouts of the Caddyfile, before
// and after the token.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	const (
		readHeader, readBody, idle = time.Second, 2 * time.Second, 1500 * time.Millisecond
		margin                     = 2 * time.Second // a busy machine's
	)
	_, targets, _ := floodServer(t, "read_header 1s\nread_body 2s\nidle 1500ms")
	body := smsBody(strings.Repeat("x", 200))
	for _, tg := range targets {
		for _, tc := range []struct {
			name string
			// what is sent at once, and then a byte now and then. Tokens live for 30 s,
			// so they are made when the case runs.
			send   func(authorization string) (at, then string)
			within time.Duration
			status []int // 0: no answer
		}{
			{"half a header", func(a string) (string, string) { return withLength.head(tg, a, len(body))[:40], "" }, readHeader, []int{0, 408}},
			{"a header byte by byte", func(a string) (string, string) {
				head := withLength.head(tg, a, len(body))
				return head[:20], head[20:]
			}, readHeader, []int{0, 400, 408}},
			{"no body", func(a string) (string, string) { return withLength.head(tg, a, len(body)), "" }, readBody, []int{408}},
			{"half a body", func(a string) (string, string) { return withLength.head(tg, a, len(body)) + string(body[:50]), "" }, readBody, []int{408}},
			{"a body byte by byte", func(a string) (string, string) { return withLength.head(tg, a, len(body)), string(body) }, readBody, []int{408}},
			{"a chunked body byte by byte", func(a string) (string, string) { return chunked.head(tg, a, 0), strings.Repeat("1\r\nx\r\n", 200) }, readBody, []int{408}},
			{"no token and no body", func(string) (string, string) { return withLength.head(tg, "", 1000), "" }, 0, []int{401}},
			{"no token and a body byte by byte", func(string) (string, string) {
				return withLength.head(tg, "", 1000), strings.Repeat("x", 1000)
			}, 0, []int{401}},
			{"nothing after an answer", func(string) (string, string) { return "GET / HTTP/1.1\r\nHost: " + address(tg.port) + "\r\n\r\n", "" }, idle, []int{401}},
		} {
			t.Run(tg.name+" "+tc.name, func(t *testing.T) {
				t.Parallel()
				authorization, err := configured.sign(http.MethodPost, tg.path, body)
				require.NoError(t, err)
				at, then := tc.send(authorization)
				conn, err := net.Dial("tcp", address(tg.port))
				require.NoError(t, err)
				defer conn.Close()
				began := time.Now()
				require.NoError(t, conn.SetReadDeadline(began.Add(patience)))
				_, err = io.WriteString(conn, at)
				require.NoError(t, err)
				end := make(chan struct{})
				defer close(end)
				go func() {
					pace := time.NewTicker(100 * time.Millisecond)
					defer pace.Stop()
					for i := range len(then) {
						select {
						case <-end:
							return
						case <-pace.C:
						}
						if _, err := conn.Write([]byte{then[i]}); err != nil {
							return
						}
					}
				}()
				in := bufio.NewReader(conn)
				status := 0
				if resp, err := http.ReadResponse(in, nil); err == nil {
					status = resp.StatusCode
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if tc.within == readBody {
						require.NoError(t, err)
						assert.Contains(t, string(b), tg.fault)
					}
				}
				assert.Contains(t, tc.status, status)
				// Then the connection ends.
				_, _ = io.Copy(io.Discard, in) // by an end or a reset
				took := time.Since(began)
				assert.Less(t, took, tc.within+margin, "the connection is open for too long")
				t.Logf("status %d, closed after %s", status, took.Round(10*time.Millisecond))
			})
		}
	}
	t.Cleanup(func() {
		for _, tg := range targets {
			a, err := newClient(t, plainURL(tg.port)).do(http.MethodPost, tg.path, smsBody("afterwards"))
			assert.NoError(t, err)
			assert.Less(t, a.status, 300, "%s: %s", tg.name, a.body)
		}
	})
}

// A notification API that nobody calls costs little beside Caddy itself.
func TestIdleMemory(t *testing.T) {
	measure := func(port int, caddyfile string) int64 {
		s := startServer(t, caddyfile)
		defer s.kill()
		for range 200 {
			c := newClient(t, plainURL(port))
			a, err := c.doAs("", http.MethodGet, "/", nil)
			require.NoError(t, err)
			require.Equal(t, "hello", string(a.body))
			c.http.CloseIdleConnections()
		}
		// A collection now, so that it doesn't matter where in its cycle the
		// process is.
		require.Equal(t, http.StatusOK, s.request(t, http.MethodGet, "/debug/pprof/heap?gc=1", "", "").status)
		return s.leastResident(t)
	}
	const rounds = 3
	plain, with := int64(1)<<62, int64(1)<<62
	for range rounds {
		port := freePort(t)
		site := fmt.Sprintf("http://127.0.0.1:%d {\n\trespond hello\n}\n", port)
		plain = min(plain, measure(port, "{\n\tauto_https off\n\tpersist_config off\n\tdefault_bind 127.0.0.1\n}\n"+site))
		with = min(with, measure(port, config{port: freePort(t), sites: site}.String()))
	}
	t.Logf("resident: Caddy %s, with an idle notify_api %s (+%s)", inMiB(plain), inMiB(with), inMiB(with-plain))
	assert.LessOrEqual(t, with-plain, int64(15*mib))
}
