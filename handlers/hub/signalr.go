package hub

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Classic SignalR 2 with long polling, as far as its JavaScript client needs it
// (protocol 2.1; the wire reference, section 2.3).
const (
	typeForm = "application/x-www-form-urlencoded"
	// maxForm has room for the longest JWT, in base64 and in a form, in bytes.
	maxForm = 2 << 20
	// maxIgnored is how much of a body is read that has nothing of interest.
	maxIgnored = 64 << 10
	// hubName is the only hub, in the case in which clients send it.
	hubName    = "signinghub"
	methodName = "requestToSign"

	longPolling = "longPolling"

	// keepAlive, disconnect and connectTimeout are what the client is told of the
	// server's patience; pollTimeout is after what time a poll is answered that
	// has nothing to tell. A connection without a poll and without an invocation
	// for the time of disconnect is over.
	keepAlive      = 20 * time.Second
	disconnect     = 30 * time.Second
	connectTimeout = 5 * time.Second
	pollTimeout    = 110 * time.Second
)

// protocols are the versions of the client protocol that are answered as they
// were asked for; others get the last.
var protocols = []string{"1.2", "1.3", "1.4", "1.5", "2.0", "2.1"}

// serveSignalR answers the requests of a SignalR connection.
func (h *Hub) serveSignalR(w http.ResponseWriter, r *http.Request, origin, step string) {
	query := r.URL.Query()
	switch step {
	case "negotiate":
		if allowMethods(w, r, http.MethodGet, http.MethodPost) {
			h.negotiate(w, r, origin, query)
		}
		return
	case "ping":
		if allowMethods(w, r, http.MethodGet, http.MethodPost) {
			writeJSON(w, http.StatusOK, reply{"pong"})
		}
		return
	case "connect", "start", "poll", "reconnect", "send", "abort":
	default:
		h.notFound(w)
		return
	}
	methods := []string{http.MethodGet, http.MethodPost}
	if step == "send" || step == "abort" {
		methods = []string{http.MethodPost}
	}
	if !allowMethods(w, r, methods...) {
		return
	}
	if query.Get("transport") != longPolling {
		writeError(w, http.StatusBadRequest, invalid("The transport must be longPolling."))
		return
	}
	c := h.signalr.find(query.Get("connectionToken"), origin)
	if c == nil {
		// What SignalR says to a token that isn't its own, or no longer.
		writeError(w, http.StatusBadRequest, invalid("The ConnectionId is in the incorrect format."))
		return
	}
	// What is left of a body keeps the server from noticing that the browser has
	// gone.
	if step != "send" {
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxIgnored))
	}
	switch step {
	case "connect":
		c.touch()
		writeJSON(w, http.StatusOK, struct {
			Cursor      string `json:"C"`
			Initialized int    `json:"S"`
			Messages    []any  `json:"M"`
		}{c.cursor(), 1, []any{}})
	case "start":
		c.touch()
		writeJSON(w, http.StatusOK, reply{"started"})
	case "poll", "reconnect":
		h.poll(w, r, c)
	case "send":
		h.send(w, r, origin, c)
	case "abort":
		c.end()
		h.signalr.remove(c)
		writeJSON(w, http.StatusOK, struct{}{})
	}
}

type reply struct {
	Response string
}

// negotiate begins a connection. Its connectionData are the hubs whose calls of
// the client's own methods it wants to hear: clients that only call name none.
func (h *Hub) negotiate(w http.ResponseWriter, r *http.Request, origin string, query url.Values) {
	c := h.signalr.add(h.closing, origin)
	if c == nil {
		e := &Error{Code: CodeBusy, Message: "The hub has too many connections.", RetriesLeft: -1}
		h.logFault(r.Context(), "negotiate", origin, e)
		w.Header().Set("Retry-After", "30")
		writeError(w, http.StatusServiceUnavailable, e)
		return
	}
	version := query.Get("clientProtocol")
	if !slices.Contains(protocols, version) {
		version = protocols[len(protocols)-1]
	}
	writeJSON(w, http.StatusOK, struct {
		URL                     string `json:"Url"`
		ConnectionToken         string
		ConnectionID            string `json:"ConnectionId"`
		KeepAliveTimeout        float64
		DisconnectTimeout       float64
		ConnectionTimeout       float64
		TryWebSockets           bool
		ProtocolVersion         string
		TransportConnectTimeout float64
		LongPollDelay           float64
	}{
		strings.TrimSuffix(pathSignalR, "/"), c.token, c.id, keepAlive.Seconds(), disconnect.Seconds(), pollTimeout.Seconds(),
		false, version, connectTimeout.Seconds(), 0,
	})
}

// poll waits until there is something to tell: that the connection is over.
// Results come with the answer to send.
func (h *Hub) poll(w http.ResponseWriter, r *http.Request, c *connection) {
	ctx, cancel := context.WithTimeout(r.Context(), pollTimeout)
	defer cancel()
	over := c.wait(ctx)
	answer := struct {
		Cursor     string `json:"C"`
		Messages   []any  `json:"M"`
		Disconnect int    `json:"D,omitempty"`
	}{Cursor: c.cursor(), Messages: []any{}}
	if over {
		answer.Disconnect = 1
	}
	writeJSON(w, http.StatusOK, answer)
}

// invocation is the call of a hub's method.
type invocation struct {
	hub, method string
	arguments   []string
	id          string
}

// send runs an invocation and answers its result.
func (h *Hub) send(w http.ResponseWriter, r *http.Request, origin string, c *connection) {
	body, ok := h.readBody(w, r, typeForm, maxForm)
	if !ok {
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["data"]) != 1 {
		writeError(w, http.StatusBadRequest, invalid("The form must have one field data."))
		return
	}
	call, ok := readInvocation([]byte(form.Get("data")))
	if !ok {
		writeError(w, http.StatusBadRequest, invalid("The field data is no invocation of a hub's method."))
		return
	}
	type answer struct {
		ID     string  `json:"I"`
		Result *result `json:"R,omitempty"`
		Error  string  `json:"E,omitempty"`
	}
	switch {
	case !strings.EqualFold(call.hub, hubName):
		writeJSON(w, http.StatusOK, answer{ID: call.id, Error: "The hub could not be resolved: there is signingHub only."})
		return
	case !strings.EqualFold(call.method, methodName) || len(call.arguments) != 1:
		writeJSON(w, http.StatusOK, answer{ID: call.id, Error: "The method could not be resolved: there is requestToSign with one text only."})
		return
	}
	ctx, end := c.begin(r.Context())
	defer end()
	res := h.requestToSign(ctx, origin, call.arguments[0])
	writeJSON(w, http.StatusOK, answer{ID: call.id, Result: &res})
}

// readInvocation reads {"H", "M", "A", "I"}. Arguments other than texts aren't
// for any method that there is.
func readInvocation(data []byte) (call invocation, ok bool) {
	m, err := readMembers(data, "H", "M", "A", "I")
	if err != nil || !m["A"].present() || m["A"].Kind != jws.KindArray {
		return call, false
	}
	switch id := m["I"]; {
	case id.present() && id.Kind == jws.KindNumber && len(id.Raw) <= maxName:
		call.id = string(id.Raw)
	case id.present() && id.Kind == jws.KindString:
		if call.id, ok = id.name(); !ok {
			return call, false
		}
	default:
		return call, false
	}
	call.hub, call.method = m["H"].text(), m["M"].text()
	err = jws.Array(m["A"].Raw, bodyLimits, func(_ int, element jws.Value) error {
		if element.Kind != jws.KindString {
			return errStop
		}
		call.arguments = append(call.arguments, element.Text().String())
		return nil
	})
	if err != nil {
		call.arguments = nil
	}
	return call, call.hub != "" && call.method != ""
}
