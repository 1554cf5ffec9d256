package hub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// serve calls the hub without a network.
func serve(tb testing.TB, h *Hub, method, target, mediaType, body string) *httptest.ResponseRecorder {
	tb.Helper()
	ctx := context.WithValue(tb.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: h.port}))
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:9", h.config.Address
	r.Header.Set("Origin", site)
	r.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// FuzzSign posts anything: the answer is a good one or a 400, and what is signed
// is what golang-jwt accepts.
func FuzzSign(f *testing.F) {
	h := newFixture(f, func(c *Config) { c.Logger = nil })
	f.Add(signBody(h.token(nil)))
	f.Add(signBody(h.token(map[string]any{"payloads": nil, "payload": "YQ=="})))
	f.Add(`{"request":"a.b.c","certificateId":"x"}`)
	f.Add(`{"request":"\u0061..","request":1}`)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS512"}), jwt.WithTimeFunc(h.clock.now), jwt.WithExpirationRequired())
	f.Fuzz(func(t *testing.T, body string) {
		h.replays.used, h.replays.kept = nil, 0
		w := serve(t, h.Hub, http.MethodPost, "/hub/v1/sign", typeJSON, body)
		var m map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
			var q struct {
				Request string `json:"request"`
			}
			if err := json.Unmarshal([]byte(body), &q); err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(q.Request, func(*jwt.Token) (any, error) { return &clientKey().PublicKey, nil }); err != nil {
				t.Fatalf("golang-jwt refuses it: %v", err)
			}
		case http.StatusConflict: // another certificate
		case http.StatusBadRequest:
			if m["error"] != string(CodeRequestInvalid) && m["error"] != string(CodeUnsupportedAlgorithm) {
				t.Fatal(w.Body)
			}
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

// FuzzClaims signs anything, so that what comes after the signature is reached
// too.
func FuzzClaims(f *testing.F) {
	h := newFixture(f, func(c *Config) { c.Logger = nil })
	good, err := json.Marshal(h.goodClaims(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(`{"iss":"a","sub":"b","aud":["` + base + `"],"exp":1800000001.5,"iat":0,"nbf":1,"algorithm":"RS1","payload":"YQ\u003d="}`)
	f.Add(`{"payloads":[{"id":"a","payload":"YQ=="},{"id":"a"}]}`)
	f.Fuzz(func(t *testing.T, claims string) {
		c, err := readClaims([]byte(claims))
		if err != nil {
			return
		}
		if c.issuer == "" || c.subject == "" || c.audience == "" || c.algorithm == "" || len(c.documents) == 0 || len(c.documents) > maxDocuments {
			t.Fatalf("%+v", c)
		}
		seen := make(map[string]bool)
		for _, d := range c.documents {
			if len(d.Content) == 0 || seen[d.ID] {
				t.Fatalf("%+v", c)
			}
			seen[d.ID] = true
		}
		if !json.Valid([]byte(claims)) {
			t.Fatal("encoding/json refuses it")
		}
	})
}

// FuzzSignalR sends anything as a form and as an argument.
func FuzzSignalR(f *testing.F) {
	h := newFixture(f, func(c *Config) { c.Logger, c.UnsignedRequests = nil, true })
	f.Add(invoke(h.token(nil)), connectionData)
	f.Add(invoke(unsigned(nil)), `[{"Name":"signingHub"}]`)
	f.Add(`data={"H":"signinghub","M":"requestToSign","A":["`+base64.StdEncoding.EncodeToString([]byte(`{"algorithm":"RS1","payload":"YQ=="}`))+`"],"I":1e3}`, `[]`)
	f.Add(`data=%7B%7D&data=`, `[{"name":1}]`)
	f.Fuzz(func(t *testing.T, form, data string) {
		h.replays.used, h.replays.kept, h.signalr.all = nil, 0, nil
		w := serve(t, h.Hub, http.MethodGet, "/signalr/negotiate?connectionData="+url.QueryEscape(data), typeForm, "")
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		c := h.signalr.add(h.closing, site)
		defer c.end()
		w = serve(t, h.Hub, http.MethodPost, "/signalr/send?transport=longPolling&connectionToken="+c.token, typeForm, form)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		var m struct {
			I, E string
			R    *result
		}
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		if w.Code == http.StatusOK && (m.I == "" || (m.E == "") == (m.R == nil)) {
			t.Fatal(w.Body)
		}
		if m.R != nil && (m.R.StatusCode == statusOK) != (len(m.R.Signatures) > 0) {
			t.Fatal(w.Body)
		}
	})
}
