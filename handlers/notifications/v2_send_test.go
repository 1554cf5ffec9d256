package notifications

import (
	"crypto/tls"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	senderA  = "8e222534-7f05-4972-86e3-17c5d9f894e2"
	senderB  = "1b0fdbb4-1d3b-4a0b-8c1e-5e8f9a6b7c8d"
	replyToA = "0f9cda4b-9b3f-4a8e-a2a6-3a5c2d1e0f90"
)

// settled are settings with a bit of everything.
func settled() storage.ServiceSettings {
	return storage.ServiceSettings{
		SMSSenders: []storage.SMSSender{{ID: senderA, Text: "Bookings"}, {ID: senderB, Text: "Urgent", Default: true}},
		ReplyTo:    []storage.ReplyToAddress{{ID: replyToA, Address: "desk@example.org"}},
		EmailFrom:  "bookings@example.org",
		GuestList:  []string{"guest@example.org", "07700 900999"},
	}
}

func keys(o map[string]any) []string { return slices.Sorted(maps.Keys(o)) }

func TestV2SMS(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = settled()
	w := s.v2SMS(v2SMS(
		"template_id", strings.ToUpper(templateID("2")), "reference", "my ref", "sms_sender_id", senderA,
		"personalisation", map[string]any{"NAME": "Al", "co_de": 12, "vip": false, "unused": []any{map[string]any{}}},
	))
	n := s.stored(w)
	assert.Equal(t, map[string]any{
		"id": n.UUID.String(), "reference": "my ref", "uri": "http://example.com/v2/notifications/" + n.UUID.String(),
		"template": map[string]any{
			"id": templateID("2"), "version": 1.0,
			"uri": "http://example.com/services/" + serviceA + "/templates/" + templateID("2"),
		},
		"scheduled_for": nil,
		"content":       map[string]any{"body": "Hi Al, your code is 12.", "from_number": "Bookings"},
	}, object(t, w))
	assert.Equal(t, "+447700900123", n.To)
	assert.Equal(t, "07700 900123", n.Details.Supplied)
	assert.Equal(t, "Bookings", n.Details.From)
	assert.Equal(t, "my ref", n.Reference)
	assert.Equal(t, "2", n.TemplateID)
	assert.Equal(t, "log", n.Sender)
	assert.Equal(t, Event{Route: "v2_sms", Result: resultOK, Status: 201}, s.events[0])

	w = s.v2SMS(v2SMS())
	assert.Equal(t, map[string]any{"body": "Hello from the booking service", "from_number": "Urgent"}, object(t, w)["content"], "the default sender")
	assert.Nil(t, object(t, w)["reference"])

	s.directory.settings[serviceA] = storage.ServiceSettings{}
	w = s.v2SMS(v2SMS("phone_number", "+447700900123", "reference", ""))
	assert.Equal(t, map[string]any{"body": "Hello from the booking service", "from_number": nil}, object(t, w)["content"])
	assert.Nil(t, object(t, w)["reference"])
	assert.Empty(t, s.stored(w).Details.Supplied, "it is To")
}

func TestV2Email(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = settled()
	w := s.v2Email(v2Email(
		"email_address", " Amala@EXAMPLE.org", "reference", "r", "email_reply_to_id", replyToA,
		"one_click_unsubscribe_url", "https://example.org/out?id=1", "sanitise_content_for", []string{"name"},
	))
	n := s.stored(w)
	assert.Equal(t, map[string]any{
		"id": n.UUID.String(), "reference": "r", "uri": "http://example.com/v2/notifications/" + n.UUID.String(),
		"template": map[string]any{
			"id": templateID("3"), "version": 1.0,
			"uri": "http://example.com/services/" + serviceA + "/templates/" + templateID("3"),
		},
		"scheduled_for": nil,
		"content": map[string]any{
			"subject": "For Amala", "body": "Dear Amala,\nbring:\n\n* passport\n* photo",
			"from_email": "bookings@example.org", "one_click_unsubscribe_url": "https://example.org/out?id=1",
		},
		"sanitised_content": map[string]any{},
	}, object(t, w))
	assert.Equal(t, "Amala@example.org", n.To)
	assert.Equal(t, " Amala@EXAMPLE.org", n.Details.Supplied)
	assert.Equal(t, "desk@example.org", n.Details.ReplyTo)
	assert.Equal(t, "https://example.org/out?id=1", n.Details.UnsubscribeURL)
	assert.NotEmpty(t, n.Details.Values)

	for from, want := range map[string]any{"": nil, "post@example.org": "post@example.org"} {
		s := newServer(t, func(c *Config) { c.EmailFrom = from })
		content := object(t, s.v2Email(v2Email("one_click_unsubscribe_url", nil, "sanitise_content_for", nil)))["content"].(map[string]any)
		assert.Equal(t, want, content["from_email"])
		assert.Nil(t, content["one_click_unsubscribe_url"])
		assert.Equal(t, []string{"body", "from_email", "one_click_unsubscribe_url", "subject"}, keys(content))
	}
}

// URIs are made of the request alone, and of the base path if it came by it.
func TestV2URIs(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api/endpoint" })
	for target, root := range map[string]string{
		"/v2/notifications/sms":              "https://notify.example.org:8443",
		"/api/endpoint/v2/notifications/sms": "https://notify.example.org:8443/api/endpoint",
	} {
		w := s.v2("POST", target, v2SMS(), func(r *http.Request) {
			r.Host, r.TLS = "notify.example.org:8443", &tls.ConnectionState{}
			r.Header.Set("X-Forwarded-Proto", "http")
			r.Header.Set("X-Forwarded-Host", "elsewhere.example")
		})
		o := object(t, w)
		assert.Equal(t, root+"/v2/notifications/"+o["id"].(string), o["uri"])
		assert.Equal(t, root+"/services/"+serviceA+"/templates/"+templateID("1"), o["template"].(map[string]any)["uri"])
	}
	s = newServer(t, func(c *Config) { c.Origin = func(*http.Request) string { return "https://public.example" } })
	w := s.v2SMS(v2SMS(), withHeader("X-Forwarded-Proto", "https"))
	assert.Contains(t, object(t, w)["uri"], "https://public.example/v2/")
}

func TestV2Scheduled(t *testing.T) {
	s := newServer(t)
	for text, want := range map[string]string{
		"2016-01-25T12:30:00Z":             "2016-01-25T12:30:00.000000Z",
		"2016-01-25T12:30:00.123456+01:00": "2016-01-25T11:30:00.123456Z",
		"2016-01-25 12:30":                 "2016-01-25T12:30:00.000000Z",
		"2016-01-25T12":                    "2016-01-25T12:00:00.000000Z",
		"20160125T1230Z":                   "2016-01-25T12:30:00.000000Z",
		"2016-01-25t12:30:00-0130":         "2016-01-25T14:00:00.000000Z",
		"2016-01-25":                       "2016-01-25T00:00:00.000000Z",
		"2016-01-26T00:00:00Z":             "2016-01-26T00:00:00.000000Z",
	} {
		w := s.v2SMS(v2SMS("scheduled_for", text))
		require.Equal(t, 201, w.Code, "%s %s", text, w.Body)
		assert.Equal(t, want, object(t, w)["scheduled_for"])
		assert.Equal(t, want, s.stored(w).Details.ScheduledFor.Format(v2Time))
	}
	assert.Nil(t, object(t, s.v2SMS(v2SMS("scheduled_for", nil)))["scheduled_for"])
	due, err := s.store.NextDue(t.Context(), storage.SMS)
	require.NoError(t, err)
	assert.Equal(t, t1, due)
}

// Case 12 of section 5 of the wire reference, as far as sending goes.
func TestV2Case12(t *testing.T) {
	s := newServer(t)
	const template = "c0e5d3f0-3f2d-4c5b-9a43-0d8f1f8d8a11"
	s.directory.put(serviceA, template, storage.SMS, "", "Hi ((Name))")
	w := s.v2SMS(`{"phone_number":"07700900003","template_id":"`+template+`","personalisation":{"name":"Al"}}`, s.withKey(serviceA, secretT))
	n := s.stored(w)
	o := object(t, w)
	assert.Equal(t, "Hi Al", o["content"].(map[string]any)["body"])
	assert.InEpsilon(t, 1, o["template"].(map[string]any)["version"], 0)
	assert.Equal(t, Simulated, n.Sender)
	assert.Equal(t, storage.KeyTest, n.KeyType)
}

// The recipients that every key may try it with are answered as others are, and
// nothing is stored.
func TestV2Simulated(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = storage.ServiceSettings{Trial: true}
	for _, secret := range []string{secretA, secretM, secretT} {
		for _, phone := range []string{"07700900000", "+44 7700 900111", "447700900222"} {
			w := s.v2SMS(v2SMS("phone_number", phone, "reference", "x"), s.withKey(serviceA, secret))
			require.Equal(t, 201, w.Code, "%s", w.Body)
			assert.Equal(t, []string{"content", "id", "reference", "scheduled_for", "template", "uri"}, keys(object(t, w)))
		}
		for _, n := range []string{"", "-2", "-3"} {
			w := s.v2Email(v2Email("email_address", "simulate-delivered"+n+"@notifications.service.gov.uk"), s.withKey(serviceA, secret))
			require.Equal(t, 201, w.Code, "%s", w.Body)
		}
	}
	assert.Zero(t, s.total())
	w := s.v2SMS(v2SMS("phone_number", "07700900000", "template_id", senderA))
	assertV2Error(t, w, 400, errorBadRequest, "Template not found")
}

func TestV2ValuesAreLenient(t *testing.T) {
	s := newServer(t)
	for value, want := range map[string]string{
		`"x"`: "x", `false`: "false", `0`: "0", `0.0`: "0.0", `"a\u0007b"`: "a?b", `["a", 1, null, true]`: "a, 1 and true",
		`{"a": [1, "it's"]}`: `{'a': [1, "it's"]}`, `[["a"], "b"]`: "['a'] and b",
	} {
		w := s.v2SMS(`{"phone_number":"07700900123","template_id":"` + templateID("4") + `","personalisation":{"text":` + value + `}}`)
		require.Equal(t, 201, w.Code, "%s: %s", value, w.Body)
		assert.Equal(t, want, object(t, w)["content"].(map[string]any)["body"], value)
	}
	w := s.v2SMS(`{"phone_number":"1","phone_number":"07700900123","template_id":"` + templateID("4") + `","personalisation":{"text":"a","T_E X-T":"b"}}`)
	require.Equal(t, 201, w.Code, "%s", w.Body)
	assert.Equal(t, "b", object(t, w)["content"].(map[string]any)["body"], "the last one counts")
}

func TestV2ContentType(t *testing.T) {
	s := newServer(t)
	for _, typ := range []string{"application/x-www-form-urlencoded", "text/plain", ""} {
		assert.Equal(t, 201, s.v2SMS(v2SMS(), func(r *http.Request) { r.Header["Content-Type"] = []string{typ} }).Code)
	}
}

func TestV2International(t *testing.T) {
	s := newServer(t, func(c *Config) { c.International = true })
	n := s.stored(s.v2SMS(v2SMS("phone_number", "+33 6 12 34 56 78")))
	assert.Equal(t, "+33612345678", n.To)
	assert.True(t, n.Details.International)
	assert.False(t, s.stored(s.v2SMS(v2SMS())).Details.International)
	require.Equal(t, 201, s.sms(`{"to":"+33612345678","template":1}`).Code)
	n, err := s.store.NotificationByID(t.Context(), serviceA, 3)
	require.NoError(t, err)
	assert.True(t, n.Details.International, "in the signed dialect too")
}

func TestV2Clock(t *testing.T) {
	s := newServer(t)
	token := s.mintV2(serviceA, secretA)
	s.clock.add(31 * time.Second)
	w := s.v2SMS(v2SMS(), func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+token) })
	assertV2Error(t, w, 403, "AuthError", "Error: Your system clock must be accurate to within 30 seconds")
}
