package delivery

import (
	"context"
	"encoding/json"
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
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const receiptsSecret = "s3cret-of-the-provider"

// accepted puts a notification into the state after a provider took it.
func (b *bench) accepted(reference string) storage.Notification {
	b.t.Helper()
	n := b.create("fake")
	claims, err := b.store.Claim(context.Background(), storage.ClaimRequest{
		Channel: storage.SMS, Limit: 1, Now: time.Now(), Lease: time.Minute,
	})
	require.NoError(b.t, err)
	require.Len(b.t, claims, 1)
	require.NoError(b.t, b.store.Complete(context.Background(), claims[0], storage.Outcome{
		Status: storage.StatusSending, ProviderReference: reference, At: time.Now(),
	}))
	return n
}

func (b *bench) receipts(change ...func(*ReceiptsConfig)) *Receipts {
	b.t.Helper()
	cfg := ReceiptsConfig{Outbox: b.store, Sender: "fake", Secrets: []string{receiptsSecret}, Logger: b.logs.logger()}
	for _, f := range change {
		f(&cfg)
	}
	h, err := NewReceipts(cfg)
	require.NoError(b.t, err)
	h.patience = 0
	return h
}

func receipt(body, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/receipts/fake", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+receiptsSecret)
	r.Header.Set("Content-Type", contentType)
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestReceiptWords(t *testing.T) {
	for word, want := range map[string]storage.Status{
		"delivered": storage.StatusDelivered, "Delivered ": storage.StatusDelivered,
		"sent": storage.StatusSending, "queued": storage.StatusSending, "accepted": storage.StatusSending,
		"pending": storage.StatusPending, "PENDING": storage.StatusPending,
		"expired": storage.StatusTemporaryFailure, "undelivered": storage.StatusTemporaryFailure,
		"temporary-failure": storage.StatusTemporaryFailure,
		"rejected":          storage.StatusPermanentFailure, "failed": storage.StatusPermanentFailure,
		"permanent-failure": storage.StatusPermanentFailure,
		"DLVRD":             storage.StatusDelivered, "7": storage.StatusTechnicalFailure,
	} {
		t.Run(word, func(t *testing.T) {
			b := newBench(t)
			n := b.accepted("theirs")
			h := b.receipts(func(c *ReceiptsConfig) {
				c.StatusMap = map[string]storage.Status{"dlvrd": storage.StatusDelivered, "7": storage.StatusTechnicalFailure}
			})
			for range 2 { // twins are harmless
				w := answer(h, receipt(fmt.Sprintf(`{"reference":"theirs","status":%q,"reason":"why","extra":{"a":[1]}}`, word), "application/json; charset=utf-8"))
				assert.Equal(t, http.StatusNoContent, w.Code, w.Body)
				assert.Empty(t, w.Body.String())
			}
			assert.Equal(t, want, b.get(n.ID).Status)
			assert.Equal(t, want.Final(), !b.get(n.ID).CompletedAt.IsZero())
			if want != storage.StatusSending {
				assert.Equal(t, "why", b.get(n.ID).Reason)
			}
		})
	}
}

// A reason that is known says more than the word for the failure, and nothing of
// a word that is none.
func TestReceiptReasons(t *testing.T) {
	b := newBench(t)
	h := b.receipts(func(c *ReceiptsConfig) {
		c.ReasonMap = map[string]storage.Status{"absent": storage.StatusTemporaryFailure, "unknown": storage.StatusPermanentFailure}
	})
	for body, want := range map[string]storage.Status{
		`"status":"failed","reason":"absent"`:       storage.StatusTemporaryFailure,
		`"status":"undelivered","reason":"unknown"`: storage.StatusPermanentFailure,
		`"status":"failed","reason":"else"`:         storage.StatusPermanentFailure,
		`"status":"delivered","reason":"absent"`:    storage.StatusDelivered,
		`"status":"pending","reason":"absent"`:      storage.StatusPending,
	} {
		n := b.accepted(uuid.NewString())
		w := answer(h, receipt(fmt.Sprintf(`{"reference":%q,%s}`, n.UUID, body), "application/json"))
		require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		assert.Equal(t, want, b.get(n.ID).Status, body)
	}
}

func TestReceiptForms(t *testing.T) {
	b := newBench(t)
	h := b.receipts(func(c *ReceiptsConfig) {
		c.ReferenceField, c.StatusField, c.ReasonField = "message.id", "message.states.0", "MessageReason"
	})
	n := b.accepted("12345678901234567890")
	w := answer(h, receipt(`{"message":{"id":12345678901234567890,"states":["failed"]},"MessageReason":"call +447700900417"}`, "application/vnd.api+json"))
	assert.Equal(t, http.StatusNoContent, w.Code, w.Body)
	assert.Equal(t, storage.StatusPermanentFailure, b.get(n.ID).Status)
	assert.Equal(t, "call ***417", b.get(n.ID).Reason)

	own := b.accepted("") // the provider reports our reference
	form := url.Values{"message.id": {own.UUID.String()}, "message.states.0": {"delivered"}, "other": {"x", "y"}}
	w = answer(h, receipt(form.Encode(), "application/x-www-form-urlencoded"))
	assert.Equal(t, http.StatusNoContent, w.Code, w.Body)
	assert.Equal(t, storage.StatusDelivered, b.get(own.ID).Status)
}

func TestReceiptRefusals(t *testing.T) {
	const (
		js   = "application/json"
		form = "application/x-www-form-urlencoded"
		good = `{"reference":"theirs","status":"delivered"}`
	)
	for name, tc := range map[string]struct {
		request func() *http.Request
		status  int
		message string
	}{
		"GET": {func() *http.Request {
			r := receipt("", js)
			r.Method = http.MethodGet
			return r
		}, 405, "Receipts are posted"},
		"no content type": {func() *http.Request { return receipt(good, "") }, 415, "The body must be application/json"},
		"text":            {func() *http.Request { return receipt(good, "text/plain") }, 415, "The body must be application/json"},
		"multipart":       {func() *http.Request { return receipt(good, "multipart/form-data; boundary=x") }, 415, "The body must be application/json"},
		"compressed":      {func() *http.Request { r := receipt(good, js); r.Header.Set("Content-Encoding", "gzip"); return r }, 415, "compressed"},
		"too large":       {func() *http.Request { return receipt(good+strings.Repeat(" ", maxPosted), js) }, 413, "larger than 64 KiB"},
		"empty":           {func() *http.Request { return receipt("", js) }, 400, "not a JSON object"},
		"an array":        {func() *http.Request { return receipt("["+good+"]", js) }, 400, "(not_object)"},
		"trailing":        {func() *http.Request { return receipt(good+good, js) }, 400, "(syntax)"},
		"duplicate": {func() *http.Request {
			return receipt(`{"reference":"theirs","status":"sent","status":"delivered"}`, js)
		}, 400, "(duplicate)"},
		"twin": {func() *http.Request {
			return receipt(`{"reference":"theirs","status":"sent","Status":"delivered"}`, js)
		}, 400, "(case_twin)"},
		"bad UTF-8": {func() *http.Request { return receipt("{\"reference\":\"\xff\",\"status\":\"sent\"}", js) }, 400, "(utf8)"},
		"deep": {func() *http.Request {
			return receipt(`{"a":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`}`, js)
		}, 400, "(depth)"},
		"no reference":      {func() *http.Request { return receipt(`{"status":"delivered"}`, js) }, 400, `"reference" is missing`},
		"null reference":    {func() *http.Request { return receipt(`{"reference":null,"status":"delivered"}`, js) }, 400, `"reference" is missing`},
		"NUL reference":     {func() *http.Request { return receipt(`{"reference":"a\u0000","status":"delivered"}`, js) }, 400, `"reference" is missing`},
		"no status":         {func() *http.Request { return receipt(`{"reference":"theirs"}`, js) }, 400, `"status" is missing`},
		"status an object":  {func() *http.Request { return receipt(`{"reference":"theirs","status":{}}`, js) }, 400, `"status" is missing`},
		"unknown word":      {func() *http.Request { return receipt(`{"reference":"theirs","status":"created"}`, js) }, 422, "Unknown status, known are: accepted, delivered, expired"},
		"unknown reference": {func() *http.Request { return receipt(`{"reference":"mine","status":"delivered"}`, js) }, 404, "No notification has this reference"},
		"bad form":          {func() *http.Request { return receipt("reference=%zz", form) }, 400, "not a well-formed form"},
		"form twins":        {func() *http.Request { return receipt("reference=a&reference=b&status=sent", form) }, 400, `"reference" is there twice`},
		"form bad UTF-8":    {func() *http.Request { return receipt("reference=%ff&status=sent", form) }, 400, `"reference" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			n := b.accepted("theirs")
			w := answer(b.receipts(), tc.request())
			assert.Equal(t, tc.status, w.Code)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			var body map[string]string
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			assert.Equal(t, "error", body["result"])
			assert.Contains(t, body["message"], tc.message)
			assert.Equal(t, storage.StatusSending, b.get(n.ID).Status)
			if tc.status == http.StatusMethodNotAllowed {
				assert.Equal(t, "POST", w.Header().Get("Allow"))
			}
		})
	}
}

func TestReceiptSecret(t *testing.T) {
	b := newBench(t)
	h := b.receipts(func(c *ReceiptsConfig) { c.Secrets = []string{"next", receiptsSecret} })
	basic := func(password string) string {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.SetBasicAuth("anyone", password)
		return r.Header.Get("Authorization")
	}
	for _, tc := range []struct {
		lines []string
		ok    bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"Bearer"}, false},
		{[]string{"Bearer "}, false},
		{[]string{"Bearer " + receiptsSecret}, true},
		{[]string{"bearer next"}, true},
		{[]string{basic(receiptsSecret)}, true},
		{[]string{basic("")}, false},
		{[]string{basic("wrong")}, false},
		{[]string{"Bearer " + receiptsSecret + "x"}, false},
		{[]string{"Digest " + receiptsSecret}, false},
		{[]string{receiptsSecret}, false},
		{[]string{"Bearer " + receiptsSecret, "Bearer " + receiptsSecret}, false},
	} {
		r := receipt(`{"reference":"unknown","status":"delivered"}`, "application/json")
		r.Header["Authorization"] = tc.lines
		w := answer(h, r)
		if tc.ok {
			assert.Equal(t, http.StatusNotFound, w.Code, tc.lines)
			continue
		}
		assert.Equal(t, http.StatusUnauthorized, w.Code, tc.lines)
		assert.Len(t, w.Header().Values("WWW-Authenticate"), 2)
	}
	assert.NotContains(t, b.logs.text(), receiptsSecret)
}

type failingReceipts struct{ err error }

func (f failingReceipts) Receipt(context.Context, storage.Receipt) (n storage.Notification, changed bool, err error) {
	return n, false, f.err
}

func TestReceiptStorageFaults(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
	}{
		{storage.Unavailable("test", errors.New("disk")), 503},
		{errors.New("a fault that names +447700900417 maybe"), 500},
	} {
		b := newBench(t)
		h := b.receipts(func(c *ReceiptsConfig) { c.Outbox = failingReceipts{tc.err} })
		w := answer(h, receipt(`{"reference":"theirs","status":"delivered"}`, "application/json"))
		assert.Equal(t, tc.status, w.Code)
		assert.NotContains(t, w.Body.String(), "disk")
		assert.NotContains(t, w.Body.String(), "417")
		if tc.status == 503 {
			assert.Equal(t, "5", w.Header().Get("Retry-After"))
		}
	}
}

func TestReceiptsConfig(t *testing.T) {
	for want, change := range map[string]func(*ReceiptsConfig){
		"need an outbox":          func(c *ReceiptsConfig) { c.Outbox = nil },
		"the name of the":         func(c *ReceiptsConfig) { c.Sender = "" },
		"receipts need a secret":  func(c *ReceiptsConfig) { c.Secrets = nil },
		"without one anybody":     func(c *ReceiptsConfig) { c.Secrets = []string{""} },
		"names joined by dots":    func(c *ReceiptsConfig) { c.StatusField = "a..b" },
		`"x" is mapped to "fine"`: func(c *ReceiptsConfig) { c.StatusMap = map[string]storage.Status{"x": "fine"} },
		`"30003" is mapped to ""`: func(c *ReceiptsConfig) { c.ReasonMap = map[string]storage.Status{"30003": ""} },
		`is mapped to "created"`:  func(c *ReceiptsConfig) { c.StatusMap = map[string]storage.Status{"x": storage.StatusCreated} },
	} {
		cfg := ReceiptsConfig{Outbox: failingReceipts{}, Sender: "fake", Secrets: []string{"x"}}
		change(&cfg)
		_, err := NewReceipts(cfg)
		require.ErrorContains(t, err, want)
	}
}

// Drill F14: receipts come twice, late and out of order. The first final word
// stands, and no state ever moves back.
func TestReceiptsInAnyOrder(t *testing.T) {
	words := []string{"queued", "sent", "pending", "delivered", "expired", "failed", "nonsense"}
	statuses := DefaultStatusMap()
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t)
		h := b.receipts()
		n := b.accepted("theirs")
		want := storage.StatusSending
		for _, word := range rapid.SliceOfN(rapid.SampledFrom(words), 1, 12).Draw(t, "words") {
			reference := rapid.SampledFrom([]string{"theirs", n.UUID.String(), strings.ToUpper(n.UUID.String()), uuid.NewString()}).Draw(t, "reference")
			ours := reference == "theirs" || strings.EqualFold(reference, n.UUID.String())
			w := answer(h, receipt(fmt.Sprintf(`{"reference":%q,"status":%q}`, reference, word), "application/json"))
			status, known := statuses[word]
			code := http.StatusNoContent
			switch {
			case !known:
				code = http.StatusUnprocessableEntity
			case !ours:
				code = http.StatusNotFound
			case status.Rank() > want.Rank():
				want = status
			}
			if w.Code != code {
				t.Fatalf("%s for %s: %d, want %d", word, reference, w.Code, code)
			}
			if got := b.get(n.ID).Status; got != want {
				t.Fatalf("after %s: %s, want %s", word, got, want)
			}
		}
	})
}

func FuzzReceiptBody(f *testing.F) {
	for _, s := range []string{
		`{"reference":"a","status":"delivered","reason":"r"}`, `{"reference":1e400,"status":{}}`, `{"a":"\ud800"}`,
		"reference=a&status=sent", "reference=%00&status=%ff", "", "[", `{"reference":"a","Reference":"b"}`,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	h, err := NewReceipts(ReceiptsConfig{Outbox: failingReceipts{storage.ErrNotFound}, Sender: "fake", Secrets: []string{receiptsSecret}})
	require.NoError(f, err)
	h.patience = 0
	f.Fuzz(func(t *testing.T, body string, form bool) {
		contentType := "application/json"
		if form {
			contentType = "application/x-www-form-urlencoded"
		}
		w := answer(h, receipt(body, contentType))
		assert.Contains(t, []int{400, 404, 422}, w.Code)
		assert.True(t, json.Valid(w.Body.Bytes()))
	})
}
