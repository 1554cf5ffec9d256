package signing

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipes is a listener in memory, so that connections live by the fake clock.
// Nothing is buffered: what the server doesn't read, the client can't write.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// servePipes runs a test in a bubble with a server, until all its connections
// have ended.
func servePipes(t *testing.T, f *fixture, test func(t *testing.T, listener pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := make(pipes)
		server := &http.Server{Handler: f} //nolint:gosec // its time is not real
		go func() { _ = server.Serve(listener) }()
		test(t, listener)
		close(listener)
		assert.NoError(t, server.Close())
		synctest.Wait()
		requireNothingHeld(t, f)
	})
}

// socket is one connection with one request.
type socket struct {
	net.Conn

	status atomic.Int32
	after  time.Duration // of the answer
	closed time.Duration // of the connection
	ended  atomic.Bool
}

// open sends the head of a request, and reads what comes.
func (p pipes) open(method, target, headers string) *socket {
	client, server := net.Pipe()
	p <- server
	s := &socket{Conn: client}
	began := time.Now()
	go func() {
		r := bufio.NewReader(client)
		if response, err := http.ReadResponse(r, nil); err == nil {
			s.after = time.Since(began)
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			s.status.Store(int32(response.StatusCode)) //nolint:gosec // a status
		}
		_, _ = io.Copy(io.Discard, r)
		s.closed = time.Since(began)
		s.ended.Store(true)
		_ = client.Close()
	}()
	_, _ = fmt.Fprintf(client, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, headers)
	return s
}

func announce(mediaType string, length int) string {
	return fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", mediaType, length)
}

const chunkedText = "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"

// TestIdleSockets: bodies that don't come cost nothing, whatever was
// announced.
func TestIdleSockets(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Observe, c.Logger = nil, nil })
	waits := f.downloaded(t, nil)
	sent := f.mint(t, nil)
	long := f.mint(t, map[string]any{"payload": b64(strings.Repeat("x", 70_000)), "payloads": nil})
	require.Greater(t, len(long), 90<<10)
	for _, kind := range []struct {
		name, target, headers, start string
		status                       int32
	}{
		{"large", "/signaturerequest", announce("text/plain", 1<<20), "", 408},
		{"small", "/signaturerequest", announce("text/plain", 32<<10), "", 408},
		{"tiny", "/signaturerequest", announce("text/plain", 1), "", 408},
		{"chunked", "/signaturerequest", chunkedText, "", 408},
		{"upload", "/signatureresponse/" + waits, announce("application/json", 1<<20), "", 408},
		{"large, a byte", "/signaturerequest", announce("text/plain", 1<<20), "x", 408},
		{"small, a byte", "/signaturerequest", announce("text/plain", 32<<10), "x", 408},
		{"chunked, a byte", "/signaturerequest", chunkedText, "1\r\nx\r\n", 408},
		{"upload, a byte", "/signatureresponse/" + waits, announce("application/json", 1<<20), "{", 408},
		{"large, a beginning", "/signaturerequest", announce("text/plain", 1<<20), strings.Repeat("x", 8<<10), 408},
		{"small, a beginning", "/signaturerequest", announce("text/plain", 32<<10), strings.Repeat("x", 8<<10), 408},
		{"refused", "/signaturerequest", announce("text/html", 1<<20), "", 415},
		{"nowhere", "/nowhere", announce("text/plain", 1<<20), "x", 404},
	} {
		t.Run(kind.name, func(t *testing.T) {
			servePipes(t, f, func(t *testing.T, listener pipes) {
				const sockets = 200
				idle := make([]*socket, sockets)
				for i := range idle {
					idle[i] = listener.open(http.MethodPost, kind.target, kind.headers)
					_, err := io.WriteString(idle[i], kind.start)
					require.NoError(t, err)
				}
				synctest.Wait()
				for _, p := range []*pool{f.bodies.small, f.bodies.large, f.bodies.uploads} {
					var held int64
					for s := range p.growing {
						held += s.held
					}
					if kind.start == "" {
						assert.Zero(t, held)
					}
					assert.LessOrEqual(t, held, sockets*pieceFactor*(int64(len(kind.start))+pieceLength))
				}
				began := time.Now()
				f.postAgain(t, sent)
				f.postAgain(t, long)
				requireRefusal(t, f.upload(t, waits, strings.Repeat("x", 1<<20)), 400, "Invalid request payload JSON format")
				assert.Zero(t, time.Since(began), "nobody waits")
				time.Sleep(time.Minute)
				for _, s := range idle {
					require.True(t, s.ended.Load())
					require.Equal(t, kind.status, s.status.Load())
					assert.LessOrEqual(t, s.closed, bodyPace.idle+bodyPace.grace)
				}
			})
		})
	}
}

// postAgain posts a good request, which may have been posted before.
func (f *fixture) postAgain(t *testing.T, sent string) {
	t.Helper()
	if w := f.post(t, sent); w.Code != http.StatusOK {
		requireRefusal(t, w, 400, textReplayed)
	}
}

// TestPace: a body must not stop, nor trickle.
func TestPace(t *testing.T) {
	f := newFixture(t, nil)
	const kib = 1 << 10
	for _, c := range []struct {
		name   string
		length int
		first  int           // bytes at once
		piece  int           // and so many…
		each   time.Duration // after each such time
		status int32
		after  time.Duration
	}{
		{"nothing", 1000, 0, 0, 0, 408, 5 * time.Second},
		{"a byte a second", 1000, 0, 1, time.Second, 408, 5 * time.Second},
		{"a byte each 4 s", 1000, 1, 1, 4 * time.Second, 408, 5 * time.Second},
		{"stops", 1000 * kib, 500 * kib, 0, 0, 408, 5 * time.Second},
		{"stops later", 1000 * kib, 100 * kib, 100 * kib, 3 * time.Second, 408, 20 * time.Second},
		{"slow, but in time", 30 * kib, 0, 5 * kib, time.Second, 400, 6 * time.Second},
		{"too slow", 30 * kib, 0, kib, time.Second, 408, 6500 * time.Millisecond},
		{"large, in time", 1000 * kib, 0, 60 * kib, time.Second, 400, 17 * time.Second},
		{"large, too slow", 1000 * kib, 0, 40 * kib, time.Second, 408, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			servePipes(t, f, func(t *testing.T, listener pipes) {
				s := listener.open(http.MethodPost, "/signaturerequest", announce("text/plain", c.length))
				left := c.length
				for piece := c.first; left > 0; piece = c.piece {
					piece = min(piece, left)
					if _, err := io.WriteString(s, strings.Repeat("x", piece)); err != nil {
						break
					}
					if left -= piece; c.each == 0 {
						break
					}
					time.Sleep(c.each)
				}
				time.Sleep(time.Minute)
				require.Equal(t, c.status, s.status.Load())
				assert.InDelta(t, c.after.Seconds(), s.after.Seconds(), 0.05)
			})
		})
	}
}

// TestRefusalsAreSeen: who goes on sending after a refusal gets to its end, and
// to the answer.
func TestRefusalsAreSeen(t *testing.T) {
	f := newFixture(t, nil)
	locked := newFixture(t, withAccess)
	short := newFixture(t, func(c *Config) { c.MaxBody = 10_000 })
	busy := newFixture(t, nil)
	waits := f.downloaded(t, nil)
	for _, p := range []*pool{busy.bodies.small, busy.bodies.large} {
		hog := share{pool: p}
		require.True(t, hog.tryGrow(p.need))
		hog.settle()
		for p.free > 0 {
			more := share{pool: p}
			require.True(t, more.tryGrow(min(p.free, p.need)))
			more.settle()
			defer more.close()
		}
		defer hog.close()
	}
	const mib = 1 << 20
	for _, c := range []struct {
		name           string
		f              *fixture
		method, target string
		headers        string
		length         int // of the body that is sent
		status         int32
		after          time.Duration
	}{
		{"401", locked, http.MethodPost, "/signaturerequest", announce("text/plain", mib), mib, 401, 0},
		{"403", f, http.MethodPost, "/signatureresponse/" + waits, announce("application/json", mib) + "Origin: https://x.example\r\n", mib, 403, 0},
		{"404", f, http.MethodPost, "/nowhere", announce("text/plain", mib), mib, 404, 0},
		{"404 of an upload", f, http.MethodPost, "/signatureresponse/" + b64("x"), announce("application/json", mib), mib, 404, 0},
		{"405", f, http.MethodPut, "/signaturerequest", announce("text/plain", mib), mib, 405, 0},
		{"413", f, http.MethodPost, "/signaturerequest", announce("text/plain", mib+1), mib + 1, 413, 0},
		{"413 by max_body", short, http.MethodPost, "/signaturerequest", announce("text/plain", mib), mib, 413, 0},
		{"415", f, http.MethodPost, "/signaturerequest", announce("application/json", mib), mib, 415, 0},
		{"400", f, http.MethodPost, "/signaturerequest?state=%ff", announce("text/plain", mib), mib, 400, 0},
		{"503", busy, http.MethodPost, "/signaturerequest", announce("text/plain", mib), mib, 503, memoryWait},
		{"503 of a small one", busy, http.MethodPost, "/signaturerequest", announce("text/plain", 10_000), 10_000, 503, memoryWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := make(pipes)
				server := &http.Server{Handler: c.f} //nolint:gosec // its time is not real
				go func() { _ = server.Serve(listener) }()
				s := listener.open(c.method, c.target, c.headers)
				_, err := io.WriteString(s, strings.Repeat("x", c.length))
				require.NoError(t, err, "the body was read to its end")
				time.Sleep(time.Minute)
				assert.Equal(t, c.status, s.status.Load())
				assert.Equal(t, c.after, s.after)
				assert.True(t, s.ended.Load())
				close(listener)
				require.NoError(t, server.Close())
				assert.Empty(t, c.f.bodies.drains)
			})
		})
	}
}

// TestDrainingEnds: nobody holds a connection by a body that is thrown away.
func TestDrainingEnds(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		name, headers, start string
		trickle              bool
		full                 bool // as many as may be are drained already
		atMost               time.Duration
	}{
		{"idle", announce("text/html", 1<<20), "", false, false, 2 * time.Second},
		{"stops", announce("text/html", 1<<20), strings.Repeat("x", 600_000), false, false, 2 * time.Second},
		{"trickles", announce("text/html", 1<<20), "", true, false, 6 * time.Second},
		{"trickles in chunks", "Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n", "fffffff\r\n", true, false, 6 * time.Second},
		{"is too long", announce("text/html", 3<<20), "", true, false, 1500 * time.Millisecond},
		{"waits for 100", announce("text/html", 1<<20) + "Expect: 100-continue\r\n", "", false, false, 1500 * time.Millisecond},
		{"too many", announce("text/html", 1<<20), "", true, true, 1500 * time.Millisecond},
		{"too slow", announce("text/plain", 1<<20), "", false, false, 6500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			servePipes(t, f, func(t *testing.T, listener pipes) {
				if c.full {
					for range maxDrains {
						f.bodies.drains <- struct{}{}
					}
					defer func() {
						for range maxDrains {
							<-f.bodies.drains
						}
					}()
				}
				s := listener.open(http.MethodPost, "/signaturerequest", c.headers)
				_, _ = io.WriteString(s, c.start)
				for c.trickle {
					if _, err := io.WriteString(s, "x"); err != nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				assert.Contains(t, []int32{415, 408}, s.status.Load())
				assert.True(t, s.ended.Load())
				assert.LessOrEqual(t, s.closed, c.atMost)
			})
		})
	}
}

// TestDrainIsNoPartOfTheDuration: what is observed ends with the answer.
func TestDrainIsNoPartOfTheDuration(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Now = time.Now })
	servePipes(t, f, func(t *testing.T, listener pipes) {
		s := listener.open(http.MethodPost, "/signaturerequest", announce("text/html", 1<<20))
		synctest.Wait()
		require.Len(t, f.events, 1, "while the body still comes")
		assert.Equal(t, Event{Route: "request", Result: "media_type", Status: 415}, f.events[0])
		_ = s.Close()
	})
}

// HTTP/2 resets the stream; nothing is read.
func TestNoDrainBeyondHTTP1(t *testing.T) {
	f := newFixture(t, nil)
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for range 20 {
		response, err := server.Client().Post(server.URL+"/signaturerequest", "text/html", strings.NewReader(strings.Repeat("x", 1<<20)))
		require.NoError(t, err)
		assert.Equal(t, 2, response.ProtoMajor)
		assert.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
	response, err := server.Client().Post(server.URL+"/signaturerequest", "text/plain", strings.NewReader(f.mint(t, map[string]any{"payload": b64(strings.Repeat("x", 300_000)), "payloads": nil})))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, response.Body.Close())
}
