package delivery

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// settings are stored callbacks that change.
type settings struct {
	mu      sync.Mutex
	targets map[string]CallbackTarget
	err     error
	looks   []time.Time
}

func (s *settings) stored(context.Context) (map[string]CallbackTarget, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks = append(s.looks, time.Now())
	return maps.Clone(s.targets), s.err
}

func (s *settings) set(err error, targets map[string]CallbackTarget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets, s.err = targets, err
}

func (s *settings) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.looks)
}

const storedService = "c3d4a1b2-7e5f-4a9b-8c1d-0e2f3a4b5c6d"

// A callback that is stored, changed or removed while everything runs counts from
// the next look on.
func TestStoredCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		s := &settings{}
		c := b.callbacks(e, b.store, func(cfg *CallbacksConfig) { cfg.Stored = s.stored })
		assert.True(t, c.Wants(storedService), "nobody knows yet")
		require.NoError(t, c.Load(t.Context()))
		assert.False(t, c.Wants(storedService))
		assert.True(t, c.Wants(testService))
		stop := b.runCallbacks(c)
		synctest.Wait()

		one := CallbackTarget{URL: "https://c.example.org/receipts", Bearer: "s3cret-c"}
		s.set(nil, map[string]CallbackTarget{
			storedService: one, testService: {URL: "https://evil.example.org/", Bearer: "x"}, "broken": {URL: "http://example.org/", Bearer: "s3cret"},
		})
		time.Sleep(DefaultPoll + time.Second)
		synctest.Wait()
		assert.True(t, c.Wants(storedService))
		assert.False(t, c.Wants("broken"))
		assert.Equal(t, "https://a.example.org/receipts", c.targets.of(testService).url, "the configuration goes before")
		kept := c.targets.of(storedService)
		c.answeredBy(e)
		b.finished(storedService, storage.StatusDelivered)
		c.Wake(storedService)
		synctest.Wait()
		assert.Len(t, e.times("c"), 1)

		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Same(t, kept, c.targets.of(storedService), "what hasn't changed keeps its connections")
		assert.Len(t, b.logs.lines("the stored callback of a service can't be used"), 1, "said once")

		s.set(storage.ErrUnavailable, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.True(t, c.Wants(storedService), "storage is away, the callback is not")
		assert.Len(t, b.logs.lines("delivery waits for storage"), 1)

		one.Bearer = "another-s3cret"
		s.set(nil, map[string]CallbackTarget{storedService: one})
		time.Sleep(DefaultPoll)
		synctest.Wait()
		assert.NotSame(t, kept, c.targets.of(storedService))
		c.answeredBy(e)
		b.finished(storedService, storage.StatusDelivered)
		c.Wake(storedService)
		synctest.Wait()
		assert.Equal(t, "Bearer another-s3cret", e.calls[1].header.Get("Authorization"))

		s.set(nil, nil)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		assert.False(t, c.Wants(storedService))
		stop()
		assert.NotContains(t, b.logs.text(), "s3cret")
	})
}

// When a notification of a service without a callback ends, the stored ones are
// looked at soon, but not for each.
func TestUnknownServiceIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		s := &settings{}
		c := b.callbacks(e, b.store, func(cfg *CallbacksConfig) {
			cfg.Stored, cfg.Targets, cfg.Poll = s.stored, nil, time.Hour
		})
		stop := b.run(b.dispatcher(b.store, newScript(nil), func(cfg *Config) { cfg.Callbacks = c }))
		stopCallbacks := b.runCallbacks(c)
		synctest.Wait()
		require.Equal(t, 1, s.count())
		s.set(nil, map[string]CallbackTarget{testService: {URL: "https://a.example.org/receipts", Bearer: "s3cret-a"}})
		time.Sleep(time.Minute)
		b.create("fake")
		synctest.Wait()
		assert.Equal(t, 2, s.count())
		assert.True(t, c.Wants(testService))
		c.answeredBy(e)
		b.create("fake")
		synctest.Wait()
		assert.Len(t, e.times("a"), 1)
		assert.Equal(t, 2, s.count(), "known now")

		for range 100 {
			c.Wake("somebody else")
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		assert.LessOrEqual(t, s.count(), 4)
		stop()
		stopCallbacks()
	})
}

// A callback that was claimed for a service that has none any more is dropped.
func TestRemovedTargetIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := b.callbacks(newEndpoint(), b.store)
		b.finished(testService, storage.StatusDelivered)
		claims, err := b.store.ClaimCallbacks(t.Context(), storage.CallbackRequest{ServiceID: testService, Limit: 1, Now: time.Now(), Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		c.targets.all.Store(&map[string]*target{})
		c.tell(testService, claims[0])
		assert.Zero(t, b.owed())
		assert.Len(t, b.logs.lines("callback to a service"), 1)
	})
}

func TestLoadFails(t *testing.T) {
	b := newBench(t)
	c := b.callbacks(newEndpoint(), b.store, func(cfg *CallbacksConfig) {
		cfg.Stored = func(context.Context) (map[string]CallbackTarget, error) { return nil, errors.New("away") }
	})
	require.ErrorContains(t, c.Load(t.Context()), "away")
	assert.True(t, c.Wants("anybody"))
	require.NoError(t, (*Callbacks)(nil).Load(t.Context()))
}

// The schedule of GOV.UK Notify, as far as the random factor lets it be seen: five
// minutes before each of five repetitions.
func TestNotifySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		e.does = func(string, string) (int, error) { return 503, nil }
		c := b.callbacks(e, b.store, func(cfg *CallbacksConfig) { cfg.Pause, cfg.Factor, cfg.Poll = 5*time.Minute, 1, 5*time.Hour })
		stop := b.runCallbacks(c)
		b.finished(testService, storage.StatusDelivered)
		c.Wake(testService)
		time.Sleep(24 * time.Hour)
		stop()
		assert.Equal(t, seconds(0, 300, 600, 900, 1200, 1500), e.times("a"))
		assert.Zero(t, b.owed())
		assert.Equal(t, 1, strings.Count(b.logs.text(), `"code":"gave_up"`))
	})
}
