//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkCaddyPostgres measures CPU per request of Caddy, and of the
// PostgreSQL server that it asks, with and without Signpost, interleaved in one
// run:
//
//	go test -run '^$' -bench CaddyPostgres -benchtime 5x ./caddymodule/e2e
//
// get-same asks for one notification again and again, get-each for every one
// once; post-held creates them for a provider that never answers. The ratios are
// of Caddy's own CPU, and those with -all have the database's in them too.
func BenchmarkCaddyPostgres(b *testing.B) {
	hold := make(chan struct{})
	holding := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer holding.Close()
	defer close(hold)
	database, dsn := newDatabase(b)
	s := newServer(b)
	port := freePort(b)
	s.start(b, fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	signpost {
		storage postgres "%s" {
			secrets_key %s
		}
		service %s {
			key live %s
			template 1 sms "Your code is ((code))"
		}
		delivery sms webhook {
			url %s
			timeout 25s
		}
	}
}
http://:%d {
	bind 127.0.0.1
	handle /respond {
		respond ok
	}
	handle {
		notify_api {
			rate_limit 0
			daily_limit 0
		}
	}
}
`, s.admin, dsn, nodesKey, configured.service, configured.secret, holding.URL, port))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	body := func(n int64) []byte {
		return fmt.Appendf(nil, `{"to":"+447700900111","template":1,"personalisation":{"code":"%012d%s"}}`, n, strings.Repeat("x", 888))
	}
	plain := body(0)
	var posts, gets atomic.Int64
	kinds := []struct {
		name, method    string
		next            func() (path string, body []byte)
		caddy, postgres time.Duration
		wall            time.Duration
	}{
		{name: "respond", method: http.MethodPost, next: func() (string, []byte) { return "/respond", plain }},
		{name: "post-held", method: http.MethodPost, next: func() (string, []byte) { // another body, and so another token, each time
			return "/notifications/sms", body(posts.Add(1))
		}},
		{name: "get-same", method: http.MethodGet, next: func() (string, []byte) { return "/notifications/1", nil }},
		{name: "get-each", method: http.MethodGet, next: func() (string, []byte) {
			return fmt.Sprintf("/notifications/%d", gets.Add(1)), nil
		}},
	}
	for b.Loop() {
		for i := range kinds {
			k := &kinds[i]
			used, err := database.CPUTime()
			require.NoError(b, err)
			begin, start := s.cpuTime(b), time.Now()
			benchRound(b, k.name, base, k.method, perRound, k.next, nil)
			k.wall += time.Since(start)
			k.caddy += s.cpuTime(b) - begin
			after, err := database.CPUTime()
			require.NoError(b, err)
			k.postgres += after - used
		}
	}
	requests := float64(b.N * perRound)
	respond := float64(kinds[0].caddy)
	for _, k := range kinds {
		b.ReportMetric(float64(k.caddy.Microseconds())/requests, k.name+"-us/req")
		b.ReportMetric(requests/k.wall.Seconds(), k.name+"-req/s")
		if k.name == "respond" {
			continue
		}
		b.ReportMetric(float64(k.postgres.Microseconds())/requests, k.name+"-postgres-us/req")
		b.ReportMetric(float64(k.caddy)/respond, k.name+"/respond")
		b.ReportMetric(float64(k.caddy+k.postgres)/respond, k.name+"-all/respond")
	}
	b.ReportMetric(0, "ns/op")
}
