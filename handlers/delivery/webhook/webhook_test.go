package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var message = delivery.Message{
	Reference: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", ServiceID: "26785a09", ServiceName: "Booking",
	Channel: storage.SMS, To: "+447700900417", Body: `He said "{to}" & <left>` + "\nü", Sender: "webhook",
}

// seen is a request as the server read it.
type seen struct {
	method, path, body string
	header             http.Header
	host               string
}

// stub is a provider's server that records and answers by a script.
type stub struct {
	*httptest.Server
	mu     sync.Mutex
	seen   []seen
	script []http.HandlerFunc // the last for ever
}

func newStub(t *testing.T, script ...http.HandlerFunc) *stub {
	t.Helper()
	s := &stub{script: script}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	step := s.script[min(len(s.seen), len(s.script)-1)]
	s.seen = append(s.seen, seen{r.Method, r.RequestURI, string(body), r.Header, r.Host})
	s.mu.Unlock()
	step(w, r)
}

func (s *stub) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen{}, s.seen...)
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func says(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// drop reads the request and breaks the connection.
func drop(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func newProvider(t *testing.T, cfg Config) *Provider {
	t.Helper()
	p, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestDefaultRequest(t *testing.T) {
	s := newStub(t, status(202))
	p := newProvider(t, Config{URL: s.URL + "/send?key=1", Headers: map[string]string{"authorization": "Bearer k", "Host": "sms.example.org"}})
	sent, err := p.Send(t.Context(), message)
	require.NoError(t, err)
	assert.Equal(t, delivery.Sent{}, sent)
	got := s.requests()[0]
	assert.Equal(t, http.MethodPost, got.method)
	assert.Equal(t, "/send?key=1", got.path)
	assert.Equal(t, "sms.example.org", got.host)
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	assert.Equal(t, "Bearer k", got.header.Get("Authorization"))
	assert.Equal(t, message.Reference, got.header.Get("Idempotency-Key"))
	assert.JSONEq(t, `{"to":"+447700900417","message":"He said \"{to}\" & <left>\nü","reference":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","channel":"sms"}`, got.body)

	mail := message
	mail.Channel, mail.To, mail.Subject = storage.Email, "jane@example.org", "Hi"
	_, err = p.Send(t.Context(), mail)
	require.NoError(t, err)
	assert.Contains(t, s.requests()[1].body, `"subject":"Hi"`)
}

// Senders and answers' addresses go along where the message has them, and a
// configured sender stands in for one.
func TestSenders(t *testing.T) {
	s := newStub(t, status(202))
	own := message
	own.Channel, own.To, own.Subject = storage.Email, "jane@example.org", "Hi"
	own.From, own.ReplyTo, own.UnsubscribeURL = "booking@example.org", "help@example.org", "https://example.org/u"
	const fields = `{"to":"jane@example.org","message":"He said \"{to}\" & <left>\nü","reference":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","channel":"email",` +
		`"subject":"Hi","from":"booking@example.org","reply_to":"help@example.org","unsubscribe_url":"https://example.org/u"}`
	for i, tc := range []struct {
		cfg  Config
		m    delivery.Message
		want string
	}{
		{Config{}, own, fields},
		{Config{From: "other@example.org"}, own, fields},
		{
			Config{From: "ACME"}, message,
			`{"to":"+447700900417","message":"He said \"{to}\" & <left>\nü","reference":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","channel":"sms","from":"ACME"}`,
		},
		{Config{From: "ACME", Fields: map[string]string{"f": "<{from}>", "r": "{reply_to}"}}, message, `{"f":"<ACME>","r":""}`},
		{Config{Body: `{"f":["{from}","{reply_to}","{unsubscribe_url}"]}`}, own, `{"f":["booking@example.org","help@example.org","https://example.org/u"]}`},
	} {
		tc.cfg.URL = s.URL
		_, err := newProvider(t, tc.cfg).Send(t.Context(), tc.m)
		require.NoError(t, err)
		assert.JSONEq(t, tc.want, s.requests()[i].body)
	}
}

func TestBodies(t *testing.T) {
	s := newStub(t, status(200))
	for name, tc := range map[string]struct {
		cfg         Config
		contentType string
		body        string
	}{
		"json fields": {
			Config{Fields: map[string]string{"text": "{message}", "from": "{sender}/{service}/{channel}", "raw": "{{x}}"}},
			"application/json", `{"from":"webhook/Booking/sms","raw":"{x}","text":"He said \"{to}\" & <left>\nü"}`,
		},
		"form": {
			Config{Format: Form, Fields: map[string]string{"To": "{to}", "Body": "{message}"}, Method: "PUT"},
			"application/x-www-form-urlencoded", "Body=He+said+%22%7Bto%7D%22+%26+%3Cleft%3E%0A%C3%BC&To=%2B447700900417",
		},
		"default form": {
			Config{Format: Form},
			"application/x-www-form-urlencoded",
			"channel=sms&message=" + url.QueryEscape(message.Body) + "&reference=" + message.Reference + "&to=%2B447700900417",
		},
		"document": {
			Config{Body: `{"messages":[{"to":["{to}"],"text":"{message}"}],"dry":false,"n":12345678901234567890,"x":null}`},
			"application/json",
			`{"dry":false,"messages":[{"text":"He said \"{to}\" & <left>\nü","to":["+447700900417"]}],"n":12345678901234567890,"x":null}`,
		},
		"own content type": {
			Config{Fields: map[string]string{"a": ""}, Headers: map[string]string{"Content-Type": "application/vnd.api+json"}},
			"application/vnd.api+json", `{"a":""}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.URL = s.URL
			p := newProvider(t, tc.cfg)
			for range 2 { // the template stays as it was
				_, err := p.Send(t.Context(), message)
				require.NoError(t, err)
			}
			all := s.requests()
			for _, got := range all[len(all)-2:] {
				assert.Equal(t, tc.contentType, got.header.Get("Content-Type"))
				assert.Equal(t, tc.body, got.body)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	hour := time.Now().UTC().Add(time.Hour).Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		cfg       Config
		answer    http.HandlerFunc
		sent      delivery.Sent
		reason    string // "" means taken
		permanent bool
		after     time.Duration
	}{
		"200 with junk":          {answer: says(200, "<html>\xff")},
		"204":                    {answer: status(204)},
		"delivered on accept":    {cfg: Config{DeliveredOnAccept: true}, answer: status(200), sent: delivery.Sent{Delivered: true}},
		"reference":              {cfg: Config{ReferencePath: "messages.0.id"}, answer: says(202, `{"messages":[{"id":"abc"}]}`), sent: delivery.Sent{Reference: "abc"}},
		"number as reference":    {cfg: Config{ReferencePath: "id"}, answer: says(202, `{"id":12345678901234567890}`), sent: delivery.Sent{Reference: "12345678901234567890"}},
		"junk for reference":     {cfg: Config{ReferencePath: "id"}, answer: says(200, "<html>")},
		"no such path":           {cfg: Config{ReferencePath: "a.b.9"}, answer: says(200, `{"a":{"b":[1]}}`)},
		"object as reference":    {cfg: Config{ReferencePath: "a"}, answer: says(200, `{"a":{}}`)},
		"path through a text":    {cfg: Config{ReferencePath: "a.b"}, answer: says(200, `{"a":"b"}`)},
		"reference too long":     {cfg: Config{ReferencePath: "a"}, answer: says(200, `{"a":"`+strings.Repeat("x", 256)+`"}`)},
		"reference with a break": {cfg: Config{ReferencePath: "a"}, answer: says(200, `{"a":"x\ny"}`)},
		"endless answer":         {cfg: Config{ReferencePath: "a"}, answer: says(200, strings.Repeat(" ", 1<<20)+`{"a":"x"}`)},
		"broken off answer": {cfg: Config{ReferencePath: "a"}, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"a":`)
		}},
		"own expectation":     {cfg: Config{Expect: []int{418}}, answer: status(418)},
		"200 not expected":    {cfg: Config{Expect: []int{201}}, answer: status(200), reason: "the provider answered 200, which is not an expected status"},
		"302":                 {answer: status(302, "Location", "http://192.0.2.1/"), reason: "the provider answered 302; redirects are not followed"},
		"400":                 {answer: status(400), reason: "the provider answered 400", permanent: true},
		"422, Retry-After":    {answer: status(422, "Retry-After", "9"), reason: "the provider answered 422", permanent: true},
		"401":                 {answer: status(401), reason: "the provider answered 401"},
		"403":                 {answer: status(403), reason: "the provider answered 403"},
		"404":                 {answer: status(404), reason: "the provider answered 404"},
		"408":                 {answer: status(408), reason: "the provider answered 408"},
		"425":                 {answer: status(425), reason: "the provider answered 425"},
		"429":                 {answer: status(429, "Retry-After", "7"), reason: "the provider answered 429", after: 7 * time.Second},
		"429 without":         {answer: status(429), reason: "the provider answered 429"},
		"500":                 {answer: status(500), reason: "the provider answered 500"},
		"503 with a date":     {answer: status(503, "Retry-After", hour), reason: "the provider answered 503", after: time.Hour},
		"503 with nonsense":   {answer: status(503, "Retry-After", "soon"), reason: "the provider answered 503"},
		"dropped":             {answer: drop, reason: "the connection broke before an answer came"},
		"hangs":               {cfg: Config{Timeout: 30 * time.Millisecond}, answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, reason: "no answer from the provider within 30ms"},
		"endless header":      {answer: status(200, "X-Junk", strings.Repeat("x", 1<<18)), reason: "the call to the provider failed"},
		"status out of range": {answer: status(999), reason: "the provider answered 999"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t, tc.answer)
			tc.cfg.URL = s.URL
			sent, err := newProvider(t, tc.cfg).Send(t.Context(), message)
			assert.Equal(t, tc.sent, sent)
			if tc.reason == "" {
				require.NoError(t, err)
				return
			}
			var failure *delivery.SendError
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, tc.reason, failure.Reason)
			assert.Equal(t, tc.permanent, failure.Permanent)
			assert.InDelta(t, tc.after, failure.RetryAfter, float64(2*time.Second))
		})
	}
}

func TestCallFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	plain := newStub(t, status(200))
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	defer secure.Close()
	nowhere := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network")
	}}
	for url, want := range map[string]string{
		"http://" + closed + "/?key=s3cret":              "the provider refused the connection",
		strings.Replace(plain.URL, "http:", "https:", 1): "the TLS handshake with the provider failed",
		secure.URL:                       "the provider's TLS certificate is not trusted",
		"https://sms.example.org/s3cret": "the provider's host name does not resolve",
	} {
		_, err := newProvider(t, Config{URL: url, Outgoing: outgoing.Policy{Resolver: nowhere}}).Send(t.Context(), message)
		require.EqualError(t, err, want)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newProvider(t, Config{URL: plain.URL}).Send(ended, message)
	require.EqualError(t, err, "the call was ended before an answer came")
	require.ErrorIs(t, err, context.Canceled)
}

func TestTLS(t *testing.T) {
	s := &stub{script: []http.HandlerFunc{status(200)}}
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	p := newProvider(t, Config{URL: srv.URL, Outgoing: outgoing.Policy{TLS: &tls.Config{RootCAs: roots}}})
	_, err := p.Send(t.Context(), message)
	require.NoError(t, err)
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"the URL can't be parsed":                      func(c *Config) { c.URL = "https://s3cret\x7f@x/" },
		"must begin with https://":                     func(c *Config) { c.URL = "" },
		"plain http":                                   func(c *Config) { c.URL = "http://sms.example.org/" },
		"it must be POST, PUT or PATCH":                func(c *Config) { c.Method = "GET" },
		"time-out must not be negative":                func(c *Config) { c.Timeout = -1 },
		"expected status 99":                           func(c *Config) { c.Expect = []int{99} },
		"expected status 500":                          func(c *Config) { c.Expect = []int{500} },
		`unknown format "xml"`:                         func(c *Config) { c.Format = "xml" },
		"unknown placeholder {text}":                   func(c *Config) { c.Fields = map[string]string{"a": "{text}"} },
		"known are {channel}, {from}, {message}, {ref": func(c *Config) { c.Fields = map[string]string{"a": "{}"} },
		"a lone brace":                                 func(c *Config) { c.Fields = map[string]string{"a": "x}"} },
		"lone brace; write {{":                         func(c *Config) { c.Fields = map[string]string{"a": "{to"} },
		"a field has no name":                          func(c *Config) { c.Fields = map[string]string{"": "x"} },
		"excludes fields":                              func(c *Config) { c.Body, c.Format = "{}", Form },
		"a body document is JSON and excludes":         func(c *Config) { c.Body, c.Fields = "{}", map[string]string{"a": "b"} },
		"the body is not JSON":                         func(c *Config) { c.Body = `{"a":{to}}` },
		"something after its JSON value":               func(c *Config) { c.Body = `{} {}` },
		`body: "a": "b": unknown placeholder`:          func(c *Config) { c.Body = `{"a":{"b":["{x}"]}}` },
		`"a b" is not a header name`:                   func(c *Config) { c.Headers = map[string]string{"a b": "x"} },
		`header "X-Key" holds a control`:               func(c *Config) { c.Headers = map[string]string{"X-Key": "s3cret\r\nX: y"} },
		"set by the connection itself":                 func(c *Config) { c.Headers = map[string]string{"content-length": "1"} },
		`"x y" is not a header name`:                   func(c *Config) { c.IdempotencyHeader = "x y" },
		"names joined by dots":                         func(c *Config) { c.ReferencePath = "a..b" },
		"is not a host name":                           func(c *Config) { c.Outgoing.AllowPrivate = []string{""} },
	} {
		cfg := Config{URL: "https://sms.example.org/"}
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "s3cret")
	}
	p, err := New(Config{URL: "https://sms.example.org/", IdempotencyHeader: "off"})
	require.NoError(t, err)
	assert.Empty(t, p.idempotency)
	assert.Equal(t, DefaultTimeout, p.Timeout())
}

func TestNothingPrivateIsLogged(t *testing.T) {
	var logs bytes.Buffer
	s := newStub(t, says(200, `{"secret":"s3cret +447700900417"}`))
	p := newProvider(t, Config{
		URL: s.URL + "/s3cret", Headers: map[string]string{"X-Key": "s3cret"}, ReferencePath: "id",
		Logger: slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := p.Send(t.Context(), message)
	require.NoError(t, err)
	assert.Contains(t, logs.String(), "no reference")
	for _, private := range []string{"s3cret", "900417", "He said"} {
		assert.NotContains(t, logs.String(), private)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"", "{to}", "{{to}}", "a{message}b{{", "}", "{", "{nope}", "{{{to}}}"} {
		f.Add(s, "value {to} }} {{")
	}
	f.Fuzz(func(t *testing.T, template, value string) {
		parsed, err := parseText(template)
		if err != nil {
			return
		}
		m := message
		m.To, m.Body = value, value
		out := parsed.fill(m)
		if !strings.ContainsAny(template, "{}") {
			assert.Equal(t, template, out)
		}
		// Whatever is filled in, it is one JSON text that says just that.
		body, err := marshal(map[string]string{"x": out})
		require.NoError(t, err)
		var back map[string]string
		require.NoError(t, json.Unmarshal(body, &back))
		if utf8.ValidString(out) {
			assert.Equal(t, map[string]string{"x": out}, back)
		}
	})
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{`{"a":{"b":["x"]}}`, `{"a":1e400}`, `[[[[`, `"x"`, "", `{"a":"\ud800"}`} {
		f.Add([]byte(s), "a.b.0")
	}
	f.Fuzz(func(t *testing.T, answer []byte, path string) {
		got := find(answer, strings.Split(path, "."))
		assert.LessOrEqual(t, len(got), maxReference)
		assert.NotContains(t, got, "\n")
	})
}
