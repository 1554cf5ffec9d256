package signing

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBodiesAreRefusedByTheirHeaders(t *testing.T) {
	f := newFixture(t, nil)
	unread := func(headers http.Header, length int64) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/signaturerequest", iotest.ErrReader(errors.New("it was read")))
		r.Header, r.ContentLength = headers, length
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	for _, mediaType := range []string{"", "application/json", "text/html", "text/plainx", "text", "multipart/form-data"} {
		w := unread(http.Header{"Content-Type": {mediaType}}, 100)
		requireRefusal(t, w, 415, "Unsupported Media Type")
		assert.Equal(t, "close", w.Header().Get("Connection"))
	}
	requireRefusal(t, unread(http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}}, 100), 415, "Unsupported Media Type")
	w := unread(http.Header{"Content-Type": {"text/plain"}}, 1<<20+1)
	requireRefusal(t, w, 413, "Payload content length greater than maximum allowed: 1048576")
	assert.Equal(t, "close", w.Header().Get("Connection"))
	requireRefusal(t, unread(http.Header{"Content-Type": {"text/plain"}}, 100), 400, "Invalid request payload")

	for _, mediaType := range []string{"text/plain", "text/plain; charset=utf-8", "TEXT/Plain", "text/plain;"} {
		w := f.call(t, http.MethodPost, "/signaturerequest", f.mint(t, nil), "Content-Type", mediaType, "Content-Encoding", "identity")
		require.Equal(t, http.StatusOK, w.Code, mediaType)
		assert.Empty(t, w.Header().Get("Connection"))
	}
	requireRefusal(t, f.call(t, http.MethodPost, "/signatureresponse/"+f.downloaded(t, nil), "{}", "Content-Type", "text/plain"), 415, "Unsupported Media Type")
}

func TestBodiesOfUnknownLength(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBody = 10_000 })
	post := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/signaturerequest", body)
		r.Header.Set("Content-Type", "text/plain")
		r.ContentLength = -1
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, http.StatusOK, post(strings.NewReader(f.mint(t, nil))).Code)
	require.Equal(t, http.StatusBadRequest, post(strings.NewReader(strings.Repeat("x", 10_000))).Code)
	requireRefusal(t, post(strings.NewReader(strings.Repeat("x", 10_001))), 413, "Payload content length greater than maximum allowed: 10000")
	requireRefusal(t, post(http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(strings.Repeat("x", 100))), 50)), 413, "Payload content length greater than maximum allowed: 50")
	requireRefusal(t, post(iotest.ErrReader(iotest.ErrTimeout)), 400, "Invalid request payload")
	requireRefusal(t, post(iotest.ErrReader(&net.OpError{Err: os.ErrDeadlineExceeded})), 408, "Request Timeout")
	requireNothingHeld(t, f)
}

// requireNothingHeld checks that all memory of bodies has been given back.
func requireNothingHeld(t *testing.T, f *fixture) {
	t.Helper()
	free := int64(0)
	for _, p := range []*pool{f.bodies.small, f.bodies.large, f.bodies.uploads} {
		p.mu.Lock()
		free += p.free
		assert.Zero(t, p.settled)
		assert.Empty(t, p.growing)
		assert.Empty(t, p.waiting)
		p.mu.Unlock()
	}
	require.Equal(t, f.config.MaxBuffered, free)
}

// drip gives a byte a second.
type drip struct{}

func (drip) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	p[0] = 'x'
	return 1, nil
}

func TestABodyThatNeverEnds(t *testing.T) {
	f := newFixture(t, nil)
	synctest.Test(t, func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/signaturerequest", drip{})
		r.Header.Set("Content-Type", "text/plain")
		r.ContentLength = 1000
		w := httptest.NewRecorder()
		started := time.Now()
		f.ServeHTTP(w, r)
		requireRefusal(t, w, 408, "Request Timeout")
		assert.LessOrEqual(t, time.Since(started), bodyTimeout+time.Second)
	})
}

func TestLargeBodiesWaitAndSmallOnesPass(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBuffered = 12 << 20 })
	good := f.mint(t, nil)
	_, release, ref := f.bodies.readAnonymous(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 1<<20))))
	require.Nil(t, ref)
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		w := f.post(t, strings.Repeat("x", 1<<20))
		requireRefusal(t, w, 503, "Service temporarily unavailable, try again later")
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
		assert.Equal(t, memoryWait, time.Since(started))
		assert.Equal(t, "close", w.Header().Get("Connection"))
		require.Equal(t, http.StatusOK, f.post(t, good).Code)
		started = time.Now()
		// Uploads have their own memory.
		w = f.upload(t, f.downloaded(t, nil), strings.Repeat("x", 1<<20))
		requireRefusal(t, w, 400, "Invalid request payload JSON format")
		assert.Zero(t, time.Since(started))
	})
	release()
	require.Equal(t, http.StatusBadRequest, f.post(t, strings.Repeat("x", 1<<20)).Code)
	requireNothingHeld(t, f)
}

// TestAFloodOfLargeBodies posts 1 MiB over many connections, while good
// requests go on.
func TestAFloodOfLargeBodies(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Observe, c.Logger = nil, nil })
	server := httptest.NewServer(f)
	defer server.Close()
	const connections = 200
	// One slice for all: the clients must not use the memory that is measured.
	flood := bytes.Repeat([]byte(`{"a":"b"},`), 1<<20/10)
	var before, most runtime.MemStats
	runtime.GC()
	runtime.GC() // twice, for what pools hold
	runtime.ReadMemStats(&before)
	var left atomic.Int32
	left.Store(connections)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			defer left.Add(-1)
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "POST /signaturerequest HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1048570\r\n\r\n")
			_, _ = conn.Write(flood[:1048570])
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if assert.NoError(t, err) {
				assert.Contains(t, []int{400, 503}, response.StatusCode)
				assert.NoError(t, response.Body.Close())
			}
		})
	}
	var highest uint64
	served := 0
	for left.Load() > 0 || served == 0 {
		response, err := server.Client().Post(server.URL+"/signaturerequest", "text/plain", strings.NewReader(f.mint(t, nil)))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.NoError(t, response.Body.Close())
		served++
		runtime.ReadMemStats(&most)
		highest = max(highest, most.HeapAlloc)
	}
	all.Wait()
	requireNothingHeld(t, f)
	t.Logf("%d good requests meanwhile; heap %d MiB, and %d MiB above that at most", served, before.HeapAlloc>>20, (highest-before.HeapAlloc)>>20)
	assert.Less(t, highest-before.HeapAlloc, uint64(64<<20))
}
