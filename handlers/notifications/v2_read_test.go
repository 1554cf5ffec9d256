package notifications

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Ids that nothing has.
const (
	unknownID = "99999999-aaaa-4bbb-8ccc-dddddddddddd"
	nilID     = "00000000-0000-0000-0000-000000000000"
)

// notificationKeys is the list of section 2.2 of the wire reference.
var notificationKeys = []string{
	"id", "reference", "email_address", "phone_number", "line_1", "line_2", "line_3", "line_4", "line_5", "line_6",
	"postcode", "type", "status", "template", "body", "subject", "created_at", "created_by_name", "sent_at",
	"completed_at", "scheduled_for", "postage", "one_click_unsubscribe_url", "is_cost_data_ready", "cost_in_pounds",
	"cost_details",
}

// assertKeys expects an object to have exactly these members.
func assertKeys(t testing.TB, want []string, o map[string]any) {
	t.Helper()
	want = slices.Clone(want)
	sort.Strings(want)
	got := make([]string, 0, len(o))
	for k := range o {
		got = append(got, k)
	}
	sort.Strings(got)
	assert.Equal(t, want, got)
}

// v2Get reads what an answer to a POST has made.
func (s *server) v2Get(w *httptest.ResponseRecorder) map[string]any {
	s.t.Helper()
	require.Equal(s.t, 201, w.Code, "%s", w.Body)
	w = s.v2("GET", "/v2/notifications/"+object(s.t, w)["id"].(string), "") //nolint:forcetypeassert // described
	require.Equal(s.t, 200, w.Code, "%s", w.Body)
	o := object(s.t, w)
	assertKeys(s.t, notificationKeys, o)
	return o
}

func TestV2GetSMS(t *testing.T) {
	s := newServer(t)
	id := s.stored(s.v2SMS(v2SMS("reference", "r 1"))).UUID.String()
	template := templateID("1")
	w := s.v2("GET", "/v2/notifications/"+id, "null") // as old Python clients do
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, `{"id":"`+id+`","reference":"r 1","email_address":null,"phone_number":"07700 900123",`+
		`"line_1":null,"line_2":null,"line_3":null,"line_4":null,"line_5":null,"line_6":null,"postcode":null,`+
		`"type":"sms","status":"created","template":{"id":"`+template+`","version":1,"uri":"http://example.com/v2/template/`+template+`/version/1"},`+
		`"body":"Hello from the booking service","subject":null,"created_at":"2016-01-25T00:00:00.000000Z","created_by_name":null,`+
		`"sent_at":null,"completed_at":null,"scheduled_for":null,"postage":null,"one_click_unsubscribe_url":null,`+
		`"is_cost_data_ready":false,"cost_in_pounds":null,"cost_details":{}}`+"\n", w.Body.String())
	assert.Equal(t, w.Body.String(), s.v2("GET", "/v2/notifications/"+strings.ToUpper(id), "").Body.String())
	head := s.v2("HEAD", "/v2/notifications/"+id, "")
	assert.Equal(t, 200, head.Code)
	assert.Equal(t, w.Header().Get("Content-Length"), head.Header().Get("Content-Length"))
}

func TestV2GetEmail(t *testing.T) {
	s := newServer(t)
	o := s.v2Get(s.v2Email(v2Email("one_click_unsubscribe_url", "https://example.org/u?a=1&b=2", "email_address", "Amala@Example.org",
		"scheduled_for", "2016-01-25T12:00:00Z")))
	for k, want := range map[string]any{
		"type": "email", "email_address": "Amala@Example.org", "phone_number": nil, "subject": "For Amala",
		"body": "Dear Amala,\nbring:\n\n* passport\n* photo", "reference": nil, "one_click_unsubscribe_url": "https://example.org/u?a=1&b=2",
		"scheduled_for": "2016-01-25T12:00:00.000000Z",
	} {
		assert.Equal(t, want, o[k], k)
	}
}

// The recipient is what the client wrote, in whatever dialect.
func TestV2GetRecipient(t *testing.T) {
	s := newServer(t)
	assert.Equal(t, "+44 (0)7700 900123", s.v2Get(s.v2SMS(v2SMS("phone_number", "+44 (0)7700 900123")))["phone_number"])
	assert.Equal(t, "+447700900123", s.v2Get(s.v2SMS(v2SMS("phone_number", "+447700900123")))["phone_number"])
	require.Equal(t, 201, s.sms(plainSMS).Code)
	n, err := s.store.NotificationByID(t.Context(), serviceA, 3)
	require.NoError(t, err)
	o := object(t, s.v2("GET", "/v2/notifications/"+n.UUID.String(), ""))
	assert.Equal(t, "+441234123123", o["phone_number"])
	assert.Equal(t, templateID("1"), o["template"].(map[string]any)["id"])
}

// completed_at is there in final states only.
func TestV2GetStates(t *testing.T) {
	const later = "2016-01-25T00:00:01.500000Z"
	for status, want := range map[storage.Status]struct{ sent, completed bool }{
		storage.StatusCreated:          {false, false},
		storage.StatusSending:          {true, false},
		storage.StatusPending:          {true, false},
		storage.StatusSent:             {true, true},
		storage.StatusDelivered:        {true, true},
		storage.StatusTemporaryFailure: {false, true},
		storage.StatusPermanentFailure: {false, true},
		storage.StatusTechnicalFailure: {false, true},
	} {
		t.Run(string(status), func(t *testing.T) {
			s := newServer(t)
			w := s.v2SMS(v2SMS())
			if status != storage.StatusCreated {
				s.deliver(status, t1.Add(1500*time.Millisecond))
			}
			o := s.v2Get(w)
			assert.Equal(t, string(status), o["status"])
			if want.completed {
				assert.Equal(t, later, o["completed_at"])
			} else {
				assert.Nil(t, o["completed_at"])
			}
			if want.sent {
				assert.Equal(t, later, o["sent_at"])
			}
		})
	}
}

// Ids that are none, unknown ones and another service's.
func TestV2GetNothing(t *testing.T) {
	s := newServer(t)
	id := s.stored(s.v2SMS(v2SMS())).UUID.String()
	for _, suffix := range []string{"", "/pdf"} {
		for _, bad := range []string{"1", "x", id[1:], id + "0", "%7B" + id + "%7D", strings.ReplaceAll(id, "-", "")} {
			assertV2Error(t, s.v2("GET", "/v2/notifications/"+bad+suffix, ""), 400, errorValidation, "notification_id is not a valid UUID")
		}
		unknown := s.v2("GET", "/v2/notifications/"+unknownID+suffix, "")
		assertV2Error(t, unknown, 404, errorNoResult, "No result found")
		foreign := s.v2("GET", "/v2/notifications/"+id+suffix, "", s.withKey(serviceB, secretB))
		assert.Equal(t, unknown.Code, foreign.Code)
		assert.Equal(t, unknown.Body.String(), foreign.Body.String())
		assert.Equal(t, unknown.Header(), foreign.Header())
	}
	assertV2Error(t, s.v2("GET", "/v2/notifications/"+id+"/pdf", ""), 400, errorBadRequest, "Notification is not a letter")
}

// A notification is shown to keys of every type of its service.
func TestV2GetKeyTypes(t *testing.T) {
	s := newServer(t)
	id := s.stored(s.v2SMS(v2SMS(), s.withKey(serviceA, secretT))).UUID.String()
	for _, secret := range []string{secretA, secretM, secretT} {
		assert.Equal(t, 200, s.v2("GET", "/v2/notifications/"+id, "", s.withKey(serviceA, secret)).Code)
	}
}

// Addresses begin as the request did, below the base path too.
func TestV2GetRoot(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api" })
	id := s.stored(s.v2SMS(v2SMS())).UUID.String()
	template := func(w *httptest.ResponseRecorder) any {
		return object(t, w)["template"].(map[string]any)["uri"]
	}
	path := "/v2/template/" + templateID("1") + "/version/1"
	assert.Equal(t, "http://example.com"+path, template(s.v2("GET", "/v2/notifications/"+id, "")))
	assert.Equal(t, "http://example.com/api"+path, template(s.v2("GET", "/api/v2/notifications/"+id, "")))
	assert.Equal(t, "https://other.example:8443/api"+path, template(s.v2("GET", "/api/v2/notifications/"+id, "", func(r *http.Request) {
		r.Host, r.TLS = "other.example:8443", &tls.ConnectionState{}
	})))
	assert.Equal(t, "http://example.com"+path, template(s.v2("GET", "/v2/notifications/"+id, "", withHeader("X-Forwarded-Proto", "https"))))
}

// A storage that is away, and a directory.
func TestV2ReadUnavailable(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Directory = failingDirectory{errors.New("away")} })
	for _, path := range []string{"/v2/templates", "/v2/template/" + templateID("1"), "/v2/template/" + templateID("1") + "/version/1"} {
		w := s.v2("GET", path, "")
		assertV2Error(t, w, 503, errorUnavailable, textUnavailable)
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
	}
	assertV2Error(t, s.v2("POST", "/v2/template/"+templateID("1")+"/preview", ""), 503, errorUnavailable, textUnavailable)
	require.NoError(t, s.store.Close())
	for _, path := range []string{
		"/v2/notifications", "/v2/notifications?older_than=" + unknownID, "/v2/notifications/" + unknownID,
		"/v2/notifications/" + unknownID + "/pdf", "/v2/received-text-messages",
	} {
		assertV2Error(t, s.v2("GET", path, ""), 503, errorUnavailable, textUnavailable)
	}
}

// What is observed of reading.
func TestV2ReadEvents(t *testing.T) {
	s := newServer(t)
	for path, want := range map[string]Event{
		"/v2/notifications":                        {Route: "v2_list", Result: "ok", Status: 200},
		"/v2/notifications?page=1":                 {Route: "v2_list", Result: "invalid_query", Status: 400},
		"/v2/notifications/x":                      {Route: "v2_get", Result: "invalid_fields", Status: 400},
		"/v2/notifications/" + unknownID + "/pdf":  {Route: "v2_pdf", Result: "not_found", Status: 404},
		"/v2/templates":                            {Route: "v2_templates", Result: "ok", Status: 200},
		"/v2/template/" + templateID("1"):          {Route: "v2_template", Result: "ok", Status: 200},
		"/v2/template/" + unknownID + "/version/1": {Route: "v2_template_version", Result: "not_found", Status: 404},
		"/v2/received-text-messages":               {Route: "v2_received", Result: "ok", Status: 200},
	} {
		s.events = nil
		s.v2("GET", path, "")
		require.Len(t, s.events, 1, path)
		s.events[0].Duration = 0
		assert.Equal(t, want, s.events[0])
	}
}

// decode decodes an answer into what the package itself writes, refusing
// members that it doesn't.
func decode[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	require.Equal(t, 200, w.Code, "%s", w.Body)
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&v))
	return v
}
