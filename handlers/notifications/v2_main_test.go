package notifications

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// withKey signs a request with another key than service A's live one.
func (s *server) withKey(service, secret string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+s.mintV2(service, secret))
	}
}

func withHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func (s *server) mintV2(service, secret string) string {
	s.t.Helper()
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: service, Secret: secret, IssuedAt: s.clock.now(), Dialect: notifyauth.V2,
	})
	require.NoError(s.t, err)
	return token
}

// v2 makes a request with a v2 token of service A's live key.
func (s *server) v2(method, target, body string, with ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	s.withKey(serviceA, secretA)(r)
	for _, f := range with {
		f(r)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	assert.Equal(s.t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(s.t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	if method != http.MethodHead && w.Header().Get("Content-Type") == "application/json" {
		assert.True(s.t, json.Valid(w.Body.Bytes()), "%s", w.Body)
	}
	return w
}

// assertV2Error expects an answer with one error.
func assertV2Error(t testing.TB, w *httptest.ResponseRecorder, status int, kind string, messages ...string) {
	t.Helper()
	assert.Equal(t, status, w.Code)
	want := v2Errors{StatusCode: status}
	for _, m := range messages {
		want.Errors = append(want.Errors, v2Error{kind, m})
	}
	var got v2Errors
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got), "%s", w.Body)
	assert.Equal(t, want, got)
}

// object decodes an answer that is a JSON object.
func object(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &o), "%s", w.Body)
	return o
}

// templateID is the UUID by which v2 knows a template of service A.
func templateID(id string) string { return storage.TemplateUUID(serviceA, id).String() }

// v2Body makes a body of members, the last ones winning.
func v2Body(members ...any) string {
	body := map[string]any{}
	for i := 0; i < len(members); i += 2 {
		body[members[i].(string)] = members[i+1] //nolint:forcetypeassert // names
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// v2SMS is a body for POST /v2/notifications/sms that is accepted, with members
// changed or added.
func v2SMS(members ...any) string {
	return v2Body(append([]any{"phone_number", "07700 900123", "template_id", templateID("1")}, members...)...)
}

// v2Email likewise for POST /v2/notifications/email.
func v2Email(members ...any) string {
	return v2Body(append([]any{
		"email_address", "amala@example.org", "template_id", templateID("3"),
		"personalisation", map[string]any{"name": "Amala", "things": []string{"passport", "photo"}},
	}, members...)...)
}

func (s *server) v2SMS(body string, with ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.v2("POST", "/v2/notifications/sms", body, with...)
}

func (s *server) v2Email(body string, with ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.v2("POST", "/v2/notifications/email", body, with...)
}

// stored returns the notification that an answer to a POST tells of.
func (s *server) stored(w *httptest.ResponseRecorder) storage.Notification {
	s.t.Helper()
	require.Equal(s.t, 201, w.Code, "%s", w.Body)
	id, err := uuid.Parse(object(s.t, w)["id"].(string))
	require.NoError(s.t, err)
	n, err := s.store.NotificationByUUID(s.t.Context(), serviceA, id)
	require.NoError(s.t, err)
	return n
}
