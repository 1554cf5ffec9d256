//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// load is what the clients of one site saw.
type load struct {
	mu        sync.Mutex
	requests  int
	lost      int // connections that broke before an answer began
	truncated int
	statuses  map[int]int
	wrong     []string // the first unexpected answers
	accepted  map[string]bool
	unsure    map[string]bool
}

func newLoad() *load {
	return &load{statuses: make(map[int]int), accepted: make(map[string]bool), unsure: make(map[string]bool)}
}

func (l *load) note(code string, a answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	switch {
	case errors.Is(err, errTruncated):
		l.truncated++
		l.unsure[code] = true
	case err != nil:
		l.lost++
		l.unsure[code] = true
	default:
		l.statuses[a.status]++
		if a.status == http.StatusCreated {
			l.accepted[code] = true
		} else if len(l.wrong) < 5 {
			l.wrong = append(l.wrong, fmt.Sprintf("%d %s", a.status, a.body))
		}
	}
}

func (l *load) String() string {
	return fmt.Sprintf("%d requests, %d connections lost, %d answers truncated, statuses %v", l.requests, l.lost, l.truncated, l.statuses)
}

// reloads makes the configurations of the drill.
type reloads struct {
	apiPort, respondPort int
	provider             string
	storage              string
	n                    int
}

func (r *reloads) caddyfile(storage, option string) string {
	r.n++
	return config{
		port: r.apiPort, storage: storage, api: noLimits + "\n\t\t" + option,
		// Each file differs, or Caddy would leave things as they are.
		sites: fmt.Sprintf("http://127.0.0.1:%d {\n\theader X-Generation %d\n\trespond \"accepted\" 201\n}\n", r.respondPort, r.n),
		signpost: fmt.Sprintf(`delivery sms webhook {
			url %s/send
			delivered_on_accept
		}`, r.provider),
	}.String()
}

func (r *reloads) good() string { return r.caddyfile(r.storage, "") }

func (r *reloads) turn() string {
	r.storage = map[string]string{"a.db": "b.db", "b.db": "a.db"}[r.storage]
	return r.good()
}

// Reloads under load, some of which change the storage and some of which fail.
// A `respond` of Caddy's own in the same configuration, loaded the same, shows
// what any site loses.
func TestReload(t *testing.T) {
	count := setting(t, "SIGNPOST_DRILL_RELOADS", 10, 60)
	const (
		kept  = 6 // clients of each site that keep their connection
		fresh = 2 // clients with a connection for each request
		every = 20 * time.Millisecond
	)
	stand := newProvider(t, nil)
	r := &reloads{apiPort: freePort(t), respondPort: freePort(t), provider: stand.URL, storage: "a.db"}
	s := newServer(t)
	s.write(t, "file", "")
	s.start(t, r.good())
	settle := func() (goroutines, descriptors int) {
		// Both storages have been used, and the newest configuration has sent
		// nothing yet.
		for range 2 {
			a := s.load(t, r.turn())
			require.Equal(t, http.StatusOK, a.status, a.body)
			eventually(t, 2*time.Minute, func() (bool, string) {
				a := s.request(t, http.MethodGet, "/signpost/status", "", "")
				return strings.Contains(a.body, `"queued":0,"outstanding":0`), a.body
			})
		}
		a := s.load(t, r.good())
		require.Equal(t, http.StatusOK, a.status, a.body)
		return s.goroutines(t), s.descriptors(t)
	}
	newClient(t, plainURL(r.apiPort)).send(t, "first.")
	startGoroutines, startDescriptors := settle()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	api, respond := newLoad(), newLoad()
	var clients sync.WaitGroup
	for i := range kept + fresh {
		for _, site := range []struct {
			load *load
			port int
		}{{api, r.apiPort}, {respond, r.respondPort}} {
			clients.Go(func() {
				w := &wire{addr: address(site.port), fresh: i >= kept}
				defer w.close()
				pace := time.NewTicker(every)
				defer pace.Stop()
				for j := 0; ; j++ {
					select {
					case <-ctx.Done():
						return
					case <-pace.C:
					}
					code := fmt.Sprintf("c%d-%d.", i, j)
					body := smsBody(code)
					authorization, err := configured.sign(http.MethodPost, "/notifications/sms", body)
					if err != nil {
						t.Error(err)
						return
					}
					a, err := w.post("/notifications/sms", authorization, body)
					site.load.note(code, a, err)
				}
			})
		}
	}

	turns, bad, slowest := 0, 0, time.Duration(0)
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for i := range count {
		<-pace.C
		began := time.Now()
		switch i % 6 {
		case 1, 3:
			a := s.load(t, r.turn())
			assert.Equal(t, http.StatusOK, a.status, a.body)
			turns++
		case 2:
			a := s.load(t, r.caddyfile(r.storage, "colour blue"))
			assert.Equal(t, http.StatusBadRequest, a.status, a.body)
			assert.Contains(t, a.body, "colour")
			bad++
		case 5:
			a := s.load(t, r.caddyfile("file/impossible.db", ""))
			assert.NotEqual(t, http.StatusOK, a.status)
			assert.Contains(t, a.body, "file/impossible.db")
			bad++
		default:
			a := s.load(t, r.good())
			assert.Equal(t, http.StatusOK, a.status, a.body)
		}
		slowest = max(slowest, time.Since(began))
	}
	cancel()
	clients.Wait()

	endGoroutines, endDescriptors := 0, 0
	eventually(t, 2*time.Minute, func() (bool, string) {
		endGoroutines, endDescriptors = settle()
		return endGoroutines <= startGoroutines+5 && endDescriptors <= startDescriptors+5,
			fmt.Sprintf("%d goroutines and %d file descriptors, at the start there were %d and %d",
				endGoroutines, endDescriptors, startGoroutines, startDescriptors)
	})

	t.Logf("%d reloads, %d to another storage, %d refused, the slowest took %s", count, turns, bad, slowest.Round(time.Millisecond))
	t.Logf("notify_api: %s", api)
	t.Logf("respond:    %s", respond)
	t.Logf("goroutines %d before and %d after, file descriptors %d and %d", startGoroutines, endGoroutines, startDescriptors, endDescriptors)

	for _, l := range []*load{api, respond} {
		assert.Zero(t, l.truncated)
		assert.Equal(t, l.requests-l.lost, l.statuses[http.StatusCreated], "%v", l.wrong)
	}
	// Which connections break is a matter of chance; the two counts are those
	// of the same process, and three standard deviations apart at most.
	assert.LessOrEqual(t, float64(api.lost), float64(respond.lost)+3+3*math.Sqrt(float64(respond.lost)))

	references, codes := make(map[string]int), make(map[string]int)
	for _, c := range stand.got() {
		references[c.reference]++
		codes[strings.TrimPrefix(c.message, messageStart)]++
		assert.Equal(t, 1, references[c.reference], "%s was sent twice", c.message)
	}
	for code := range api.accepted {
		assert.Equal(t, 1, codes[code], "how often %s was sent", code)
	}
	for code := range api.unsure {
		assert.LessOrEqual(t, codes[code], 1, "how often %s was sent", code)
	}
}

// A request whose body is still coming when the configuration changes is
// answered by the configuration that it began with, and stored where that one
// stores.
func TestReloadDuringRequest(t *testing.T) {
	t.Parallel()
	stand := newProvider(t, nil)
	r := &reloads{apiPort: freePort(t), respondPort: freePort(t), provider: stand.URL, storage: "a.db"}
	s := newServer(t)
	s.write(t, "file", "")
	s.start(t, r.good())
	c := newClient(t, plainURL(r.apiPort))
	for _, tc := range []struct {
		name      string
		caddyfile string
		status    int
		back      string // a configuration with the first storage
	}{
		{"same storage", r.good(), http.StatusOK, ""},
		{"refused", r.caddyfile("file/impossible.db", ""), http.StatusBadRequest, ""},
		{"other storage", r.turn(), http.StatusOK, r.turn()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code := tc.name[:4] + "."
			body := smsBody(code)
			authorization, err := configured.sign(http.MethodPost, "/notifications/sms", body)
			require.NoError(t, err)
			conn, err := net.Dial("tcp", address(r.apiPort))
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = fmt.Fprintf(conn, "POST /notifications/sms HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
				address(r.apiPort), authorization, len(body))
			require.NoError(t, err)
			in := bufio.NewReader(conn)
			// The server asks for the body, so the handler runs.
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, "100 Continue")
			_, err = in.ReadString('\n')
			require.NoError(t, err)
			_, err = conn.Write(body[:10])
			require.NoError(t, err)

			before := s.request(t, http.MethodGet, "/config/", "", "").body
			loaded := make(chan adminAnswer, 1)
			go func() { loaded <- s.load(t, tc.caddyfile) }()
			if tc.status == http.StatusOK {
				eventually(t, patience, func() (bool, string) {
					a, err := c.doAs("", http.MethodGet, "/_status", nil)
					if err != nil || a.status != http.StatusOK {
						return false, fmt.Sprint(a.status, err)
					}
					respond, err := http.Get(plainURL(r.respondPort)) //nolint:noctx // the test's own server
					if err != nil {
						return false, err.Error()
					}
					defer respond.Body.Close()
					generation := respond.Header.Get("X-Generation")
					return strings.Contains(tc.caddyfile, "X-Generation "+generation+"\n"), "still generation " + generation
				})
			} else {
				assert.NotEqual(t, http.StatusOK, (<-loaded).status)
				assert.JSONEq(t, before, s.request(t, http.MethodGet, "/config/", "", "").body)
			}
			_, err = conn.Write(body[10:])
			require.NoError(t, err)
			resp, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, resp.StatusCode, string(b))
			if tc.status == http.StatusOK {
				a := <-loaded
				require.Equal(t, http.StatusOK, a.status, a.body)
			}
			if tc.back != "" {
				a := s.load(t, tc.back)
				require.Equal(t, http.StatusOK, a.status, a.body)
			}
			n, err := parseNotification(b)
			require.NoError(t, err)
			assert.Equal(t, messageStart+code, c.get(t, n.ID).Message)
			c.await(t, n.ID, "delivered")
		})
	}
	references := make(map[string]int)
	for _, call := range stand.got() {
		references[call.reference]++
	}
	assert.Len(t, references, len(stand.got()))
}
