package page

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nhsHub is the port service and the signing hub of Credential Management in
// one: the protocol of the wire reference, with long polling only.
type nhsHub struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	steps    []string
	argument string
	forbid   bool           // the origin
	fault    map[string]any // of the port service
	byPoll   bool           // the result comes by poll
	answer   map[string]any // {"R": …} or {"E": …}
	results  chan map[string]any
	closed   chan struct{}
}

func newNHSHub(t *testing.T) *nhsHub {
	t.Helper()
	h := &nhsHub{t: t, results: make(chan map[string]any, 1), closed: make(chan struct{})}
	h.Server = httptest.NewServer(h)
	t.Cleanup(func() {
		close(h.closed)
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

func (h *nhsHub) port() int {
	var port int
	_, err := fmt.Sscanf(h.URL, "http://127.0.0.1:%d", &port)
	assert.NoError(h.t, err)
	return port
}

func (h *nhsHub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *nhsHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	forbid := h.forbid
	h.mu.Unlock()
	if r.Header.Get("Origin") == shared.site.URL && !forbid {
		w.Header().Set("Access-Control-Allow-Origin", shared.site.URL)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
	if r.Method == http.MethodOptions {
		h.t.Error("the page asked for a preflight: the hub knows only simple requests")
	}
	if r.URL.Path == "/PRS/GetPortNumber" {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.fault != nil {
			writeJSON(w, http.StatusOK, h.fault)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"portData": map[string]any{"portNumber": h.port()}})
		return
	}
	step := strings.TrimPrefix(r.URL.Path, "/signalr/")
	query := r.URL.Query()
	assert.Equal(h.t, "2.1", query.Get("clientProtocol"), step)
	assert.JSONEq(h.t, `[{"name":"signinghub"}]`, query.Get("connectionData"), step)
	if step != "negotiate" {
		assert.Equal(h.t, "longPolling", query.Get("transport"), step)
		assert.Equal(h.t, "token+/=", query.Get("connectionToken"), step)
	}
	h.mu.Lock()
	h.steps = append(h.steps, step)
	h.mu.Unlock()
	switch step {
	case "negotiate":
		writeJSON(w, http.StatusOK, map[string]any{
			"Url": "/signalr", "ConnectionToken": "token+/=", "ConnectionId": "1", "KeepAliveTimeout": 20.0, "DisconnectTimeout": 30.0,
			"ConnectionTimeout": 110.0, "TryWebSockets": true, "ProtocolVersion": "2.1", "TransportConnectTimeout": 5.0, "LongPollDelay": 0.0,
		})
	case "connect":
		writeJSON(w, http.StatusOK, map[string]any{"C": "s-0,1", "S": 1, "M": []any{}})
	case "start":
		writeJSON(w, http.StatusOK, map[string]any{"Response": "started"})
	case "send":
		h.send(w, r)
	case "poll":
		assert.Equal(h.t, "s-0,1", r.FormValue("messageId"))
		select {
		case result := <-h.results:
			result["C"] = "s-0,2"
			writeJSON(w, http.StatusOK, result)
		case <-r.Context().Done():
		case <-h.closed:
		}
	case "abort":
		w.WriteHeader(http.StatusOK)
	default:
		h.t.Errorf("unexpected step %q", step)
	}
}

func (h *nhsHub) send(w http.ResponseWriter, r *http.Request) {
	var message struct {
		H, M string
		A    []string
		I    int
	}
	assert.NoError(h.t, json.Unmarshal([]byte(r.FormValue("data")), &message))
	assert.Equal(h.t, "signinghub", message.H)
	assert.Equal(h.t, "requestToSign", message.M)
	h.mu.Lock()
	defer h.mu.Unlock()
	if assert.Len(h.t, message.A, 1) {
		h.argument = message.A[0]
	}
	result := map[string]any{"I": fmt.Sprint(message.I)}
	for name, value := range h.answer {
		result[name] = value
	}
	if h.byPoll {
		h.results <- result
		writeJSON(w, http.StatusOK, map[string]any{})
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func nhsResult(ids []string) map[string]any {
	return map[string]any{"R": map[string]any{
		"certificate": "Q0VSVA==", "signatures": hubAnswer(ids)["signatures"], "failed_signatures": nil,
		"status_code": 0, "status_string": "OK", "message": "", "timestamp": "2026-03-02T12:00:00Z",
	}}
}

func TestNHSHub(t *testing.T) {
	b := openTab(t)
	hub := newNHSHub(t)
	s := newSite(t, Config{Hub: Hub{Kind: HubNHS}}, twoDocuments()...)
	free := httptest.NewServer(nil)
	var unused int
	_, err := fmt.Sscanf(free.URL, "http://127.0.0.1:%d", &unused)
	require.NoError(t, err)
	free.Close()
	s.page.ports = []int{unused, hub.port()}

	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")

	failed := nhsResult(s.ids)
	failed["R"].(map[string]any)["failed_signatures"] = []any{map[string]any{"id": "b"}}
	label := "Sign with your smartcard"
	for _, c := range []struct {
		name        string
		change      func()
		code, title string
		in          string
	}{
		{"no hub for this user", func() {
			h := map[string]any{"code": "PR30007", "message": "Unable to find CM process for user"}
			hub.fault = map[string]any{"faultException": h}
		}, "hub_not_running", "The signing program isn’t running", "PR30007: Unable to find CM process for user"},
		{"older casing", func() {
			h := map[string]any{"Code": "PR30007", "Message": "Unable to find CM process for user"}
			hub.fault = map[string]any{"FaultException": h}
		}, "hub_not_running", "The signing program isn’t running", "PR30007"},
		{"origin", func() { hub.fault, hub.forbid = nil, true }, "origin_not_allowed", "The signing program doesn’t accept this site", shared.site.URL},
		{"no card", func() {
			hub.forbid = false
			hub.answer = map[string]any{"R": map[string]any{"status_code": 0x53494705, "status_string": "No signing certificate", "signatures": nil}}
		}, "no_card", "No smartcard found", "No signing certificate"},
		{"not processed", func() {
			hub.answer = map[string]any{"R": map[string]any{"status_code": 0x53494703, "message": "bad"}}
		}, "request_invalid", "The signing program refused the request", "bad"},
		{"another code", func() {
			hub.answer = map[string]any{"R": map[string]any{"status_code": 7}}
		}, "hub_error", "The signing program reported a problem", "Credential Management’s code is 7."},
		{"an error of SignalR", func() { hub.answer = map[string]any{"E": "There was an error"} }, "hub_error", "The signing program reported a problem", "There was an error"},
		{"no certificate", func() {
			hub.answer = map[string]any{"R": map[string]any{"status_code": 0, "signatures": hubAnswer(s.ids)["signatures"]}}
		}, "no_certificate", "No signing certificate on the card", ""},
		{"partial", func() { hub.answer = failed }, "partial", "Not all documents could be signed", "b: failed"},
	} {
		hub.set(c.change)
		b.press(label)
		b.await("failed")
		assert.Equal(t, c.code, b.attribute("#main", "data-failure"), c.name)
		b.fails(c.code, c.title)
		assert.Contains(t, b.text("#failure"), c.in, c.name)
		label = "Try again"
	}
	assert.Empty(t, s.uploads)

	hub.set(func() { hub.answer, hub.byPoll, hub.steps = nhsResult(s.ids), true, nil })
	b.press(label)
	b.do(chromedp.WaitReady(chromedp.CSS("#callback")))
	require.Len(t, s.uploads, 1)
	assert.JSONEq(t, uploaded(t, s.ids), s.uploads[0])

	hub.mu.Lock()
	defer hub.mu.Unlock()
	assert.Equal(t, []string{"negotiate", "connect", "start"}, hub.steps[:3])
	assert.Contains(t, hub.steps, "abort")
	argument, err := base64.StdEncoding.DecodeString(hub.argument)
	require.NoError(t, err)
	payloads, err := json.Marshal([]any{
		map[string]any{"id": s.ids[0], "payload": twoDocuments()[0].Payload},
		map[string]any{"id": s.ids[1], "payload": twoDocuments()[1].Payload},
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"algorithm":"RS256","requestType":1,"version":1,"flags":0,"payloads":`+string(payloads)+`}`, string(argument))
}

// TestNHSHubMissing: none of the ports answers.
func TestNHSHubMissing(t *testing.T) {
	b := openTab(t)
	s := newSite(t, Config{Hub: Hub{Kind: HubNHS}}, twoDocuments()...)
	free := httptest.NewServer(nil)
	_, err := fmt.Sscanf(free.URL, "http://127.0.0.1:%d", &s.page.ports[0])
	require.NoError(t, err)
	free.Close()
	s.page.ports = s.page.ports[:1]
	b.open(s.client())
	b.press("Show the documents")
	b.await("documents")
	b.press("Sign with your smartcard")
	b.fails("hub_not_running", "The signing program isn’t running")
}
