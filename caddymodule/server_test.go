package caddymodule

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

const (
	serviceID = "26785a09-ab16-4eb0-8407-a37497a57506"
	secretOne = "3d844edf-8d35-48ac-975b-e847b4f122b0"
)

// adaptCaddyfile turns a Caddyfile into Caddy's JSON.
func adaptCaddyfile(t testing.TB, caddyfile string) ([]byte, error) {
	t.Helper()
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return cfg, err
}

// tryLoad runs a Caddyfile in this process until the test ends.
func tryLoad(t testing.TB, caddyfile string) error {
	t.Helper()
	cfg, err := adaptCaddyfile(t, caddyfile)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load(cfg, true)
}

func load(t testing.TB, caddyfile string) {
	t.Helper()
	require.NoError(t, tryLoad(t, caddyfile))
}

// freePort returns a port that nobody has on either loopback address. It lies
// below the range from which the system takes the ports of outgoing connections,
// and apart from that of the end-to-end tests, which run at the same time.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(5000)
		if free("127.0.0.1", port) && free("::1", port) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// free reports whether a port can be listened on. A machine without an address
// has its port free.
func free(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	return l.Close() == nil
}

// globals is a global option block without admin endpoint and certificates,
// with the signpost option that is given.
func globals(signpost string) string {
	return "{\n\tlog {\n\t\toutput discard\n\t}\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tgrace_period 5s\n\tsignpost {\n" + signpost + "\n\t}\n}\n"
}

func oneService() string {
	return fmt.Sprintf("service %s {\n name Booking\n key live %s\n template 1 sms \"Your code is ((code))\"\n template 3 sms \"Hello\"\n}\n", serviceID, secretOne)
}

// setClock fixes the clock of everything that is loaded from now on.
func setClock(t testing.TB, unix int64) {
	t.Helper()
	old := clock
	clock = func() time.Time { return time.Unix(unix, 0) }
	t.Cleanup(func() { clock = old })
}

// seen is a request as an upstream got it.
type seen struct {
	method, uri string
	header      http.Header
	trailer     http.Header
	body        string
}

// upstream records what reaches it and answers 200.
type upstream struct {
	*httptest.Server
	mu  sync.Mutex
	got []seen
}

func newUpstream(t testing.TB) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.got = append(u.got, seen{r.Method, r.RequestURI, r.Header.Clone(), r.Trailer.Clone(), string(body)})
		u.mu.Unlock()
		io.WriteString(w, "reached")
	}))
	t.Cleanup(u.Close)
	return u
}

// take returns what has come since the last call.
func (u *upstream) take() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// answer is what came back over a raw socket.
type answer struct {
	*http.Response
	text string
}

// raw sends bytes as they are and reads one answer.
func raw(t testing.TB, addr, request string) answer {
	t.Helper()
	conn := dial(t, addr)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	return readAnswer(t, conn, strings.HasPrefix(request, "HEAD "))
}

// dial tries again what the end of a reload's old listener resets. One byte
// back would mean an answer, so a connection on which nothing comes is good.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	for try := 1; ; try++ {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
			if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				return conn
			}
			conn.Close()
		}
		require.Less(t, try, 5, "%s: %v", addr, err)
	}
}

func readAnswer(t testing.TB, conn net.Conn, head bool) answer {
	t.Helper()
	var req *http.Request
	if head {
		req = &http.Request{Method: http.MethodHead}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp, string(body)}
}

func loadJSON(t testing.TB, cfg []byte) {
	t.Helper()
	t.Cleanup(func() { _ = caddy.Stop() })
	require.NoError(t, caddy.Load(cfg, true))
}

// handMint makes a signed token without notifyauth, for requests that it
// refuses to sign.
func handMint(service, secret string, iat int64, requestLine, body string) string {
	mac := func(s string) []byte {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(s))
		return m.Sum(nil)
	}
	claims, _ := json.Marshal(map[string]any{
		"iss": service, "iat": iat,
		"req": base64.StdEncoding.EncodeToString(mac(requestLine)),
		"pay": base64.StdEncoding.EncodeToString(mac(body)),
	})
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + enc(claims)
	return signed + "." + enc(mac(signed))
}

// appRunning is the app of the configuration that runs.
func appRunning(t testing.TB) *App {
	t.Helper()
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	require.NoError(t, err)
	return v.(*App)
}
