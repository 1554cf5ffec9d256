//go:build linux

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// perRound is how many requests of each kind an iteration sends.
const perRound, benchClients = 6400, 64

// BenchmarkCaddy measures CPU per request of the server process and requests
// per second, with and without Signpost, interleaved in one run:
//
//	go test -run '^$' -bench Caddy -benchtime 5x ./caddymodule/e2e
//
// post-held is a POST by itself: its provider never answers, so that no more
// than the first few notifications are on their way. post-delivered is the
// same with the delivery by the log provider. get-same asks for one
// notification again and again, as those who wait for a status do, get-each
// for every one once. jwt-proxy is jwks_auth with a 4096-bit key and one token
// again and again, jwt-first with a token that it hasn't seen. Only the ratios hold on another machine; gaps below 6 us
// are noise.
func BenchmarkCaddy(b *testing.B) {
	body := []byte(fmt.Sprintf(`{"to":"+447700900111","template":1,"personalisation":{"code":"%s"}}`, strings.Repeat("x", 900)))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	}))
	defer upstream.Close()
	hold := make(chan struct{})
	holding := newHoldingProvider(b, hold)
	defer close(hold)

	logging, base := benchServer(b, upstream.URL, "")
	held, heldBase := benchServer(b, upstream.URL, "delivery sms webhook {\n url "+holding+"\n timeout 25s\n}")

	var posts, gets atomic.Int64
	post := func() (string, []byte) { // another body, and so another token, each time
		return "/notifications/sms", bytes.Replace(body, []byte("xxxxxxxxxxxx"), fmt.Appendf(nil, "%012d", posts.Add(1)), 1)
	}
	fixed := func(path string, body []byte) func() (string, []byte) {
		return func() (string, []byte) { return path, body }
	}
	bearer := newBearers(b)
	keySet, err := json.Marshal(bearer.signer.public(b))
	require.NoError(b, err)
	guarded, guardedBase := benchServer(b, upstream.URL, "key_set platform {\n source inline `"+string(keySet)+"`\n issuer "+issuerName+"\n}")
	kinds := []struct {
		name         string
		server       *server
		base, method string
		next         func() (path string, body []byte)
		settle       func()
		requests     int           // instead of perRound
		authorize    func() string // instead of a Notify token
	}{
		{name: "respond", server: logging, base: base, method: http.MethodPost, next: fixed("/respond", body)},
		{name: "proxy", server: logging, base: base, method: http.MethodPost, next: fixed("/plain", body)},
		{name: "signed-proxy", server: logging, base: base, method: http.MethodPost, next: fixed("/signed", body)},
		{name: "jwt-proxy", server: guarded, base: guardedBase, method: http.MethodPost, next: fixed("/jwt", body), authorize: bearer.same},
		{name: "jwt-first", server: guarded, base: guardedBase, method: http.MethodPost, next: fixed("/jwt", body), authorize: bearer.fresh, requests: firstSeen},
		{name: "post-held", server: held, base: heldBase, method: http.MethodPost, next: post},
		{name: "post-delivered", server: logging, base: base, method: http.MethodPost, next: post, settle: func() { logging.awaitIdle(b) }},
		{name: "get-same", server: logging, base: base, method: http.MethodGet, next: fixed("/notifications/1", nil)},
		{name: "get-each", server: logging, base: base, method: http.MethodGet, next: func() (string, []byte) {
			return fmt.Sprintf("/notifications/%d", gets.Add(1)), nil
		}},
	}
	cpu := make(map[string]time.Duration)
	wall := make(map[string]time.Duration)
	for b.Loop() {
		bearer.prepare(b, firstSeen)
		for _, k := range kinds {
			begin, start := k.server.cpuTime(b), time.Now()
			benchRound(b, k.name, k.base, k.method, cmp.Or(k.requests, perRound), k.next, k.authorize)
			if k.settle != nil {
				k.settle()
			}
			wall[k.name] += time.Since(start)
			cpu[k.name] += k.server.cpuTime(b) - begin
		}
	}
	for _, k := range kinds {
		requests := float64(b.N * cmp.Or(k.requests, perRound))
		b.ReportMetric(float64(cpu[k.name].Microseconds())/requests, k.name+"-us/req")
		b.ReportMetric(requests/wall[k.name].Seconds(), k.name+"-req/s")
	}
	b.ReportMetric(float64(cpu["signed-proxy"])/float64(cpu["proxy"]), "signed-proxy/proxy")
	b.ReportMetric(float64(cpu["jwt-proxy"])/float64(cpu["proxy"]), "jwt-proxy/proxy")
	b.ReportMetric(float64(cpu["jwt-first"])/firstSeen/(float64(cpu["proxy"])/perRound), "jwt-first/proxy")
	for _, name := range []string{"post-held", "post-delivered", "get-same", "get-each"} {
		b.ReportMetric(float64(cpu[name])/float64(cpu["respond"]), name+"/respond")
	}
	b.ReportMetric(0, "ns/op")
}

// newHoldingProvider is a provider that answers nothing until hold is closed.
func newHoldingProvider(b *testing.B, hold <-chan struct{}) (url string) {
	b.Helper()
	holding := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	b.Cleanup(holding.Close)
	return holding.URL
}

// benchServer starts a server with everything that is measured.
func benchServer(b *testing.B, upstream, signpost string) (s *server, base string) {
	b.Helper()
	jwt := ""
	if strings.Contains(signpost, "key_set") {
		jwt = "handle /jwt {\n jwks_auth {\n  claim sub header X-Subject\n }\n reverse_proxy " + upstream + "\n}"
	}
	s = newServer(b)
	port := freePort(b)
	s.start(b, fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	log {
		exclude signpost.delivery.log
	}
	signpost {
		storage sqlite %s
		service %s {
			key live %s
			template 1 sms "Your code is ((code))"
		}
		%s
	}
}
http://:%d {
	bind 127.0.0.1
	handle /respond {
		respond ok
	}
	handle /plain {
		reverse_proxy %[7]s
	}
	handle /signed {
		notify_auth
		reverse_proxy %[7]s
	}
	%[8]s
	handle {
		notify_api {
			rate_limit 0
			daily_limit 0
		}
	}
}
`, s.admin, filepath.Join(s.dir, "bench.db"), configured.service, configured.secret, signpost, port, upstream, jwt))
	return s, fmt.Sprintf("http://127.0.0.1:%d", port)
}

// firstSeen is how many requests with a new token an iteration sends; the
// signing of each takes milliseconds.
const firstSeen = 640

// bearers are tokens signed with a 4096-bit key.
type bearers struct {
	signer signer
	one    string
	new    chan string
	made   int
}

func newBearers(b *testing.B) *bearers {
	b.Helper()
	s := newSigner(b, "bench", 4096)
	return &bearers{signer: s, one: s.token(b, "one"), new: make(chan string, firstSeen)}
}

// prepare signs n more tokens that nobody has seen.
func (t *bearers) prepare(b *testing.B, n int) {
	b.Helper()
	for range n {
		t.made++
		t.new <- t.signer.token(b, fmt.Sprint(t.made))
	}
}

func (t *bearers) same() string  { return "Bearer " + t.one }
func (t *bearers) fresh() string { return "Bearer " + <-t.new }

// benchRound sends requests from benchClients connections.
func benchRound(b *testing.B, name, base, method string, requests int, next func() (path string, body []byte), authorize func() string) {
	b.Helper()
	benchRequests(b, name, requests, func() (*http.Request, error) {
		path, body := next()
		var token string
		var err error
		if authorize != nil {
			token = authorize()
		} else if token, err = configured.sign(method, path, body); err != nil {
			return nil, err
		}
		req, err := http.NewRequest(method, base+path, bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Authorization", token)
		}
		return req, err
	})
}

// benchRequests sends any requests from benchClients connections.
func benchRequests(b *testing.B, name string, requests int, next func() (*http.Request, error)) {
	b.Helper()
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range benchClients {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for range requests / benchClients {
				req, err := next()
				if err == nil {
					err = benchRequest(client, req)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		b.Fatalf("%s: %v", name, *err)
	}
}

func benchRequest(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	return err
}

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is the processor time that the server has used.
func (s *server) cpuTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	require.NoError(b, err)
	_, rest, ok := strings.Cut(string(stat), ") ")
	require.True(b, ok)
	fields := strings.Fields(rest)
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		require.NoError(b, err)
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// awaitIdle waits until nothing is queued.
func (s *server) awaitIdle(b *testing.B) {
	b.Helper()
	eventually(b, 10*patience, func() (bool, string) {
		a := s.request(b, http.MethodGet, "/signpost/status", "", "")
		return strings.Contains(a.body, `"queued":0`), a.body
	})
}
