//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// cardPIN is the PIN of the hub's card, and wrongPIN another.
const (
	cardPIN, wrongPIN = "739154", "739155"
	pinTries          = 3
)

// testHub is a hub/1 on the user's computer, with a card and a person who
// enters PINs in its window. It starts when its test lets it.
type testHub struct {
	t       testing.TB
	address string

	mu      sync.Mutex
	running *httptest.Server
	keys    *http.Client // with which it fetches the keys of clients
	origins []string
	card    *card // nil: none in the reader
	pin     string
	left    int // tries before the card is blocked
	cancels bool
	waits   chan struct{} // not nil: the person waits until it is closed
	calls   []string
}

func newTestHub(t testing.TB) *testHub {
	t.Helper()
	h := &testHub{t: t, address: plainURL(freePort(t)), pin: cardPIN, left: pinTries}
	t.Cleanup(h.stop)
	return h
}

func (h *testHub) start() {
	h.t.Helper()
	u, err := url.Parse(h.address)
	require.NoError(h.t, err)
	l, err := net.Listen("tcp", u.Host)
	require.NoError(h.t, err)
	s := httptest.NewUnstartedServer(h)
	require.NoError(h.t, s.Listener.Close())
	s.Listener = l
	s.Start()
	h.set(func() { h.running = s })
}

func (h *testHub) stop() {
	h.mu.Lock()
	s := h.running
	h.running = nil
	h.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

// set changes the hub's state.
func (h *testHub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *testHub) called() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// hubFault is an error of hub/1.
type hubFault struct {
	status      int
	Error       string `json:"error"`
	Message     string `json:"message"`
	RetriesLeft *int   `json:"retriesLeft,omitempty"`
}

func (h *testHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	allowed, waits := slices.Contains(h.origins, r.Header.Get("Origin")), h.waits
	h.calls = append(h.calls, r.Method+" "+r.URL.Path)
	h.mu.Unlock()
	if !allowed || r.Host != r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() {
		reply(w, http.StatusForbidden, hubFault{Error: "origin_not_allowed", Message: "not this site"})
		return
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	header.Set("Vary", "Origin")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET, POST")
		header.Set("Access-Control-Allow-Headers", "content-type")
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
			header.Set("Access-Control-Allow-Private-Network", "true")
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
		h.t.Errorf("the hub got a cookie or a referrer: %v", r.Header)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if waits != nil && r.URL.Path == "/hub/v1/sign" {
		select {
		case <-waits:
		case <-r.Context().Done():
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var out any
	var fault *hubFault
	switch r.Method + " " + r.URL.Path {
	case "GET /hub/v1/info":
		out = h.info()
	case "POST /hub/v1/certificates":
		out, fault = h.certificates()
	case "POST /hub/v1/sign":
		out, fault = h.sign(r.Header.Get("Origin"), body)
	default:
		http.NotFound(w, r)
		return
	}
	if fault != nil {
		reply(w, fault.status, fault)
		return
	}
	reply(w, http.StatusOK, out)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the other side may have gone
}

func (h *testHub) info() any {
	state := "present"
	if h.card == nil {
		state = "absent"
	}
	return map[string]any{"version": "1", "name": "test hub", "algorithms": []string{"RS256", "RS1"}, "card": state}
}

func (h *testHub) certificates() (any, *hubFault) {
	if h.card == nil {
		return nil, &hubFault{status: http.StatusBadRequest, Error: "no_card", Message: "no card"}
	}
	return map[string]any{"certificates": []any{map[string]any{
		"id": "c1", "certificate": h.card.der(), "chain": []string{}, "algorithms": []string{"RS256", "RS1"},
	}}}, nil
}

// sign verifies the request, has the person consent and enter the PIN, and
// signs.
func (h *testHub) sign(origin string, body []byte) (any, *hubFault) {
	var in struct{ Request string }
	claims, err := hubClaims{}, json.Unmarshal(body, &in)
	if err == nil {
		claims, err = h.verify(origin, in.Request)
	}
	if err != nil {
		return nil, &hubFault{status: http.StatusBadRequest, Error: "request_invalid", Message: err.Error()}
	}
	switch {
	case h.card == nil:
		return nil, &hubFault{status: http.StatusBadRequest, Error: "no_card", Message: "no card"}
	case h.cancels:
		return nil, &hubFault{status: http.StatusBadRequest, Error: "user_cancelled", Message: "cancelled"}
	case h.left == 0:
		return nil, &hubFault{status: http.StatusLocked, Error: "pin_blocked", Message: "blocked"}
	case h.pin != cardPIN:
		h.left--
		left := h.left
		return nil, &hubFault{status: http.StatusForbidden, Error: "pin_incorrect", Message: "wrong PIN", RetriesLeft: &left}
	}
	h.left = pinTries
	out := h.card.signAll(h.t, claims.Algorithm, claims.documents())
	return map[string]any{"signatures": out.Signatures, "failed": []any{}, "certificate": out.Certificate, "chain": []string{}}, nil
}

// hubClaims are what the hub reads of a request.
type hubClaims struct {
	jwt.RegisteredClaims

	Algorithm string `json:"algorithm"`
	Payload   []byte `json:"payload"`
	Payloads  []struct {
		ID      string `json:"id"`
		Payload []byte `json:"payload"`
	} `json:"payloads"`
}

func (c hubClaims) documents() []document {
	if c.Payload != nil {
		return []document{{id: "1", payload: c.Payload}}
	}
	out := make([]document, len(c.Payloads))
	for i, p := range c.Payloads {
		out[i] = document{id: p.ID, payload: p.Payload}
	}
	return out
}

// verify checks a request with the keys that the signing API publishes at the
// request's audience, which must be the site that asks.
func (h *testHub) verify(origin, token string) (claims hubClaims, err error) {
	_, err = jwt.ParseWithClaims(token, &claims, func(parsed *jwt.Token) (any, error) {
		if len(claims.Audience) != 1 || originOf(h.t, claims.Audience[0]) != origin {
			return nil, fmt.Errorf("the request is for %v, not for %s", claims.Audience, origin)
		}
		resp, err := h.keys.Get(claims.Audience[0] + "/.well-known/jwks.json")
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		document, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		keys, _, err := jwks.Parse(document, jwks.Limits{})
		for _, k := range keys {
			if k.Kid == parsed.Header["kid"] {
				return k.Public, nil
			}
		}
		return nil, fmt.Errorf("no key %v: %w", parsed.Header["kid"], err)
	}, jwt.WithValidMethods([]string{"RS512"}))
	return claims, err
}
