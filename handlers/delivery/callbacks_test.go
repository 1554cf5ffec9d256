package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const otherService = "3d844edf-8d35-48ac-975b-e847b4f122b0"

// endpoint plays the services' servers, without a network so that time can be
// the test's.
type endpoint struct {
	mu      sync.Mutex
	start   time.Time
	calls   []told
	running map[string]int
	most    map[string]int
	does    func(service, id string) (int, error) // status
	takes   func(service string) time.Duration
	header  http.Header // of answers
}

// told is one call to a service.
type told struct {
	after   time.Duration
	service string
	body    string
	header  http.Header
	method  string
}

func newEndpoint() *endpoint {
	return &endpoint{
		start: time.Now(), running: map[string]int{}, most: map[string]int{}, header: http.Header{},
		does:  func(string, string) (int, error) { return http.StatusOK, nil },
		takes: func(string) time.Duration { return 0 },
	}
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	service := strings.TrimSuffix(r.URL.Host, ".example.org")
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	e.calls = append(e.calls, told{time.Since(e.start), service, string(body), r.Header, r.Method})
	e.running[service]++
	e.most[service] = max(e.most[service], e.running[service])
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running[service]--
	}()
	select {
	case <-time.After(e.takes(service)):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, err := e.does(service, string(body))
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: e.header, Body: io.NopCloser(strings.NewReader("ignored"))}, nil
}

func (e *endpoint) times(service string) (out []time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.calls {
		if c.service == service {
			out = append(out, c.after)
		}
	}
	return out
}

// peaks is how many calls to each service have run at once.
func (e *endpoint) peaks() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.most)
}

// callbacks are those of the two services "a" and "b".
func (b *bench) callbacks(e *endpoint, outbox CallbackOutbox, change ...func(*CallbacksConfig)) *Callbacks {
	b.t.Helper()
	cfg := CallbacksConfig{
		Outbox: outbox,
		Targets: map[string]CallbackTarget{
			testService:  {URL: "https://a.example.org/receipts", Bearer: "s3cret-a"},
			otherService: {URL: "https://b.example.org/receipts", Bearer: "s3cret-b"},
		},
		Logger: b.logs.logger(),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := NewCallbacks(cfg)
	require.NoError(b.t, err)
	c.random = func() float64 { return 0.5 } // pauses are exactly their mean
	c.answeredBy(e)
	return c
}

// answeredBy lets an endpoint answer for all targets that there are.
func (c *Callbacks) answeredBy(e *endpoint) {
	for _, t := range *c.targets.all.Load() {
		t.client.Transport = e
	}
}

func (b *bench) runCallbacks(c *Callbacks) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() {
		b.t.Helper()
		cancel()
		require.NoError(b.t, <-done)
		require.NoError(b.t, c.Wait(context.Background()))
		require.NoError(b.t, c.Close())
	}
}

// finished stores a notification that has become final, with a callback owed.
func (b *bench) finished(service string, status storage.Status) storage.Notification {
	b.t.Helper()
	now := time.Now()
	c, err := b.store.Create(context.Background(), storage.Creation{Notification: storage.Notification{
		UUID: uuid.New(), ServiceID: service, Channel: storage.SMS, To: testNumber, Body: testText, TemplateID: "1", TemplateVersion: 3,
		Sender: "fake", CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
	}})
	require.NoError(b.t, err)
	n, changed, err := b.store.Receipt(context.Background(), storage.Receipt{
		Sender: "fake", Reference: c.Notification.UUID.String(), Status: status, At: now,
		Callback: func(string) bool { return true },
	})
	require.NoError(b.t, err)
	require.True(b.t, changed)
	return n
}

func (b *bench) owed() int64 {
	b.t.Helper()
	s, err := b.store.Stats(context.Background())
	require.NoError(b.t, err)
	return s.Callbacks
}

func TestCallbackBody(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 120000000, time.FixedZone("", 3600))
	n := storage.Notification{
		ID: 7, ServiceID: testService, UUID: uuid.MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), Reference: "booking-9", To: testNumber,
		Status: storage.StatusDelivered, Reason: "private", Body: testText, CreatedAt: at, SentAt: at.Add(time.Second), CompletedAt: at.Add(2 * time.Second),
		Channel: storage.SMS, TemplateID: "1", TemplateVersion: 3,
	}
	body, err := newCallbackBody(&n)
	require.NoError(t, err)
	assert.JSONEq(t, `{"id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","reference":"booking-9","to":"+447700900417","status":"delivered",
		"created_at":"2026-11-22T11:00:00.120000Z","completed_at":"2026-11-22T11:00:02.120000Z","sent_at":"2026-11-22T11:00:01.120000Z",
		"notification_type":"sms","template_id":"`+storage.TemplateUUID(testService, "1").String()+`","template_version":3}`, string(body))
	n.Reference, n.SentAt, n.Channel, n.Status = "", time.Time{}, storage.Email, storage.StatusTechnicalFailure
	n.Details.Supplied, n.TemplateID = "07700 900417", "9f8c5c1e-3c0b-4f51-b6c2-2a8d5b4a7c11"
	body, err = newCallbackBody(&n)
	require.NoError(t, err)
	assert.JSONEq(t, `{"id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","reference":null,"to":"07700 900417","status":"technical-failure",
		"created_at":"2026-11-22T11:00:00.120000Z","completed_at":"2026-11-22T11:00:02.120000Z","sent_at":null,
		"notification_type":"email","template_id":"9f8c5c1e-3c0b-4f51-b6c2-2a8d5b4a7c11","template_version":3}`, string(body))
}

// What becomes final by an answer, by a receipt or for want of one is told at
// once.
func TestCallbackOfEachEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		c := b.callbacks(e, b.store)
		stopCallbacks := b.runCallbacks(c)
		var sent Sent
		d := b.dispatcher(b.store, providerFunc(func(context.Context, Message) (Sent, error) { return sent, nil }), func(cfg *Config) {
			cfg.Callbacks, cfg.SweepInterval = c, time.Minute
		})
		stop := b.run(d)
		told := func(n storage.Notification) {
			t.Helper()
			synctest.Wait()
			e.mu.Lock()
			defer e.mu.Unlock()
			require.Len(t, e.calls, 1)
			got := e.calls[0]
			want, err := newCallbackBody(new(b.get(n.ID)))
			require.NoError(t, err)
			assert.JSONEq(t, string(want), got.body)
			assert.Equal(t, http.MethodPost, got.method)
			assert.Equal(t, http.Header{
				"Authorization": {"Bearer s3cret-a"}, "Content-Type": {"application/json"}, "User-Agent": {"Signpost"},
			}, got.header)
			e.calls = nil
		}
		synctest.Wait()
		sent = Sent{Delivered: true}
		told(b.create("fake"))

		sent = Sent{Reference: "theirs"}
		n := b.create("fake")
		synctest.Wait()
		assert.Empty(t, e.times("a"), "sending isn't final")
		w := answer(b.receipts(func(cfg *ReceiptsConfig) { cfg.Callbacks = c }), receipt(`{"reference":"theirs","status":"failed"}`, "application/json"))
		require.Equal(t, http.StatusNoContent, w.Code)
		told(n)

		sent = Sent{Reference: "silent"}
		n = b.create("fake")
		time.Sleep(72*time.Hour + time.Minute + time.Second)
		told(n)
		assert.Equal(t, storage.StatusTemporaryFailure, b.get(n.ID).Status)

		told(b.create(Simulated))
		stop()
		stopCallbacks()
		assert.Zero(t, b.owed())
	})
}

func TestCallbackRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		status []int // the last for ever; 0 breaks the connection
		after  string
		want   []time.Duration
		result CallbackResult
	}{
		"taken":             {[]int{204}, "", []time.Duration{0}, CallbackDone},
		"gone":              {[]int{410}, "", []time.Duration{0}, CallbackRefused},
		"not found":         {[]int{404}, "", []time.Duration{0}, CallbackRefused},
		"unauthorised":      {[]int{401}, "", []time.Duration{0}, CallbackRefused},
		"broken connection": {[]int{0, 500, 429, 302, 200}, "", seconds(0, 5, 25, 105, 425), CallbackDone},
		"for ever":          {[]int{503}, "", seconds(0, 5, 25, 105, 425, 1705), CallbackGaveUp},
		"retry-after":       {[]int{429, 429, 200}, "12", seconds(0, 12, 32), CallbackDone},
		"retry-after, far":  {[]int{503, 200}, "86400", seconds(0, 3600), CallbackDone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				e := newEndpoint()
				e.header.Set("Retry-After", tc.after)
				i := -1
				e.does = func(string, string) (int, error) {
					i++
					if s := tc.status[min(i, len(tc.status)-1)]; s != 0 {
						return s, nil
					}
					return 0, io.ErrUnexpectedEOF
				}
				var events []CallbackEvent
				c := b.callbacks(e, b.store, func(c *CallbacksConfig) { c.Observe = func(e CallbackEvent) { events = append(events, e) } })
				b.finished(testService, storage.StatusDelivered)
				stop := b.runCallbacks(c)
				time.Sleep(3 * time.Hour)
				stop()
				assert.Equal(t, tc.want, e.times("a"))
				assert.Equal(t, tc.result, events[len(events)-1].Result)
				assert.Len(t, events, len(tc.want))
				assert.Zero(t, b.owed())
				for _, private := range []string{"s3cret", testNumber, "example.org"} {
					assert.NotContains(t, b.logs.text(), private)
				}
			})
		})
	}
}

func seconds(list ...int) (out []time.Duration) {
	for _, s := range list {
		out = append(out, time.Duration(s)*time.Second)
	}
	return out
}

// A service that doesn't answer holds up nobody, and is not called by more
// than its share at once.
func TestDeadServiceHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		e.takes = func(service string) time.Duration {
			if service == "a" {
				return time.Hour // the client gives up after 5 s
			}
			return time.Second
		}
		for range 100 {
			b.finished(testService, storage.StatusDelivered)
		}
		for range 8 {
			b.finished(otherService, storage.StatusDelivered)
		}
		stop := b.runCallbacks(b.callbacks(e, b.store))
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		assert.Len(t, e.times("b"), 8)
		assert.EqualValues(t, 100, b.owed())
		assert.Equal(t, map[string]int{"a": 4, "b": 4}, e.peaks())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Len(t, e.times("a"), 8, "the first four were given up after 5 s")
		stop()
	})
}

func TestCallbacksEndAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		b.finished(testService, storage.StatusDelivered)
		time.Sleep(24 * time.Hour)
		stop := b.runCallbacks(b.callbacks(e, b.store))
		synctest.Wait()
		stop()
		assert.Empty(t, e.calls)
		assert.Zero(t, b.owed())
		assert.Contains(t, b.logs.text(), "a day has passed")
	})
}

func TestCallbacksStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		e.takes = func(string) time.Duration { return 3 * time.Second }
		b.finished(testService, storage.StatusDelivered)
		b.finished(otherService, storage.StatusDelivered)
		c := b.callbacks(e, b.store)
		require.NoError(t, c.Wait(t.Context()), "never run")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		require.Error(t, c.Run(ctx), "once only")
		cancel()
		require.NoError(t, <-done)
		assert.EqualValues(t, 2, b.owed())

		// Cut off: they are owed still, and due at once.
		grace, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		require.NoError(t, c.Wait(grace))
		assert.EqualValues(t, 2, b.owed())
		e.mu.Lock()
		e.calls = nil
		e.mu.Unlock()
		stop := b.runCallbacks(b.callbacks(e, b.store))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Len(t, e.calls, 2)
		stop() // waits
		assert.Zero(t, b.owed())
	})
}

// faultyCallbacks is an outbox that a test can take away.
type faultyCallbacks struct {
	CallbackOutbox
	mu   sync.Mutex
	down bool
}

func (o *faultyCallbacks) set(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *faultyCallbacks) fault() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return storage.Unavailable("test", errors.New("away"))
	}
	return nil
}

func (o *faultyCallbacks) ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) ([]storage.CallbackClaim, error) {
	if err := o.fault(); err != nil {
		return nil, err
	}
	return o.CallbackOutbox.ClaimCallbacks(ctx, r)
}

func (o *faultyCallbacks) CompleteCallback(ctx context.Context, c storage.CallbackClaim, next time.Time) error {
	if err := o.fault(); err != nil {
		return err
	}
	return o.CallbackOutbox.CompleteCallback(ctx, c, next)
}

func (o *faultyCallbacks) NextCallbacks(ctx context.Context, services []string) (map[string]time.Time, error) {
	if err := o.fault(); err != nil {
		return nil, err
	}
	return o.CallbackOutbox.NextCallbacks(ctx, services)
}

func TestCallbacksSurviveStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		e.takes = func(string) time.Duration { return 2 * time.Second }
		o := &faultyCallbacks{CallbackOutbox: b.store}
		stop := b.runCallbacks(b.callbacks(e, o))
		b.finished(testService, storage.StatusDelivered)
		time.Sleep(DefaultPoll + time.Second)
		synctest.Wait()
		assert.Len(t, e.calls, 1)
		o.set(true) // its outcome can't be recorded for a while
		b.finished(otherService, storage.StatusDelivered)
		time.Sleep(15 * time.Second)
		o.set(false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		assert.Len(t, e.times("a"), 1, "it isn't told twice")
		assert.Len(t, e.times("b"), 1)
		assert.Zero(t, b.owed())
		stop()
	})
}

// Whatever services answer, with two nodes at work that stop and start, every
// callback comes to its end: told, refused, or called as often as it may be.
func TestEveryCallbackComesToItsEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lives := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 302, 404, 429, 500}), 0, 8), 1, 12).Draw(rt, "lives")
		restarts := rapid.SliceOfN(rapid.IntRange(1, 600), 0, 4).Draw(rt, "restarts")
		outages := rapid.SliceOfN(rapid.IntRange(0, 8), len(restarts), len(restarts)).Draw(rt, "outages")
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = callbackLives(t, lives, restarts, outages) })
		for _, fault := range faults {
			rt.Error(fault)
		}
	})
}

func callbackLives(t *testing.T, lives [][]int, restarts, outages []int) (faults []string) {
	b := newBench(t)
	e := newEndpoint()
	byID := map[string][]int{}
	calls, running := map[string]int{}, map[string]int{}
	var mu sync.Mutex
	for i, life := range lives {
		service := []string{testService, otherService}[i%2]
		byID[b.finished(service, storage.StatusDelivered).UUID.String()] = life
	}
	e.does = func(_, body string) (int, error) {
		id := body[len(`{"id":"`):][:36]
		mu.Lock()
		if running[id]++; running[id] > 1 {
			faults = append(faults, id+" is told by two at once")
		}
		step := http.StatusOK
		if calls[id] < len(byID[id]) {
			step = byID[id][calls[id]]
		}
		calls[id]++
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running[id]--
		}()
		switch step {
		case 0:
			return 0, io.EOF
		case 1: // slow, yet within the time-out
			time.Sleep(4 * time.Second)
			step = http.StatusBadGateway
		}
		return step, nil
	}
	o := &faultyCallbacks{CallbackOutbox: b.store}
	stops := []func(){b.runCallbacks(b.callbacks(e, o)), b.runCallbacks(b.callbacks(e, o))}
	for i, pause := range restarts {
		time.Sleep(time.Duration(pause) * time.Second)
		o.set(true)
		time.Sleep(time.Duration(outages[i]) * time.Second)
		o.set(false)
		old := stops[0]
		stops = append(stops[1:], b.runCallbacks(b.callbacks(e, o)))
		old()
	}
	time.Sleep(2 * time.Hour)
	for _, stop := range stops {
		stop()
	}
	for id, life := range byID {
		want := 1 + DefaultCallbackRetries
		for i, step := range append(life, http.StatusOK) {
			if step == http.StatusOK || step == http.StatusNotFound {
				want = min(want, i+1)
				break
			}
		}
		if calls[id] != want {
			faults = append(faults, fmt.Sprintf("%v: %d calls, want %d", life, calls[id], want))
		}
	}
	if n := b.owed(); n != 0 {
		faults = append(faults, fmt.Sprintf("%d are still owed", n))
	}
	return faults
}

func TestCallbackTargets(t *testing.T) {
	for target, want := range map[string]string{
		"https://booking.example.org/receipts":    "",
		"http://localhost:8080/receipts":          "",
		"http://127.0.0.1:8080/":                  "",
		"http://[::1]:8080/":                      "",
		"https://10.0.0.8/":                       "",
		"http://booking.example.org/":             "plain http is for localhost only",
		"http://10.0.0.8/":                        "plain http is for localhost only",
		"http://192.168.1.1/":                     "plain http is for localhost only",
		"https://169.254.169.254/latest":          "not one of a service",
		"https://[fe80::1]/":                      "not one of a service",
		"https://[::ffff:169.254.169.254]/":       "not one of a service",
		"https://0.0.0.0/":                        "not one of a service",
		"https://2130706433/":                     "address in disguise",
		"https://user:s3cret@booking.example.org": "must not have a user",
		"ftp://booking.example.org/":              "must begin with https",
		"booking.example.org":                     "must begin with https",
		"https:///x":                              "has no host",
		"https://%zz":                             "can't be parsed",
	} {
		err := CheckCallback(CallbackTarget{URL: target})
		if want == "" {
			require.NoError(t, err, target)
			continue
		}
		require.ErrorContains(t, err, want, target)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

func TestCallbacksConfigIsChecked(t *testing.T) {
	b := newBench(t)
	for want, change := range map[string]func(*CallbacksConfig){
		"need an outbox":       func(c *CallbacksConfig) { c.Outbox = nil },
		"must not be negative": func(c *CallbacksConfig) { c.Concurrency = -1 },
		"half the lease":       func(c *CallbacksConfig) { c.Timeout = 16 * time.Second },
		"needs a bearer token": func(c *CallbacksConfig) { c.Targets["x"] = CallbackTarget{URL: "https://x.example.org"} },
		"bearer token holds": func(c *CallbacksConfig) {
			c.Targets["x"] = CallbackTarget{URL: "https://x.example.org", Bearer: "a\r\nb"}
		},
		"callback of service x": func(c *CallbacksConfig) { c.Targets["x"] = CallbackTarget{} },
		"is not a host name, IP a": func(c *CallbacksConfig) {
			c.Targets["x"] = CallbackTarget{URL: "https://x.example.org", Bearer: "b", Outgoing: outgoing.Policy{AllowPrivate: []string{""}}}
		},
	} {
		cfg := CallbacksConfig{Outbox: b.store, Targets: map[string]CallbackTarget{}}
		change(&cfg)
		_, err := NewCallbacks(cfg)
		require.ErrorContains(t, err, want)
	}
	var none *Callbacks
	assert.False(t, none.Wants(testService))
	assert.Empty(t, none.Services())
	none.Wake(testService)
	none.WakeAll()
	c := b.callbacks(newEndpoint(), b.store)
	assert.True(t, c.Wants(testService))
	assert.False(t, c.Wants("x"))
	assert.Equal(t, []string{testService, otherService}, c.Services())

	synctest.Test(t, func(t *testing.T) {
		c, err := NewCallbacks(CallbacksConfig{Outbox: newBench(t).store})
		require.NoError(t, err)
		newBench(t).runCallbacks(c)()
	})
}
