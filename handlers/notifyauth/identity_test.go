package notifyauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStripIdentity(t *testing.T) {
	h := http.Header{
		"X-Notify-Service": {"a"}, "x-notify-service": {"b"}, "X_Notify_Service": {"c"}, "X.notify.service": {"d"},
		"X-Notify-Services": {"keep"}, "X-Notify": {"keep"}, "Connection": {"keep-alive, x-notify-service", "X_NOTIFY_SERVICE", "Te"},
	}
	StripIdentity(h, "X-Notify-Service")
	assert.Equal(t, http.Header{"X-Notify-Services": {"keep"}, "X-Notify": {"keep"}, "Connection": {"keep-alive, Te"}}, h)
	h = http.Header{"Connection": {" X-Notify-Service ,"}}
	StripIdentity(h, "X-Notify-Service")
	assert.Empty(t, h)
}

func TestForgedHeadersAreRemovedFromEveryRequest(t *testing.T) {
	v := verifier(t, Config{})
	for _, token := range []bool{true, false} {
		r := get(t, "/p")
		if !token {
			r.Header.Del("Authorization")
		}
		for _, name := range []string{"X-Notify-Service", "X_notify_service", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_http_method_override"} {
			r.Header[name] = []string{"evil"}
		}
		r.Header.Set("Connection", "X-Notify-Service")
		r.Trailer = http.Header{"X-Notify-Service": nil}
		_, _, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
		assert.Equal(t, token, err == nil)
		assert.NotContains(t, fmt.Sprint(r.Header), "evil")
		assert.Empty(t, r.Header.Get("Connection"))
		assert.NotContains(t, r.Trailer, "X-Notify-Service")
	}
}

func TestIdentity(t *testing.T) {
	v := verifier(t, Config{BasePath: "/api", IdentityHeader: "x-tenant"})
	token := mint(t, MintRequest{Method: "GET", Path: "/n/1"})
	r := withToken("GET", "/api/n/1", token)
	id, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
	release()
	require.NoError(t, err)
	assert.NotZero(t, id.TokenMAC)
	id.TokenMAC = [32]byte{}
	assert.Equal(t, Identity{
		ServiceID: testService, ServiceName: "Bookings", KeyName: "live", KeyType: KeyNormal,
		IssuedAt: time.Unix(testNow, 0).UTC(), Path: "/n/1",
	}, id)
	assert.Equal(t, []string{testService}, r.Header["X-Tenant"])
	_, ok := FromContext(background())
	assert.False(t, ok)
}

func TestKeysNeverShowTheirSecret(t *testing.T) {
	k := key(t, "live", testSecret)
	service := Service{ID: "x", Keys: []*Key{k}}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k, "service", service) //nolint:sloglint // both forms
	encoded, err := json.Marshal(service)
	require.NoError(t, err)
	shown := fmt.Sprintf("%v %+v %#v %s %q %x", k, k, k, k, k, k) + out.String() + string(encoded)
	assert.NotContains(t, shown, testSecret)
	assert.NotContains(t, shown, fmt.Sprintf("%x", testSecret))
	assert.Contains(t, string(encoded), `"REDACTED"`)
	require.Error(t, json.Unmarshal([]byte(`"x"`), k))

	assert.True(t, k.SameSecret(key(t, "other", testSecret)))
	assert.False(t, k.SameSecret(key(t, "other", "x")))
	_, err = NewKey("k", "")
	require.Error(t, err)
	_, err = NewKey("k", "s", WithType("root"))
	require.Error(t, err)
}

// TestLogsHoldNothingSecret runs requests of every outcome and looks for what
// must not be logged.
func TestLogsHoldNothingSecret(t *testing.T) {
	var out bytes.Buffer
	v := verifier(t, Config{Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	const marker = "07700900123"
	requests := []*http.Request{post(t, "/p", marker), post(t, "/p", marker), get(t, "/p"), withToken("GET", "/p", "a.b.c")}
	requests[1].URL.Path, requests[1].RequestURI = "/q", "/q"
	var hidden []string
	for _, r := range requests {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		hidden = append(hidden, token)
		code(t, v, r)
	}
	hidden = append(hidden, testSecret, marker, macOf(t, marker), macOf(t, "GET /p"))
	for _, text := range hidden {
		assert.NotContains(t, out.String(), text)
	}
	var levels []string
	for line := range strings.Lines(out.String()) {
		var entry struct{ Level, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		levels = append(levels, entry.Level+" "+entry.Reason)
	}
	assert.Equal(t, []string{"DEBUG ", "INFO req", "DEBUG ", "INFO token_encoding"}, levels)
}

func TestParseKeyString(t *testing.T) {
	for text, want := range map[string][3]string{
		"my-key-" + testService + "-" + testSecret:    {"my-key", testService, testSecret},
		testService + "-" + testSecret:                {"", testService, testSecret},
		" k-" + testService + "-" + testSecret + "\n": {"k", testService, testSecret},
	} {
		name, service, secret, err := ParseKeyString(text)
		require.NoError(t, err)
		assert.Equal(t, want, [3]string{name, service, secret})
	}
	for _, text := range []string{"", testSecret, "k-" + testService + "_" + testSecret, "k-x" + testService[1:] + "-" + testSecret, "k-" + testService + "-x" + testSecret[1:]} {
		_, _, _, err := ParseKeyString(text)
		require.Error(t, err, text)
		assert.NotContains(t, err.Error(), testSecret[1:])
	}
}

func TestConfigFaults(t *testing.T) {
	services := StaticServices()
	for name, c := range map[string]Config{
		"no services":        {},
		"empty allow":        {Services: services, Allow: []string{""}},
		"leeway":             {Services: services, Leeway: 1500 * time.Millisecond},
		"negative leeway":    {Services: services, Leeway: -time.Second},
		"huge leeway":        {Services: services, Leeway: 25 * time.Hour},
		"negative body":      {Services: services, MaxBody: -1},
		"budget":             {Services: services, MaxBody: 10, Buffers: NewBudget(9)},
		"dialect":            {Services: services, Dialect: 9},
		"query":              {Services: services, Query: 9},
		"replay in v2":       {Services: services, Dialect: V2, Replay: &memoryGuard{}},
		"base path":          {Services: services, BasePath: "api"},
		"base path escapes":  {Services: services, BasePath: "/%61pi"},
		"base path dots":     {Services: services, BasePath: "/a/../b"},
		"base path query":    {Services: services, BasePath: "/a?b"},
		"base path slashes":  {Services: services, BasePath: "//"},
		"header":             {Services: services, IdentityHeader: "X Service"},
		"reserved header":    {Services: services, IdentityHeader: "authorization"},
		"header with a line": {Services: services, IdentityHeader: "X\nY"},
	} {
		_, err := New(c)
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "notifyauth: ", name)
	}
	for _, text := range []string{"signed", "v2"} {
		d, err := ParseDialect(text)
		require.NoError(t, err)
		assert.Equal(t, text, d.String())
	}
	for _, text := range []string{"refuse", "signed", "unsigned"} {
		q, err := ParseQueryPolicy(text)
		require.NoError(t, err)
		assert.Equal(t, text, q.String())
	}
	_, err := ParseDialect("v3")
	require.Error(t, err)
	_, err = ParseQueryPolicy("maybe")
	require.Error(t, err)
}

func TestMintFaults(t *testing.T) {
	good := MintRequest{Service: "x", Secret: "s", Method: "GET", Path: "/"}
	_, err := Mint(good)
	require.NoError(t, err)
	for name, change := range map[string]func(*MintRequest){
		"no service":      func(m *MintRequest) { m.Service = "" },
		"no secret":       func(m *MintRequest) { m.Secret = "" },
		"no method":       func(m *MintRequest) { m.Method = "" },
		"absolute URL":    func(m *MintRequest) { m.Path = "https://host/" },
		"no number":       func(m *MintRequest) { m.NumericService = true },
		"token as a body": func(m *MintRequest) { m.Body = []byte("e30.e30") },
	} {
		m := good
		change(&m)
		_, err := Mint(m)
		require.Error(t, err, name)
	}
}

func TestHeadIsAnsweredWithoutBody(t *testing.T) {
	w := httptest.NewRecorder()
	v := verifier(t, Config{})
	v.WriteError(w, httptest.NewRequest(http.MethodHead, "/", nil), assert.AnError)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Empty(t, w.Body.String())
}
