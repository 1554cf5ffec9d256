package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file run against a server without network, in faked time.

const fakeURL = "https://id.example.org/jwks.json"

func TestNewURLRefuses(t *testing.T) {
	tests := []struct {
		cfg  URLConfig
		want string
	}{
		{URLConfig{}, "needs a URL"},
		{URLConfig{URL: "id.example.org/jwks.json"}, "expected https://host/path"},
		{URLConfig{URL: "ftp://id.example.org/"}, "expected https://host/path"},
		{URLConfig{URL: "https:///jwks.json"}, "expected https://host/path"},
		{URLConfig{URL: "http://id.example.org/"}, "must be fetched by https"},
		{URLConfig{URL: "http://localhost.example.org/"}, "must be fetched by https"},
		{URLConfig{URL: "http://10.0.0.1/"}, "must be fetched by https"},
		{URLConfig{URL: "https://u:pw@id.example.org/"}, "user name or password"},
		{URLConfig{URL: "https://id.example.org/%zz"}, "malformed"},
		{URLConfig{URL: fakeURL, Refresh: -1}, "negative"},
		{URLConfig{URL: fakeURL, Refresh: time.Millisecond}, "refresh 1ms is too short"},
		{URLConfig{URL: fakeURL, StaleIfError: time.Millisecond}, "stale_if_error 1ms is too short"},
		{URLConfig{URL: fakeURL, Refresh: time.Hour, StaleIfError: time.Minute}, "shorter than refresh"},
	}
	for _, tt := range tests {
		_, err := NewURL(tt.cfg)
		require.ErrorContains(t, err, tt.want, "%+v", tt.cfg)
		assert.NotContains(t, err.Error(), "pw")
	}
	for _, good := range []string{fakeURL, "http://127.0.0.1:9/", "http://[::1]:9/", "http://LOCALHOST/", "https://10.0.0.1/"} {
		urlSource(t, URLConfig{URL: good})
	}
}

func TestLocationHidesTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := urlSource(t, URLConfig{URL: fakeURL + "?key=hidden", Transport: &fakeServer{}})
		set := setOf(t, s)
		err := set.Start(t.Context())
		require.ErrorContains(t, err, `jwks: key set "platform": jwks: key set at `+fakeURL+": connection refused")
		assert.NotContains(t, err.Error(), "hidden")
		assert.NotContains(t, fmt.Sprintf("%+v", set.Status()), "hidden")
	})
}

func TestRefreshTimes(t *testing.T) {
	tests := []struct {
		name           string
		refresh, stale time.Duration
		header         http.Header
		want           time.Duration // less up to a tenth
	}{
		{"default", 0, 0, nil, 10 * time.Minute},
		{"max-age", 0, 0, http.Header{"Cache-Control": {"public, Max-Age=3600"}}, time.Hour},
		{"quoted", 0, 0, http.Header{"Cache-Control": {`max-age="3600"`}}, time.Hour},
		{"first of two", 0, 0, http.Header{"Cache-Control": {"max-age=3600", "max-age=7200"}}, time.Hour},
		{"less its age", 0, 0, http.Header{"Cache-Control": {"max-age=3600"}, "Age": {"1800"}}, 30 * time.Minute},
		{"older than it may be", 0, 0, http.Header{"Cache-Control": {"max-age=3600"}, "Age": {"4000"}}, time.Minute},
		{"short", 0, 0, http.Header{"Cache-Control": {"max-age=5"}}, time.Minute},
		{"zero", 0, 0, http.Header{"Cache-Control": {"max-age=0"}}, time.Minute},
		{"no-store", 0, 0, http.Header{"Cache-Control": {"no-store, max-age=3600"}}, time.Minute},
		{"long", 0, 240 * time.Hour, http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, 24 * time.Hour},
		{"not beyond half of stale_if_error", 0, 0, http.Header{"Cache-Control": {"max-age=86400"}}, 12 * time.Hour},
		{"negative", 0, 0, http.Header{"Cache-Control": {"max-age=-1"}}, 10 * time.Minute},
		{"refresh wins", 10 * time.Second, 0, http.Header{"Cache-Control": {"max-age=3600"}}, 10 * time.Second},
		{"long refresh", 48 * time.Hour, 0, nil, 48 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := jwkOf(t, "k1", 0)
			synctest.Test(t, func(t *testing.T) {
				server := &fakeServer{status: 200, body: key, header: tt.header}
				set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Refresh: tt.refresh, StaleIfError: tt.stale, Transport: server}))
				require.NoError(t, set.Start(t.Context()))
				pause := time.Until(set.Status().Sources[0].NextRefresh)
				assert.LessOrEqual(t, pause, tt.want)
				assert.GreaterOrEqual(t, pause, tt.want-tt.want/10)
				time.Sleep(pause - 1)
				synctest.Wait()
				assert.Equal(t, 1, server.count())
				time.Sleep(1)
				synctest.Wait()
				assert.Equal(t, 2, server.count())
			})
		})
	}
}

func TestETagConfirmsTheKeys(t *testing.T) {
	key := jwkOf(t, "k1", 0)
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{status: 200, body: key, header: http.Header{"Etag": {`"v1"`}}}
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Refresh: time.Hour, StaleIfError: 90 * time.Minute, Transport: server}))
		require.NoError(t, set.Start(t.Context()))
		before := requireKey(t, set, "k1")
		time.Sleep(24 * time.Hour) // far beyond stale_if_error, always confirmed
		assert.Same(t, before, requireKey(t, set, "k1"))
		st := set.Status().Sources[0]
		assert.Equal(t, StateOK, st.State)
		assert.Less(t, st.Age(time.Now()), time.Hour)
		assert.Greater(t, time.Since(st.LastChange), 23*time.Hour)
	})
}

func TestErrorsNeverEvictUntilStale(t *testing.T) {
	key := jwkOf(t, "k1", 0)
	synctest.Test(t, func(t *testing.T) {
		server, log := &fakeServer{status: 200, body: key}, &lines{}
		set, err := NewSet(SetConfig{Name: "platform", Logger: log.logger(), Sources: []Source{
			urlSource(t, URLConfig{URL: fakeURL, Refresh: time.Minute, StaleIfError: time.Hour, Transport: server}),
		}})
		require.NoError(t, err)
		defer set.Close()
		require.NoError(t, set.Start(t.Context()))
		begin := time.Now()

		troubles := []func(*fakeServer){
			func(f *fakeServer) { f.status = 0 },
			func(f *fakeServer) { f.status = 500 },
			func(f *fakeServer) { f.status, f.body = 200, "<html>" },
			func(f *fakeServer) { f.body = `{"keys":[{"kty":"oct","k":"AAAA"}]}` },
			func(f *fakeServer) { f.status = 304 }, // nobody asked
		}
		for _, trouble := range troubles {
			server.set(trouble)
			time.Sleep(10 * time.Minute)
			requireKey(t, set, "k1")
			assert.Equal(t, StateFailing, set.Status().Sources[0].State)
		}
		assert.Equal(t, 1, log.count("can't be refreshed"), "one change of state, one line")
		// Back-off: 1, 2, 4 ... s, then every minute.
		assert.InDelta(t, 60, server.count(), 10)

		until := set.Status().Sources[0].UsableUntil
		assert.Equal(t, begin.Add(time.Hour), until)
		time.Sleep(time.Until(until) - 1)
		requireKey(t, set, "k1")
		time.Sleep(1)
		requireNoKey(t, set, "k1", ErrUnavailable)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, StateExpired, set.Status().Sources[0].State)
		assert.Equal(t, 1, log.count("no longer used"))

		server.set(func(f *fakeServer) { f.status, f.body = 200, key })
		time.Sleep(time.Minute)
		synctest.Wait()
		requireKey(t, set, "k1")
		assert.Equal(t, 2, log.count("loaded and fresh"))
	})
}

func TestServerAwayAtStart(t *testing.T) {
	key := jwkOf(t, "k1", 0)
	for _, hang := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			server := &fakeServer{hang: hang}
			set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server}))
			begin := time.Now()
			err := set.Start(t.Context())
			require.Error(t, err)
			if hang > 0 {
				require.ErrorContains(t, err, "wasn't complete after 5s")
			}
			assert.LessOrEqual(t, time.Since(begin), 5*time.Second)
			requireNoKey(t, set, "k1", ErrUnavailable)
			assert.Equal(t, StateAbsent, set.Status().Sources[0].State)

			server.set(func(f *fakeServer) { f.status, f.body, f.hang = 200, key, 0 })
			time.Sleep(10 * time.Second)
			synctest.Wait()
			requireKey(t, set, "k1")
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: &fakeServer{hang: time.Hour}}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		require.ErrorIs(t, set.Start(ctx), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))
		require.ErrorContains(t, set.Start(t.Context()), "started before")
		require.NoError(t, set.Close())
		assert.Equal(t, time.Second, time.Since(begin), "Close cuts the fetch off")
	})
}

func TestUnknownKidFetchesOnceInAnInterval(t *testing.T) {
	one, two := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{status: 200, body: one}
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, Refresh: time.Hour}))
		require.NoError(t, set.Start(t.Context()))
		server.set(func(f *fakeServer) { f.body = jwksOf(one, two) })
		requireKey(t, set, "k2")
		assert.Equal(t, 2, server.count())

		begin := time.Now()
		for n := range 1000 {
			requireNoKey(t, set, fmt.Sprintf("random-%d", n), ErrUnknownKid)
		}
		assert.Equal(t, begin, time.Now(), "nobody waits while the limiter is closed")
		assert.Equal(t, 2, server.count())

		time.Sleep(unknownKidEvery)
		requireNoKey(t, set, "", ErrUnknownKid)
		assert.Equal(t, 2, server.count(), "no key id at all is no reason to fetch")
		requireNoKey(t, set, "random", ErrUnknownKid)
		assert.Equal(t, 3, server.count())
	})
}

// Many ask during one fetch: 100 wait, the rest and those who waited too long
// are told that it isn't known.
func TestWaitersAreBounded(t *testing.T) {
	one, two := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)
	tests := map[time.Duration]map[error]int{
		time.Second:     {nil: 100, ErrUnavailable: 50},
		3 * time.Second: {ErrUnavailable: 150},
	}
	for hang, want := range tests {
		synctest.Test(t, func(t *testing.T) {
			server := &fakeServer{status: 200, body: one}
			set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, Refresh: time.Hour}))
			require.NoError(t, set.Start(t.Context()))
			server.set(func(f *fakeServer) { f.body, f.hang = jwksOf(one, two), hang })

			var mu sync.Mutex
			got := map[error]int{}
			begin := time.Now()
			var wg sync.WaitGroup
			for range 150 {
				wg.Go(func() {
					_, err := set.Key(t.Context(), "k2")
					if errors.Is(err, ErrUnavailable) {
						assert.ErrorContains(t, err, `key set "`)
						err = ErrUnavailable
					}
					mu.Lock()
					got[err]++
					mu.Unlock()
				})
			}
			synctest.Wait()
			requireKey(t, set, "k1")
			assert.Equal(t, begin, time.Now(), "known key ids don't wait")
			wg.Wait()
			assert.Equal(t, want, got)
			assert.LessOrEqual(t, time.Since(begin), 2*time.Second)
			assert.Equal(t, 2, server.count())

			// The places of those who left are free again.
			time.Sleep(time.Minute)
			requireKey(t, set, "k2")
		})
	}
}

// A background fetch that is on its way has read the document before the new key
// was in it: one more fetch follows.
func TestUnknownKidDuringAnOlderFetch(t *testing.T) {
	one, two := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{status: 200, body: one}
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, Refresh: time.Minute}))
		require.NoError(t, set.Start(t.Context()))
		server.set(func(f *fakeServer) { f.hang = time.Second })
		time.Sleep(time.Until(set.Status().Sources[0].NextRefresh))
		synctest.Wait()
		require.Equal(t, 2, server.count())
		server.set(func(f *fakeServer) { f.body, f.hang = jwksOf(one, two), 0 })
		requireKey(t, set, "k2")
		assert.Equal(t, 3, server.count())
	})
}

func TestKeyEndsWithItsContext(t *testing.T) {
	one := jwkOf(t, "k1", 0)
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{status: 200, body: one}
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server}))
		require.NoError(t, set.Start(t.Context()))
		server.set(func(f *fakeServer) { f.hang = time.Hour })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := set.Key(ctx, "k2")
		require.ErrorIs(t, err, ErrUnavailable)
		assert.Equal(t, time.Second, time.Since(begin))

		// Those who leave make room for others.
		for range 2 * maxWaiters {
			_, err := set.Key(ctx, "k2")
			require.ErrorIs(t, err, ErrUnavailable)
		}
		_, release, verdict := set.sources[0].(Refresher).Refresh()
		require.Equal(t, Joined, verdict)
		release()
		assert.Equal(t, 2, server.count())
	})
}

// A closed set answers from what it has, and asks nobody.
func TestClosedSet(t *testing.T) {
	one := jwkOf(t, "k1", 0)
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{status: 200, body: one}
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server}))
		require.NoError(t, set.Close(), "before Start")
		require.ErrorIs(t, set.Start(t.Context()), errSourceReused)

		set = setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server}))
		require.NoError(t, set.Start(t.Context()))
		require.NoError(t, set.Close())
		require.NoError(t, set.Close())
		requireKey(t, set, "k1")
		requireNoKey(t, set, "k2", ErrUnknownKid)
		time.Sleep(time.Hour)
		assert.Equal(t, 1, server.count())
	})
}

// Keys from another source of the same URL are used until a fetch succeeds, for
// as long as they could have been.
func TestURLSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)
		server := &fakeServer{status: http.StatusInternalServerError}
		seed := inlineOf(t, jwksOf(one)).Snapshot()
		seed.Until = time.Now().Add(time.Hour)
		set := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, StaleIfError: 30 * time.Minute, Refresh: time.Minute, Seed: seed}))
		requireKey(t, set, "k1") // before the first fetch has begun
		require.Error(t, set.Start(t.Context()))
		requireKey(t, set, "k1")
		assert.Equal(t, StateFailing, set.Status().Sources[0].State)
		time.Sleep(29 * time.Minute)
		requireKey(t, set, "k1")
		time.Sleep(2 * time.Minute)
		requireNoKey(t, set, "k1", ErrUnavailable)
		server.set(func(f *fakeServer) { f.status, f.body = http.StatusOK, jwksOf(two) })
		time.Sleep(2 * time.Minute)
		requireKey(t, set, "k2")
		requireNoKey(t, set, "k1", ErrUnknownKid)

		seed.Until = time.Now()
		set = setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, Seed: seed}))
		assert.False(t, set.Status().Ready, "too old")
	})
}
