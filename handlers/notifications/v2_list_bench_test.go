//go:build unix

package notifications

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// listLength is how many notifications the service of BenchmarkV2List has.
const listLength = 100_000

// BenchmarkV2List is the time of a page of 250 of 100,000 notifications behind
// authentication, the first and the last, on each storage.
func BenchmarkV2List(b *testing.B) {
	for name, open := range map[string]func(*testing.B) storage.Backend{
		"memory": func(*testing.B) storage.Backend { return memory.New() },
		"sqlite": func(b *testing.B) storage.Backend {
			return sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "signpost.db")})
		},
		"postgres": func(b *testing.B) storage.Backend {
			server, err := pgtest.Start()
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, server.Stop()) })
			return postgres.New(postgres.Config{DSN: server.DSN("postgres"), SecretsKey: bytes.Repeat([]byte{7}, storage.SecretsKeySize)})
		},
	} {
		b.Run(name, func(b *testing.B) {
			store := open(b)
			require.NoError(b, store.Open(context.Background()))
			b.Cleanup(func() { require.NoError(b, store.Close()) })
			fillList(b, store)
			s := newServer(b, func(c *Config) { c.Store, c.Observe, c.Logger = store, nil, nil })
			for _, page := range []struct{ name, query string }{
				{"first", ""},
				{"last", "older_than=" + s.beforeLast(b)},
				{"first-filtered", "template_type=sms&status=created"},
				{"last-filtered", "template_type=sms&status=created&older_than=" + s.beforeLast(b, storage.SMS)},
			} {
				b.Run(page.name, func(b *testing.B) { s.measureList(b, page.query) })
			}
		})
	}
}

// fillList stores notifications of service A: of the two channels in turn, each
// tenth made with a test key.
func fillList(b *testing.B, store storage.Backend) {
	b.Helper()
	const callers = 64
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := caller; i < listLength*10/9+callers; i += callers {
				n := storage.Notification{
					UUID: uuid.Must(uuid.NewV7()), ServiceID: serviceA, KeyName: "live", KeyType: storage.KeyNormal, Channel: storage.SMS,
					To: "+447700900123", Body: fmt.Sprintf("%0400d", i), TemplateID: "1", TemplateVersion: 1, Sender: "log",
					CreatedAt: t1, ExpiresAt: t1.Add(time.Hour),
				}
				if i%2 == 1 {
					n.Channel, n.To, n.Subject = storage.Email, "amala@example.org", "Subject"
				}
				if i%10 == 9 {
					n.KeyType = storage.KeyTest
				}
				if _, err := store.Create(b.Context(), storage.Creation{Notification: n}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// beforeLast returns the id after which the last page of a list comes.
func (s *server) beforeLast(b *testing.B, channels ...storage.Channel) string {
	b.Helper()
	q := storage.Query{ServiceID: serviceA, Channels: channels, KeyTypes: []storage.KeyType{storage.KeyNormal}, Limit: storage.MaxPage}
	var ids []string
	for {
		page, err := s.api.config.Store.Notifications(b.Context(), q)
		require.NoError(b, err)
		if len(page.Notifications) == 0 {
			break
		}
		for _, n := range page.Notifications {
			ids = append(ids, n.UUID.String())
			q.Before = n.ID
		}
	}
	if len(channels) == 0 {
		require.GreaterOrEqual(b, len(ids), listLength)
	}
	return ids[len(ids)-1-v2PageSize]
}

func (s *server) measureList(b *testing.B, query string) {
	b.Helper()
	r := httptest.NewRequest("GET", "/v2/notifications?"+query, nil)
	w := &blank{header: http.Header{}}
	call := &v2Call{w: w, r: r, id: identity(), route: routeV2List, query: query, root: "https://example.com"}
	var times []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		started := time.Now()
		if status, _ := s.api.v2List(call); status != http.StatusOK {
			b.Fatal(status)
		}
		times = append(times, time.Since(started))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "median-µs")
}
