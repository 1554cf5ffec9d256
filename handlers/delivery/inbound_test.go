package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const serviceNumber = "+447860000001"

func (b *bench) inbound(change ...func(*InboundConfig)) *Inbound {
	b.t.Helper()
	cfg := InboundConfig{
		Store: b.store, Provider: "fake", Secrets: []string{receiptsSecret}, Logger: b.logs.logger(),
		ServiceOf: func(_ context.Context, number string) (string, error) {
			switch number {
			case serviceNumber, "60006":
				return testService, nil
			case "+447860000009":
				return "", storage.ErrUnavailable
			}
			return "", storage.ErrNotFound
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	h, err := NewInbound(cfg)
	require.NoError(b.t, err)
	return h
}

func (b *bench) inbox() []storage.InboundMessage {
	b.t.Helper()
	all, err := b.store.Inbound(context.Background(), storage.InboundQuery{ServiceID: testService})
	require.NoError(b.t, err)
	return all
}

func TestInbound(t *testing.T) {
	b := newBench(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h := b.inbound(func(c *InboundConfig) {
		c.Now = func() time.Time { return now }
		c.TimeField = "received"
	})
	body := `{"from":"447700900417","to":"+44 7860 000001","message":"` + testText + ` ✓","reference":"r1","received":"2026-11-22T12:59:00+01:00","extra":{"a":[1]}}`
	for range 2 { // the twin is taken, and not kept
		w := answer(h, receipt(body, "application/json"))
		assert.Equal(t, http.StatusNoContent, w.Code, w.Body)
		assert.Empty(t, w.Body.String())
	}
	got := b.inbox()
	require.Len(t, got, 1)
	assert.Equal(t, uuid.Version(7), got[0].ID.Version())
	assert.Equal(t, storage.InboundMessage{
		ID: got[0].ID, ServiceID: testService, Provider: "fake", Reference: "r1", UserNumber: testNumber, NotifyNumber: serviceNumber,
		Content: testText + " ✓", CreatedAt: now.Add(-time.Minute), ExpiresAt: now.Add(168 * time.Hour),
	}, got[0])
	assert.NotContains(t, b.logs.text(), "417")
	assert.NotContains(t, b.logs.text(), "marker text")

	// A form, a short code, a name, no reference and no text.
	for range 2 {
		form := url.Values{"from": {"ACME"}, "to": {"60006"}, "message": {""}, "other": {"x", "y"}}
		w := answer(h, receipt(form.Encode(), "application/x-www-form-urlencoded"))
		assert.Equal(t, http.StatusNoContent, w.Code, w.Body)
	}
	got = b.inbox()
	require.Len(t, got, 3, "without a reference no two are the same")
	assert.Equal(t, "ACME", got[0].UserNumber)
	assert.Equal(t, "60006", got[0].NotifyNumber)
	assert.Equal(t, now, got[0].CreatedAt)
}

func TestInboundFields(t *testing.T) {
	b := newBench(t)
	h := b.inbound(func(c *InboundConfig) {
		c.FromField, c.ToField, c.MessageField, c.ReferenceField = "msg.source.0", "msg.destination", "msg.content", "id"
		c.Retention = time.Hour
		c.Answer, c.AnswerType = "<ok/>", "text/xml"
	})
	w := answer(h, receipt(`{"id":12345678901234567890,"msg":{"source":["+447700900417"],"destination":447860000001,"content":"hi"}}`, "application/json"))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/xml", w.Header().Get("Content-Type"))
	assert.Equal(t, "<ok/>", w.Body.String())
	got := b.inbox()
	require.Len(t, got, 1)
	assert.Equal(t, "12345678901234567890", got[0].Reference)
	assert.Equal(t, serviceNumber, got[0].NotifyNumber)
	assert.Equal(t, time.Hour, got[0].ExpiresAt.Sub(got[0].CreatedAt))
}

func TestInboundTime(t *testing.T) {
	b := newBench(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h := b.inbound(func(c *InboundConfig) { c.TimeField = "t" })
	for in, want := range map[string]time.Time{
		"":                          now,
		"yesterday":                 now,
		"2026-11-22T11:59:59.5Z":    now.Add(-500 * time.Millisecond),
		"2026-11-22T12:00:00+01:00": now.Add(-time.Hour),
		"2026-11-22T12:00:01Z":      now,
		"2026-11-01T12:00:00Z":      now,
		"99999999999999999999":      now,
	} {
		assert.True(t, want.Equal(h.received(in, now)), in)
	}
	assert.True(t, now.Add(-time.Minute).Equal(h.received(fmt.Sprint(now.Unix()-60), now)))
}

func TestInboundRefusals(t *testing.T) {
	const js, form = "application/json", "application/x-www-form-urlencoded"
	good := `{"from":"+447700900417","to":"` + serviceNumber + `","message":"hi","reference":"r"}`
	for name, tc := range map[string]struct {
		request func() *http.Request
		status  int
		text    string
	}{
		"get": {func() *http.Request {
			r := receipt("", js)
			r.Method = http.MethodGet
			return r
		}, 405, "Received messages are posted"},
		"no secret": {func() *http.Request {
			r := receipt(good, js)
			r.Header.Del("Authorization")
			return r
		}, 401, "The received messages secret is missing or wrong"},
		"wrong secret": {func() *http.Request {
			r := receipt(good, js)
			r.SetBasicAuth("x", "wrong")
			return r
		}, 401, "The received messages secret is missing or wrong"},
		"media type":   {func() *http.Request { return receipt(good, "text/plain") }, 415, "must be application/json"},
		"too large":    {func() *http.Request { return receipt(good+strings.Repeat(" ", maxPosted), js) }, 413, "larger than 64 KiB"},
		"not JSON":     {func() *http.Request { return receipt("[", js) }, 400, "not a JSON object"},
		"not UTF-8":    {func() *http.Request { return receipt(strings.Replace(good, "hi", "\xff", 1), js) }, 400, "not a JSON object"},
		"no sender":    {func() *http.Request { return receipt(`{"to":"1","message":"x"}`, js) }, 400, `"from" is missing`},
		"empty sender": {func() *http.Request { return receipt(`{"from":"","to":"1","message":"x"}`, js) }, 400, `"from" is missing`},
		"no recipient": {func() *http.Request { return receipt(`{"from":"1","message":"x"}`, js) }, 400, `"to" is missing`},
		"no text":      {func() *http.Request { return receipt(`{"from":"1","to":"2"}`, js) }, 400, `"message" is missing`},
		"text no text": {func() *http.Request { return receipt(`{"from":"1","to":"2","message":{}}`, js) }, 400, `"message" is missing`},
		"NUL":          {func() *http.Request { return receipt(strings.Replace(good, "hi", `a\u0000b`, 1), js) }, 400, `"message" is missing or not a text`},
		"NUL in a form": {func() *http.Request {
			return receipt("from=1&to=2&message=a%00b", form)
		}, 400, `"message" is missing or not a text`},
		"not UTF-8 in a form": {func() *http.Request { return receipt("from=1&to=2&message=%ff", form) }, 400, `"message" is missing or not a text`},
		"NUL in a reference":  {func() *http.Request { return receipt("from=1&to=2&message=a&reference=%00", form) }, 400, `"reference" is missing or not a text`},
		"twice":               {func() *http.Request { return receipt("from=1&to=2&message=a&message=b", form) }, 400, `"message" is there twice`},
		"long sender":         {func() *http.Request { return receipt("to=2&message=a&from="+strings.Repeat("1", 65), form) }, 400, `"from" is longer than 64 bytes`},
		"long text": {func() *http.Request {
			return receipt("to=2&from=1&message="+strings.Repeat("a", maxInboundText+1), form)
		}, 400, "longer than 16384 bytes"},
		"nobody's":     {func() *http.Request { return receipt(strings.Replace(good, serviceNumber, "+447860000002", 1), js) }, 404, "No service has this number"},
		"storage away": {func() *http.Request { return receipt(strings.Replace(good, serviceNumber, "+447860000009", 1), js) }, 503, "Storage is not available"},
	} {
		b := newBench(t)
		w := answer(b.inbound(), tc.request())
		assert.Equal(t, tc.status, w.Code, name)
		assert.Contains(t, w.Body.String(), `"result":"error"`, name)
		assert.Contains(t, strings.ReplaceAll(w.Body.String(), `\"`, `"`), tc.text, name)
		assert.Equal(t, tc.status == 503, w.Header().Get("Retry-After") != "", name)
		assert.Empty(t, b.inbox(), name)
		assert.NotContains(t, b.logs.text(), "447700900417", name)
		assert.Len(t, b.logs.lines("received message refused"), 1, name)
	}
}

func TestInboundSigned(t *testing.T) {
	b := newBench(t)
	h := b.inbound(func(c *InboundConfig) {
		c.Secrets = nil
		c.Signed = func(_ *http.Request, body []byte) bool { return bytes.Contains(body, []byte("signed")) }
	})
	r := receipt("from=1&to="+url.QueryEscape(serviceNumber)+"&message=signed", "application/x-www-form-urlencoded")
	r.Header.Del("Authorization")
	assert.Equal(t, http.StatusNoContent, answer(h, r).Code)
	assert.Equal(t, http.StatusForbidden, answer(h, receipt("from=1&to=2&message=x", "application/x-www-form-urlencoded")).Code)
}

// failingStore can't keep messages.
type failingStore struct{ err error }

func (s failingStore) PutInbound(context.Context, storage.InboundMessage) error { return s.err }

func TestInboundStorageFaults(t *testing.T) {
	for err, status := range map[error]int{
		storage.ErrUnavailable: 503, context.DeadlineExceeded: 503, errors.New("private"): 500, storage.ErrExists: 204,
	} {
		b := newBench(t)
		w := answer(b.inbound(func(c *InboundConfig) { c.Store = failingStore{err} }),
			receipt(`{"from":"1","to":"60006","message":"x"}`, "application/json"))
		assert.Equal(t, status, w.Code, err)
		assert.NotContains(t, w.Body.String(), "private")
	}
}

func TestInboundConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*InboundConfig){
		"need a store":      func(c *InboundConfig) { c.Store = nil },
		"the name of the":   func(c *InboundConfig) { c.Provider = "" },
		"look-up":           func(c *InboundConfig) { c.ServiceOf = nil },
		"need a secret":     func(c *InboundConfig) { c.Secrets = nil },
		"retention":         func(c *InboundConfig) { c.Retention = -1 },
		"joined by dots":    func(c *InboundConfig) { c.FromField = "a..b" },
		"without one anybo": func(c *InboundConfig) { c.Secrets = []string{""} },
	} {
		cfg := InboundConfig{
			Store: failingStore{}, Provider: "fake", Secrets: []string{"x"},
			ServiceOf: func(context.Context, string) (string, error) { return "", nil },
		}
		change(&cfg)
		_, err := NewInbound(cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestInboundNumber(t *testing.T) {
	for in, want := range map[string]string{
		"+447700900417": "+447700900417", "447700900417": "+447700900417", "00447700900417": "+447700900417",
		" +44 (7700) 900-417 ": "+447700900417", "07700900417": "07700900417", "07700 900417": "07700900417",
		"60006": "60006", "+60006": "+60006", "1234567": "1234567", "12345678": "+12345678",
		"ACME": "ACME", "": "", "+": "+", "4477x": "4477x", "٤٤": "٤٤",
	} {
		assert.Equal(t, want, InboundNumber(in), in)
	}
}

func FuzzInboundBody(f *testing.F) {
	for _, s := range []string{
		`{"from":"1","to":"60006","message":"x"}`, `{"from":1e400,"to":{},"message":"\ud800"}`, "from=1&to=60006&message=%00", "", "[",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, body string, js bool) {
		b := newBench(t)
		media := "application/x-www-form-urlencoded"
		if js {
			media = "application/json"
		}
		w := httptest.NewRecorder()
		b.inbound(func(c *InboundConfig) {
			c.ServiceOf = func(context.Context, string) (string, error) { return testService, nil }
		}).ServeHTTP(w, receipt(body, media))
		if w.Code >= 500 {
			t.Fatalf("%d for %q", w.Code, body)
		}
		for _, m := range b.inbox() {
			if !plain(m.Content + m.UserNumber + m.NotifyNumber + m.Reference) {
				t.Fatalf("%q", body)
			}
		}
	})
}
