package hub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const connectionData = `[{"name":"signinghub"}]`

// page is what the published client does.
type page struct {
	*fixture
	token string
}

func (p *page) query(more map[string]string) string {
	q := url.Values{"transport": {longPolling}, "clientProtocol": {"2.1"}, "connectionToken": {p.token}, "connectionData": {connectionData}}
	for name, value := range more {
		q.Set(name, value)
	}
	return q.Encode()
}

func (f *fixture) connect() *page {
	f.tb.Helper()
	p := &page{fixture: f}
	a := f.do(call{path: "/signalr/negotiate?clientProtocol=2.1&connectionData=" + url.QueryEscape(connectionData) + "&_=1"})
	require.Equal(f.tb, http.StatusOK, a.StatusCode, a.body)
	p.token = a.json(f.tb)["ConnectionToken"].(string)
	a = p.post("connect", "")
	require.Equal(f.tb, http.StatusOK, a.StatusCode, a.body)
	require.JSONEq(f.tb, `{"C":"s-0,0","S":1,"M":[]}`, a.body)
	a = f.do(call{path: "/signalr/start?" + p.query(nil)})
	require.JSONEq(f.tb, `{"Response":"started"}`, a.body)
	return p
}

func (p *page) form(step, body string) call {
	return call{
		method: http.MethodPost, path: "/signalr/" + step + "?" + p.query(nil), body: body,
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
	}
}

func (p *page) post(step, body string) *answer {
	p.tb.Helper()
	a := p.do(p.form(step, body))
	assert.Equal(p.tb, "true", a.Header.Get("Access-Control-Allow-Credentials"))
	assert.Equal(p.tb, site, a.Header.Get("Access-Control-Allow-Origin"))
	return a
}

func invoke(argument string) string {
	data, _ := json.Marshal(map[string]any{"H": hubName, "M": methodName, "A": []string{argument}, "I": 0})
	return url.Values{"data": {string(data)}}.Encode()
}

func (p *page) requestToSign(argument string) map[string]any {
	p.tb.Helper()
	a := p.post("send", invoke(argument))
	require.Equal(p.tb, http.StatusOK, a.StatusCode, a.body)
	m := a.json(p.tb)
	require.Equal(p.tb, "0", m["I"])
	require.NotContains(p.tb, m, "E")
	return m["R"].(map[string]any)
}

// unsigned is what the library of December 2023 sends.
func unsigned(changes map[string]any) string {
	all := map[string]any{"algorithm": RS1, "requestType": 1, "version": 1, "flags": 0, "payloads": payloads()}
	for name, value := range changes {
		all[name] = value
	}
	data, _ := json.Marshal(all)
	return base64.StdEncoding.EncodeToString(data)
}

func TestPortService(t *testing.T) {
	f := newFixture(t, nil)
	a := f.do(call{path: "/PRS/GetPortNumber"})
	assert.JSONEq(t, fmt.Sprintf(`{"portData":{"portNumber":%d}}`, f.port), a.body)
	assert.Equal(t, "true", a.Header.Get("Access-Control-Allow-Credentials"))
	assert.JSONEq(t, `{"statusCode":200}`, f.do(call{path: "/PRS/ConnectPRService"}).body)

	// The same hub on another listener tells the hub's port, not that one's.
	other := httptest.NewServer(f.Hub)
	defer other.Close()
	first := f.server.URL
	f.server.URL = other.URL
	assert.JSONEq(t, fmt.Sprintf(`{"portData":{"portNumber":%d}}`, f.port), f.do(call{path: "/PRS/GetPortNumber"}).body)
	f.server.URL = first
}

func TestNegotiate(t *testing.T) {
	f := newFixture(t, nil)
	for asked, want := range map[string]string{"2.1": "2.1", "2.0": "2.0", "1.5": "1.5", "": "2.1", "9.9": "2.1"} {
		a := f.do(call{path: "/signalr/negotiate?clientProtocol=" + asked + "&connectionData=" + url.QueryEscape(connectionData)})
		require.Equal(t, http.StatusOK, a.StatusCode)
		m := a.json(t)
		assert.Equal(t, want, m["ProtocolVersion"])
		assert.Equal(t, "/signalr", m["Url"])
		assert.Equal(t, false, m["TryWebSockets"])
		assert.Len(t, m["ConnectionToken"], 52)
		for name, value := range map[string]float64{
			"KeepAliveTimeout": 20, "DisconnectTimeout": 30, "ConnectionTimeout": 110, "TransportConnectTimeout": 5, "LongPollDelay": 0,
		} {
			assert.InDelta(t, value, m[name], 0, name)
		}
	}
	// The published client has no methods of its own.
	a := f.do(call{path: "/signalr/negotiate?clientProtocol=2.1&connectionData=%5B%5D"})
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.JSONEq(t, `{"Response":"pong"}`, f.do(call{path: "/signalr/ping"}).body)
}

func TestRequestToSign(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.UnsignedRequests = true })
	p := f.connect()
	for name, argument := range map[string]string{"JWT": f.token(map[string]any{"algorithm": RS1}), "JSON": unsigned(nil)} {
		r := p.requestToSign(argument)
		assert.InDelta(t, 0, r["status_code"], 0, name)
		assert.Equal(t, "OK", r["status_string"])
		assert.Empty(t, r["message"])
		assert.Equal(t, []any{}, r["failed_signatures"])
		assert.Equal(t, "2027-01-15T08:00:00.0000000Z", r["timestamp"])
		requireSigned(t, r, RS1)
	}
	assert.Equal(t, http.StatusOK, p.post("abort", "").StatusCode)
	assert.Equal(t, http.StatusBadRequest, p.post("send", invoke("x")).StatusCode, "the connection is over")
}

func TestRequestToSignRefused(t *testing.T) {
	f := newFixture(t, nil)
	p := f.connect()
	requireStatus := func(r map[string]any, code statusCode, message string) {
		t.Helper()
		assert.InDelta(t, float64(code), r["status_code"], 0)
		assert.Equal(t, "ERROR", r["status_string"])
		assert.Contains(t, r["message"], message)
		assert.Contains(t, r["message"], fmt.Sprintf("Error Code: (0x%08X) ", uint32(code)))
		assert.Nil(t, r["signatures"])
		assert.Nil(t, r["failed_signatures"])
		assert.Empty(t, r["certificate"])
		assert.Len(t, r, 7)
	}
	requireStatus(p.requestToSign(unsigned(nil)), statusNotProcessed, "nobody has signed")
	requireStatus(p.requestToSign(""), statusNotProcessed, "")
	requireStatus(p.requestToSign("a.b.c"), statusNotProcessed, "")
	requireStatus(p.requestToSign(f.token(map[string]any{"aud": "https://other.example"})), statusNotProcessed, "aud")
	assert.Equal(t, statusCode(1397311235), statusNotProcessed)
	f.signer.set(func() { f.signer.absent = true })
	requireStatus(p.requestToSign(f.token(nil)), statusNoCertificate, "no smartcard")
	assert.Equal(t, statusCode(1397311237), statusNoCertificate)
	for code, want := range map[Code]statusCode{
		CodePINIncorrect: statusPINIncorrect, CodePINBlocked: statusPINBlocked, CodeUserCancelled: statusCancelled,
		CodeInternal: statusInternal, CodeUnsupportedAlgorithm: statusUnsupported, CodeBusy: statusBusy, CodeNoCertificate: statusNoCertificate,
	} {
		f.signer.set(func() { f.signer.absent, f.signer.err = false, &Error{Code: code, RetriesLeft: -1} })
		requireStatus(p.requestToSign(f.token(nil)), want, "")
	}
	calls, _ := f.signer.count()
	assert.Zero(t, calls)

	f.signer.set(func() { f.signer.err, f.signer.failAt = nil, 2 })
	r := p.requestToSign(f.token(nil))
	assert.InDelta(t, 0, r["status_code"], 0)
	first := r["signatures"]
	assert.Len(t, first, 1)
	assert.Equal(t, []any{map[string]any{"id": "b", "signature": ""}}, r["failed_signatures"])
	assert.Contains(t, r["message"], "1 of 2 documents were not signed")
	r = p.requestToSign(f.token(nil))
	requireSigned(t, r, RS256)
	assert.Equal(t, first, r["signatures"].([]any)[:1])
}

func TestUnsignedRequests(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.UnsignedRequests, c.Requests = true, nil })
	assert.Contains(t, f.log.String(), "no client has signed")
	p := f.connect()
	for name, argument := range map[string]string{
		"no base64":       "!!!!",
		"no padding":      strings.TrimRight(unsigned(nil), "=") + "A",
		"line end":        unsigned(nil) + "\n",
		"no JSON":         base64.StdEncoding.EncodeToString([]byte("x")),
		"no object":       base64.StdEncoding.EncodeToString([]byte("[]")),
		"duplicate":       base64.StdEncoding.EncodeToString([]byte(`{"algorithm":"RS1","algorithm":"RS1","payload":"YQ=="}`)),
		"another type":    unsigned(map[string]any{"requestType": 2}),
		"another version": unsigned(map[string]any{"version": "1"}),
		"flags":           unsigned(map[string]any{"flags": 1}),
		"no algorithm":    unsigned(map[string]any{"algorithm": nil}),
		"no documents":    unsigned(map[string]any{"payloads": []any{}}),
		"not decoded":     unsigned(map[string]any{"payloads": []any{map[string]any{"id": "1", "payload": "Some Payload"}}}),
		"a JWT":           f.token(nil), // by nobody whom the hub trusts
	} {
		r := p.requestToSign(argument)
		assert.InDelta(t, float64(statusNotProcessed), r["status_code"], 0, name)
	}
	r := p.requestToSign(unsigned(map[string]any{"algorithm": "RS512"}))
	assert.InDelta(t, float64(statusUnsupported), r["status_code"], 0)
	calls, _ := f.signer.count()
	assert.Zero(t, calls)
	assert.Equal(t, http.StatusBadRequest, f.postSign(unsigned(nil)).StatusCode, "hub/1 takes JWTs only")
}

func TestInvocations(t *testing.T) {
	f := newFixture(t, nil)
	p := f.connect()
	for data, want := range map[string]string{
		`{"H":"other","M":"requestToSign","A":["x"],"I":7}`:            `{"I":"7","E":"The hub could not be resolved: there is signingHub only."}`,
		`{"H":"signinghub","M":"other","A":["x"],"I":"8"}`:             `{"I":"8","E":"The method could not be resolved: there is requestToSign with one text only."}`,
		`{"H":"signinghub","M":"requestToSign","A":[],"I":1}`:          `{"I":"1","E":"The method could not be resolved: there is requestToSign with one text only."}`,
		`{"H":"signinghub","M":"requestToSign","A":["x","y"],"I":1}`:   `{"I":"1","E":"The method could not be resolved: there is requestToSign with one text only."}`,
		`{"H":"signinghub","M":"requestToSign","A":[{"a":"b"}],"I":1}`: `{"I":"1","E":"The method could not be resolved: there is requestToSign with one text only."}`,
		`{"H":"signinghub","M":"requestToSign","A":"x","I":1}`:         "",
		`{"H":"signinghub","M":"requestToSign","A":["x"]}`:             "",
		`{"H":"signinghub","M":"requestToSign","A":["x"],"I":[]}`:      "",
		`{"H":"signinghub","H":"x","M":"requestToSign","A":[],"I":1}`:  "",
		`{"M":"requestToSign","A":["x"],"I":1}`:                        "",
		`[]`:                                                           "",
		``:                                                             "",
	} {
		a := p.post("send", url.Values{"data": {data}}.Encode())
		if want == "" {
			assert.Equal(t, http.StatusBadRequest, a.StatusCode, data)
		} else {
			assert.JSONEq(t, want, a.body, data)
		}
	}
	assert.Equal(t, http.StatusBadRequest, p.post("send", "data=%7B%7D&data=%7B%7D").StatusCode)
	assert.Equal(t, http.StatusBadRequest, p.post("send", "data=%zz").StatusCode)
	c := p.form("send", invoke(f.token(nil)))
	c.header["Content-Type"] = typeJSON
	assert.Equal(t, http.StatusUnsupportedMediaType, p.do(c).StatusCode)
	assert.Equal(t, http.StatusRequestEntityTooLarge, serve(t, f.Hub, http.MethodPost, c.path, typeForm, "data="+strings.Repeat("a", maxForm)).Code)
	calls, _ := f.signer.count()
	assert.Zero(t, calls)
}

// TestConnectionsAreBound: a connection is its origin's own.
func TestConnectionsAreBound(t *testing.T) {
	f := newFixture(t, nil)
	p := f.connect()
	c := p.form("send", invoke(f.token(nil)))
	c.header["Origin"] = "http://localhost:8080"
	assert.Equal(t, http.StatusBadRequest, f.do(c).StatusCode)
	c.header["Origin"] = "https://evil.example"
	f.forbidden(f.do(c))
	p.token = "a" + p.token[1:] // tokens are in upper case
	assert.Equal(t, http.StatusBadRequest, p.post("send", invoke(f.token(nil))).StatusCode)
	a := f.do(call{method: http.MethodPost, path: "/signalr/connect?transport=serverSentEvents&connectionToken=" + p.token})
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
	calls, _ := f.signer.count()
	assert.Zero(t, calls)
}

// hang starts a request and returns what comes of it.
func (p *page) hang(ctx context.Context, c call) chan *answer {
	result := make(chan *answer, 1)
	r := p.request(ctx, c)
	go func() {
		defer close(result)
		response, err := p.client.Do(r)
		if err != nil {
			return
		}
		defer func() { _ = response.Body.Close() }()
		var m map[string]any
		assert.NoError(p.tb, json.NewDecoder(response.Body).Decode(&m))
		body, _ := json.Marshal(m)
		result <- &answer{response, string(body)}
	}()
	return result
}

func (p *page) connection() *connection {
	p.signalr.mu.Lock()
	defer p.signalr.mu.Unlock()
	return p.signalr.all[p.token]
}

func (p *page) awaitTurns(turns int) {
	p.tb.Helper()
	c := p.connection()
	require.Eventually(p.tb, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.turns == turns
	}, 10*time.Second, time.Millisecond)
}

func TestPolls(t *testing.T) {
	f := newFixture(t, nil)
	p := f.connect()
	first := p.hang(t.Context(), p.form("poll", "messageId=s-0%2C0"))
	p.awaitTurns(1)
	second := p.hang(t.Context(), p.form("reconnect", "messageId=s-0%2C0"))
	assert.JSONEq(t, `{"C":"s-0,2","M":[]}`, (<-first).body, "the next poll takes the place of the first")
	p.post("abort", "")
	assert.JSONEq(t, `{"C":"s-0,2","M":[],"D":1}`, (<-second).body)
	assert.Empty(t, f.signalr.all)

	// A browser that goes away leaves nothing.
	p = f.connect()
	ctx, cancel := context.WithCancel(t.Context())
	abandoned := p.hang(ctx, p.form("poll", "messageId=s-0%2C0"))
	p.awaitTurns(1)
	cancel()
	<-abandoned
	c := p.connection()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.busy == 0
	}, 10*time.Second, time.Millisecond)
	f.clock.add(disconnect)
	assert.Equal(t, http.StatusOK, p.post("connect", "").StatusCode)
	f.clock.add(disconnect + 1)
	assert.Equal(t, http.StatusBadRequest, p.post("connect", "").StatusCode)

	// The end of the hub is the end of all polls.
	p = f.connect()
	last := p.hang(t.Context(), p.form("poll", ""))
	p.awaitTurns(1)
	require.NoError(t, f.Hub.Close())
	assert.JSONEq(t, `{"C":"s-0,1","M":[],"D":1}`, (<-last).body)
	assert.Equal(t, http.StatusServiceUnavailable, f.do(call{path: "/signalr/negotiate?connectionData=" + url.QueryEscape(connectionData)}).StatusCode)
}

// TestAbortWhileSigning: a page that gives up ends what it asked for.
func TestAbortWhileSigning(t *testing.T) {
	f := newFixture(t, nil)
	f.signer.hold = make(chan struct{})
	p := f.connect()
	sent := p.hang(t.Context(), p.form("send", invoke(f.token(nil))))
	<-f.signer.holding
	f.clock.add(time.Hour)
	assert.NotNil(t, f.signalr.find(p.token, site), "a connection that waits for the user is not over")
	p.post("abort", "")
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte((<-sent).body), &m))
	assert.InDelta(t, float64(statusCancelled), m["R"].(map[string]any)["status_code"], 0)
	_, signed := f.signer.count()
	assert.Zero(t, signed)
}

func TestTooManyConnections(t *testing.T) {
	f := newFixture(t, nil)
	for range maxConnections {
		f.connect()
	}
	a := f.do(call{path: "/signalr/negotiate?connectionData=" + url.QueryEscape(connectionData)})
	assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	f.clock.add(disconnect + 1)
	f.connect()
	assert.Len(t, f.signalr.all, 1)
}

// TestHungPoll: a poll whose browser neither answers nor goes away ends by
// itself.
func TestHungPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New(Config{Origins: []string{site}, UnsignedRequests: true, Signer: &testSigner{}, Consent: ConsentNever()})
		require.NoError(t, err)
		w := serve(t, h, http.MethodGet, "/signalr/negotiate", "", "")
		var m map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &m))
		started := time.Now()
		w = serve(t, h, http.MethodPost, "/signalr/poll?transport=longPolling&connectionToken="+m["ConnectionToken"].(string), typeForm, "")
		assert.Equal(t, pollTimeout, time.Since(started))
		assert.JSONEq(t, `{"C":"s-0,1","M":[]}`, w.Body.String())
		require.NoError(t, h.Close())
	})
}
