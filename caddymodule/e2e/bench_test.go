//go:build linux

package e2e

import (
	"bytes"
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

// BenchmarkCaddy measures CPU per request of the server process and requests
// per second, with and without Signpost, interleaved in one run of one Caddy:
//
//	go test -run '^$' -bench Caddy -benchtime 20x ./caddymodule/e2e
//
// An iteration sends perRound requests of each kind. Only the ratios hold on
// another machine; gaps below 6 us are noise.
func BenchmarkCaddy(b *testing.B) {
	const perRound, clients = 6400, 64
	body := []byte(fmt.Sprintf(`{"to":"+447700900111","template":1,"personalisation":{"code":"%s"}}`, strings.Repeat("x", 900)))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	}))
	defer upstream.Close()

	s := newServer(b)
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
	}
}
http://:%d {
	bind 127.0.0.1
	handle /respond {
		respond ok
	}
	handle /plain {
		reverse_proxy %[6]s
	}
	handle /signed {
		notify_auth
		reverse_proxy %[6]s
	}
	handle {
		notify_api {
			rate_limit 0
			daily_limit 0
		}
	}
}
`, s.admin, filepath.Join(s.dir, "bench.db"), configured.service, configured.secret, port, upstream.URL))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)

	var serial atomic.Int64
	kinds := []struct {
		name, method, path string
		signed, unique     bool
	}{
		{"respond", http.MethodPost, "/respond", false, false},
		{"proxy", http.MethodPost, "/plain", false, false},
		{"signed-proxy", http.MethodPost, "/signed", true, false},
		{"post-sms", http.MethodPost, "/notifications/sms", true, true},
		{"get-id", http.MethodGet, "/notifications/1", true, false},
	}
	cpu := make(map[string]time.Duration)
	wall := make(map[string]time.Duration)
	for b.Loop() {
		for _, k := range kinds {
			send := body
			if k.method == http.MethodGet {
				send = nil
			}
			token, err := configured.sign(k.method, k.path, send)
			require.NoError(b, err)
			var failed atomic.Pointer[string]
			begin, start := s.cpuTime(b), time.Now()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					transport := &http.Transport{}
					defer transport.CloseIdleConnections()
					client := &http.Client{Transport: transport, Timeout: patience}
					for range perRound / clients {
						content, auth := send, token
						if k.unique {
							content = bytes.Replace(body, []byte("xxxxxxxxxxxx"), fmt.Appendf(nil, "%012d", serial.Add(1)), 1)
							auth, _ = configured.sign(k.method, k.path, content) // it signed this service's requests before
						}
						if why := benchRequest(client, k.method, base+k.path, auth, content); why != "" {
							failed.Store(&why)
							return
						}
					}
				})
			}
			wg.Wait()
			if why := failed.Load(); why != nil {
				b.Fatalf("%s: %s", k.name, *why)
			}
			if k.unique {
				s.awaitIdle(b) // what was posted is delivered: that belongs to its cost
			}
			wall[k.name] += time.Since(start)
			cpu[k.name] += s.cpuTime(b) - begin
		}
	}
	requests := float64(b.N * perRound)
	for _, k := range kinds {
		b.ReportMetric(float64(cpu[k.name].Microseconds())/requests, k.name+"-us/req")
		b.ReportMetric(requests/wall[k.name].Seconds(), k.name+"-req/s")
	}
	b.ReportMetric(float64(cpu["signed-proxy"])/float64(cpu["proxy"]), "signed-proxy/proxy")
	b.ReportMetric(float64(cpu["post-sms"])/float64(cpu["respond"]), "post-sms/respond")
	b.ReportMetric(float64(cpu["get-id"])/float64(cpu["respond"]), "get-id/respond")
	b.ReportMetric(0, "ns/op")
}

// benchRequest returns what went wrong.
func benchRequest(client *http.Client, method, url, authorization string, body []byte) string {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", authorization)
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Sprintf("%d %s", resp.StatusCode, answer)
	}
	return ""
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
	eventually(b, patience, func() (bool, string) {
		a := s.request(b, http.MethodGet, "/signpost/status", "", "")
		return strings.Contains(a.body, `"queued":0`), a.body
	})
}
