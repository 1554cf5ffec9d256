//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkV2Post compares POST of the v2 dialect with that of the signed one,
// as BenchmarkCaddy measures it, by a provider that never answers:
//
//	go test -run '^$' -bench V2Post -benchtime 5x ./caddymodule/e2e
//
// v2-key is the v2 POST with an Idempotency-Key, which stores the key as the
// signed one always does.
func BenchmarkV2Post(b *testing.B) {
	hold := make(chan struct{})
	stand := newHoldingProvider(b, hold)
	defer close(hold)
	s, base := benchServer(b, stand, "delivery sms webhook {\n url "+stand+"\n timeout 25s\n}")
	var posts atomic.Int64
	text := strings.Repeat("x", 888)
	signed := func() (*http.Request, error) {
		body := fmt.Appendf(nil, `{"to":"+447700900123","template":1,"personalisation":{"code":"%012d%s"}}`, posts.Add(1), text)
		token, err := configured.sign(http.MethodPost, "/notifications/sms", body)
		return benchPost(base+"/notifications/sms", token, body, err)
	}
	v2 := func() (*http.Request, error) {
		body := fmt.Appendf(nil, `{"phone_number":"+447700900123","template_id":%q,"personalisation":{"code":"%012d%s"}}`,
			derivedTemplate("1"), posts.Add(1), text)
		token, err := configured.v2Token()
		return benchPost(base+"/v2/notifications/sms", token, body, err)
	}
	kinds := []struct {
		name string
		next func() (*http.Request, error)
	}{
		{"signed", signed},
		{"v2", v2},
		{"v2-key", func() (*http.Request, error) {
			req, err := v2()
			if err == nil {
				req.Header.Set("Idempotency-Key", fmt.Sprint(posts.Add(1)))
			}
			return req, err
		}},
	}
	cpu, wall := make(map[string]time.Duration), make(map[string]time.Duration)
	for b.Loop() {
		for _, k := range kinds {
			begin, start := s.cpuTime(b), time.Now()
			benchRequests(b, k.name, perRound, k.next)
			wall[k.name] += time.Since(start)
			cpu[k.name] += s.cpuTime(b) - begin
		}
	}
	for _, k := range kinds {
		requests := float64(b.N * perRound)
		b.ReportMetric(float64(cpu[k.name].Microseconds())/requests, k.name+"-us/req")
		b.ReportMetric(requests/wall[k.name].Seconds(), k.name+"-req/s")
	}
	b.ReportMetric(float64(cpu["v2"])/float64(cpu["signed"]), "v2/signed")
	b.ReportMetric(float64(cpu["v2-key"])/float64(cpu["signed"]), "v2-key/signed")
	b.ReportMetric(0, "ns/op")
}

// benchPost makes a request, unless its token could not be made.
func benchPost(url, token string, body []byte, err error) (*http.Request, error) {
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Authorization", token)
	}
	return req, err
}

// BenchmarkV2List reads the list of 100,000 notifications (SIGNPOST_E2E_LIST) by
// HTTP, from the first page to the last, and then these two in turn. The metrics
// are medians.
//
//	go test -run '^$' -bench V2List -benchtime 200x ./caddymodule/e2e
func BenchmarkV2List(b *testing.B) {
	rows := setting(b, "SIGNPOST_E2E_LIST", 10_000, 100_000)
	s, base := benchServer(b, "http://127.0.0.1:1", "")
	body := fmt.Appendf(nil, `{"phone_number":"+447700900123","template_id":%q,"personalisation":{"code":"1"},"reference":"bulk"}`, derivedTemplate("1"))
	c := newV2Client(b, base)
	rows -= rows % benchClients
	benchRequests(b, "filling", rows, func() (*http.Request, error) {
		token, err := c.v2Token()
		return benchPost(base+"/v2/notifications/sms", token, body, err)
	})
	s.awaitIdle(b)
	start, seen, pages, last := time.Now(), 0, 0, ""
	for path := "/v2/notifications"; ; pages++ {
		page := c.get(b, path)
		n := objects(b, page["notifications"])
		if len(n) == 0 {
			break
		}
		seen += len(n)
		last, path = path, strings.TrimPrefix(page["links"].(object)["next"].(string), base)
	}
	require.Equal(b, rows, seen)
	all := time.Since(start)
	paths := []struct{ name, path string }{
		{"first", "/v2/notifications"},
		{"last", last},
		{"delivered-first", "/v2/notifications?status=delivered&template_type=sms"},
		{"delivered-last", strings.Replace(last, "?", "?status=delivered&template_type=sms&", 1)},
		{"reference-last", strings.Replace(last, "?", "?reference=bulk&", 1)},
		{"failed", "/v2/notifications?status=failed"},
	}
	took := make(map[string][]time.Duration)
	for b.Loop() {
		for _, p := range paths {
			start := time.Now()
			a, err := c.do(http.MethodGet, p.path, nil)
			took[p.name] = append(took[p.name], time.Since(start))
			require.NoError(b, err)
			require.Equal(b, http.StatusOK, a.status)
		}
	}
	median := func(name string) float64 {
		slices.Sort(took[name])
		return float64(took[name][len(took[name])/2].Microseconds())
	}
	for _, p := range paths {
		b.ReportMetric(median(p.name), p.name+"-us")
	}
	b.ReportMetric(median("last")/median("first"), "last/first")
	b.ReportMetric(median("delivered-last")/median("delivered-first"), "delivered-last/first")
	b.ReportMetric(float64(all.Milliseconds())/float64(pages), "each-page-ms")
	b.ReportMetric(0, "ns/op")
}
