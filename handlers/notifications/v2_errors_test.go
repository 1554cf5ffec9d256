package notifications

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Case 13 of section 5 of the wire reference.
func TestV2Case13(t *testing.T) {
	w := newServer(t).v2SMS(`{"phone_number":"07890x32109","template":"x"}`)
	assert.Equal(t, `{"status_code":400,"errors":[`+
		`{"error":"ValidationError","message":"phone_number Must not contain letters or symbols"},`+
		`{"error":"ValidationError","message":"template_id is a required property"},`+
		`{"error":"ValidationError","message":"Additional properties are not allowed (template was unexpected)"}]}`+"\n", w.Body.String())
}

const (
	smsRequired   = "phone_number is a required property"
	emailRequired = "email_address is a required property"
	idRequired    = "template_id is a required property"
)

// Nobody would decode it: what was sent is what is read.
func TestV2EncodedBody(t *testing.T) {
	w := newServer(t).v2SMS(v2SMS(), withHeader("Content-Encoding", "gzip"))
	assertV2Error(t, w, http.StatusUnsupportedMediaType, "UnsupportedMediaTypeError",
		"Unsupported media type: the body must be sent without Content-Encoding")
}

// What is wrong with the members of a body, all of it.
func TestV2Schema(t *testing.T) {
	s := newServer(t)
	long := strings.Repeat("é", 1001)
	for _, c := range []struct {
		kind, body string
		want       []string
	}{
		{"sms", `{}`, []string{smsRequired, idRequired}},
		{"sms", `null`, []string{smsRequired, idRequired}},
		{"sms", `[]`, []string{smsRequired, idRequired}},
		{"sms", `""`, []string{smsRequired, idRequired}},
		{"sms", ` false `, []string{smsRequired, idRequired}},
		{"sms", `-0.0`, []string{smsRequired, idRequired}},
		{"sms", `[1, "a"]`, []string{"[1, a] is not of type object"}},
		{"sms", `"text"`, []string{"text is not of type object"}},
		{"sms", `5`, []string{"5 is not of type object"}},
		{"sms", `true`, []string{"True is not of type object"}},
		{"email", `{}`, []string{emailRequired, idRequired}},

		{"sms", v2SMS("phone_number", 7700900123), []string{"phone_number 7700900123 is not of type string"}},
		{"sms", v2SMS("phone_number", nil), []string{"phone_number None is not of type string"}},
		{"sms", v2SMS("phone_number", ""), []string{"phone_number Not enough digits"}},
		{"sms", v2SMS("phone_number", "077009001234567890"), []string{"phone_number Too many digits"}},
		{"sms", v2SMS("phone_number", "077"), []string{"phone_number Not enough digits"}},
		{"sms", v2SMS("phone_number", "+999 123 456"), []string{"phone_number Not a valid country prefix"}},
		{"sms", v2SMS("phone_number", "070 1234 5678"), []string{"phone_number Number is not valid – double check the phone number you entered"}},
		{"sms", v2SMS("phone_number", "07700 90012x"), []string{"phone_number Must not contain letters or symbols"}},
		{"email", v2Email("email_address", "nobody"), []string{"email_address Not a valid email address"}},
		{"email", v2Email("email_address", []string{"a@example.org"}), []string{"email_address [a@example.org] is not of type string"}},
		{"email", v2Email("phone_number", "1"), []string{"Additional properties are not allowed (phone_number was unexpected)"}},

		{"sms", v2SMS("template_id", "1"), []string{"template_id is not a valid UUID"}},
		{"sms", v2SMS("template_id", 1), []string{"template_id is not a valid UUID"}},
		{"sms", v2SMS("template_id", nil), []string{"template_id is not a valid UUID"}},
		{"sms", v2SMS("sms_sender_id", "x"), []string{"sms_sender_id is not a valid UUID"}},
		{"email", v2Email("email_reply_to_id", "x"), []string{"email_reply_to_id is not a valid UUID"}},

		{"sms", v2SMS("personalisation", "not_a_dict"), []string{"personalisation not_a_dict is not of type object"}},
		{"sms", v2SMS("personalisation", nil), []string{"personalisation None is not of type object"}},
		{"sms", v2SMS("personalisation", []any{}), []string{"personalisation [] is not of type object"}},
		{"sms", v2SMS("reference", 1.5), []string{"reference 1.5 is not of type string"}},
		{"sms", v2SMS("reference", map[string]any{"it's": true}), []string{`reference {"its": True} is not of type string`}},
		{"sms", v2SMS("reference", long), []string{"reference " + long + " is too long"}},
		{"sms", v2SMS("reference", "a\u0000"), []string{"reference must not contain control characters"}},

		{"sms", v2SMS("scheduled_for", 5), []string{"scheduled_for 5 is not of type string, null"}},
		{"sms", v2SMS("scheduled_for", "tomorrow"), []string{"scheduled_for " + textNoTime}},
		{"sms", v2SMS("scheduled_for", "2016-01-25T24:61:00"), []string{"scheduled_for " + textNoTime}},
		{"sms", v2SMS("scheduled_for", "2016-01-24T23:59:59Z"), []string{"scheduled_for datetime can not be in the past"}},
		{"sms", v2SMS("scheduled_for", "2016-01-26T00:00:01Z"), []string{"scheduled_for datetime can only be 24 hours in the future"}},

		{"email", v2Email("one_click_unsubscribe_url", "http://example.org"), []string{"one_click_unsubscribe_url is not a valid https url"}},
		{"email", v2Email("one_click_unsubscribe_url", "https://"), []string{"one_click_unsubscribe_url is not a valid https url"}},
		{"email", v2Email("one_click_unsubscribe_url", "https://a.example/>\r\nX: y"), []string{"one_click_unsubscribe_url is not a valid https url"}},
		{"email", v2Email("one_click_unsubscribe_url", 1), []string{"one_click_unsubscribe_url is not a valid https url"}},
		{"email", v2Email("sanitise_content_for", "name"), []string{"sanitise_content_for name is not of type array, null"}},
		{"email", v2Email("sanitise_content_for", []any{1}), []string{"sanitise_content_for 1 is not of type string"}},

		{"sms", v2SMS("b", 1, "a", 2), []string{"Additional properties are not allowed (a, b were unexpected)"}},
		{"sms", `{"reference":1,"sms_sender_id":"x","personalisation":1,"x":2}`, []string{
			"reference 1 is not of type string", "personalisation 1 is not of type object", "sms_sender_id is not a valid UUID",
			smsRequired, idRequired, "Additional properties are not allowed (x was unexpected)",
		}},

		{"letter", `{}`, []string{idRequired, "personalisation is a required property"}},
		{"letter", `{"content":1,"postage":"express"}`, []string{
			"content 1 is not of type string", "postage invalid. It must be first, second or economy.", "reference is a required property",
		}},
	} {
		t.Run(c.kind+" "+fmt.Sprintf("%.60s", c.body), func(t *testing.T) {
			assertV2Error(t, s.v2("POST", "/v2/notifications/"+c.kind, c.body), 400, errorValidation, c.want...)
		})
	}
	assert.Zero(t, s.total())
	assert.Equal(t, 201, s.v2SMS(v2SMS("reference", strings.Repeat("é", 1000))).Code)
}

// Every other row of the table of errors.
func TestV2Errors(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = settled()
	s.directory.put(serviceA, "5", storage.SMS, "", "Archived")
	s.directory.archive(serviceA, "5")
	s.directory.put(serviceA, "6", storage.SMS, "", "((text))((text))")
	text := func(n int) map[string]any { return map[string]any{"text": strings.Repeat("x", n)} }
	for _, c := range []struct {
		kind, body, secret, want, message string
	}{
		{"sms", ``, "", errorBadRequest, "Invalid JSON supplied in POST data"},
		{"sms", `{'a': 1}`, "", errorBadRequest, "Invalid JSON supplied in POST data"},
		{"sms", `{"a":1} {}`, "", errorBadRequest, "Invalid JSON supplied in POST data"},
		{"sms", "{\"a\":\"\xff\"}", "", errorBadRequest, "Invalid JSON supplied in POST data"},
		{"sms", strings.Repeat("[", 40) + strings.Repeat("]", 40), "", errorBadRequest, errTooDeep.Error()},
		{"sms", "[1" + strings.Repeat(",1", maxJSONValues) + "]", "", errorBadRequest, errTooLarge.Error()},
		{"sms", v2SMS("template_id", senderA), "", errorBadRequest, "Template not found"},
		{"sms", v2SMS("template_id", storage.TemplateUUID(serviceB, "9").String()), "", errorBadRequest, "Template not found"},
		{"sms", v2SMS("template_id", templateID("3")), "", errorBadRequest, "email template is not suitable for sms notification"},
		{"email", v2Email("template_id", templateID("1")), "", errorBadRequest, "sms template is not suitable for email notification"},
		{"sms", v2SMS("template_id", templateID("5")), "", errorBadRequest, "Template has been deleted"},
		{"sms", v2SMS("template_id", templateID("2")), "", errorBadRequest, "Missing personalisation: Name, code, vip"},
		{"sms", v2SMS("template_id", templateID("2"), "personalisation", map[string]any{"name": nil, "code": "", "vip": ""}), "", errorBadRequest, "Missing personalisation: Name"},
		{"email", v2Email("personalisation", map[string]any{}), "", errorBadRequest, "Missing personalisation: name, things"},
		{"sms", v2SMS("template_id", templateID("4"), "personalisation", map[string]any{"text": ""}), "", errorBadRequest, "Your message is empty."},
		{"sms", v2SMS("template_id", templateID("4"), "personalisation", text(919)), "", errorBadRequest, "Your message is too long. Text messages cannot be longer than 918 characters. Your message is 919 characters long."},
		{"sms", v2SMS("template_id", templateID("6"), "personalisation", text(460)), "", errorBadRequest, "Your message is too long. Text messages cannot be longer than 918 characters. Your message is 920 characters long."},
		{"sms", v2SMS(), secretM, errorBadRequest, "Can’t send to this recipient using a team-only API key"},
		{"email", v2Email(), secretM, errorBadRequest, "Can’t send to this recipient using a team-only API key"},
		{"sms", v2SMS("sms_sender_id", replyToA), "", errorBadRequest, "sms_sender_id " + replyToA + " does not exist in database for service id " + serviceA},
		{"email", v2Email("email_reply_to_id", senderA), "", errorBadRequest, "email_reply_to_id " + senderA + " does not exist in database for service id " + serviceA},
		{"sms", v2SMS("phone_number", "+33612345678"), "", errorBadRequest, "Cannot send to international mobile numbers"},
		{"sms", v2SMS("phone_number", "020 7946 0000"), "", errorInvalidPhone, "Not a UK mobile number"},
		{"email", v2Email("personalisation", map[string]any{"name": "x", "things": map[string]any{"file": "aGVsbG8="}}), "", errorBadRequest, "Send files by email has not been set up for this service"},
		{"letter", v2Body("template_id", templateID("1"), "personalisation", map[string]any{}), "", errorBadRequest, "Service is not allowed to send letters"},
		{"letter", v2Body("reference", "x", "content", "aGVsbG8=", "postage", "second"), "", errorBadRequest, "Service is not allowed to send letters"},
	} {
		t.Run(fmt.Sprintf("%s %.60s", c.kind, c.body), func(t *testing.T) {
			if c.secret == "" {
				c.secret = secretA
			}
			w := s.v2("POST", "/v2/notifications/"+c.kind, c.body, s.withKey(serviceA, c.secret))
			assertV2Error(t, w, 400, c.want, c.message)
		})
	}
	assert.Zero(t, s.total())
}

func TestV2Channel(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Senders = nil })
	assertV2Error(t, s.v2SMS(v2SMS()), 400, errorBadRequest, "Service is not allowed to send text messages")
	assertV2Error(t, s.v2Email(v2Email()), 400, errorBadRequest, "Service is not allowed to send emails")
}

// Team keys, and all but test keys of a service in trial, reach the guests.
func TestV2Guests(t *testing.T) {
	s := newServer(t)
	settings := settled()
	settings.Trial = true
	s.directory.settings[serviceA] = settings
	const trial = "Can’t send to this recipient when service is in trial mode – see https://www.notifications.service.gov.uk/trial-mode"
	assertV2Error(t, s.v2SMS(v2SMS()), 400, errorBadRequest, trial)
	assertV2Error(t, s.v2Email(v2Email()), 400, errorBadRequest, trial)
	assert.Equal(t, 201, s.v2SMS(v2SMS(), s.withKey(serviceA, secretT)).Code)
	for _, secret := range []string{secretA, secretM} {
		assert.Equal(t, 201, s.v2SMS(v2SMS("phone_number", "+44 (0)7700 900 999"), s.withKey(serviceA, secret)).Code)
		assert.Equal(t, 201, s.v2Email(v2Email("email_address", "Guest@Example.ORG"), s.withKey(serviceA, secret)).Code)
	}
	// The signed dialect keeps to the list when there is one.
	assertAnswer(t, s.sms(plainSMS), 400, `{"result":"error","message":{"to":["`+trial+`"]}}`)
	w := s.do(request{method: "POST", target: "/notifications/sms", body: plainSMS, secret: secretM})
	assertAnswer(t, w, 400, `{"result":"error","message":{"to":["Can’t send to this recipient using a team-only API key"]}}`)
	assert.Equal(t, 201, s.sms(`{"to":"07700900999","template":1}`).Code)
	settings.GuestList = []string{"+44 1234 123123"}
	s.directory.settings[serviceA] = settings
	assert.Equal(t, 201, s.sms(plainSMS).Code)
}

func TestV2TrialLimit(t *testing.T) {
	s := newServer(t, func(c *Config) { c.RateLimit = -1 })
	settings := settled()
	settings.Trial = true
	s.directory.settings[serviceA] = settings
	guest := v2SMS("phone_number", "07700900999")
	require.Equal(t, 201, s.v2SMS(guest, s.withKey(serviceA, secretT)).Code)
	for range trialDailyLimit {
		require.Equal(t, 201, s.v2SMS(guest).Code)
	}
	assertV2Error(t, s.v2SMS(guest), 429, errorTooMany, "Exceeded send limits (sms: 50) for today")
	assert.Equal(t, 201, s.v2SMS(guest, s.withKey(serviceA, secretT)).Code)
	assert.Equal(t, 201, s.v2Email(v2Email("email_address", "guest@example.org")).Code)
}

func TestV2RateLimit(t *testing.T) {
	s := newServer(t, func(c *Config) { c.RateLimit = 3 })
	for secret, word := range map[string]string{secretA: "LIVE", secretM: "TEAM", secretT: "TEST"} {
		for range 2 {
			require.Equal(t, 201, s.v2SMS(v2SMS("phone_number", "07700900000"), s.withKey(serviceA, secret)).Code)
		}
		for _, kind := range []string{"sms", "email", "letter"} {
			w := s.v2("POST", "/v2/notifications/"+kind, "no JSON", s.withKey(serviceA, secret))
			assertV2Error(t, w, 429, errorRateLimit, "Exceeded rate limit for key type "+word+" of 3 requests per 60 seconds")
			assert.Empty(t, w.Header().Get("Retry-After"))
		}
	}
	s.clock.add(20 * time.Second)
	assert.Equal(t, 201, s.v2SMS(v2SMS()).Code)
}

func TestV2DailyLimit(t *testing.T) {
	s := newServer(t, func(c *Config) { c.DailyLimit = 2 })
	for range 2 {
		require.Equal(t, 201, s.v2Email(v2Email()).Code)
	}
	w := s.v2Email("no JSON", s.withKey(serviceA, secretT))
	assertV2Error(t, w, 429, errorTooMany, "Exceeded send limits (email: 2) for today")
	assert.Empty(t, w.Header().Get("Retry-After"))
	assert.Equal(t, 201, s.v2SMS(v2SMS()).Code, "another channel")
	assert.Equal(t, 201, s.sms(plainSMS).Code)
	assertV2Error(t, s.v2SMS(v2SMS()), 429, errorTooMany, "Exceeded send limits (sms: 2) for today")
	s.clock.add(24 * time.Hour)
	assert.Equal(t, 201, s.v2Email(v2Email()).Code)
}

// The limit holds when many pass the first look at once.
func TestV2DailyLimitAtCreation(t *testing.T) {
	s := newServer(t, func(c *Config) { c.DailyLimit = 1; c.Store = blind{c.Store} })
	require.Equal(t, 201, s.v2SMS(v2SMS()).Code)
	assertV2Error(t, s.v2SMS(v2SMS()), 429, errorTooMany, "Exceeded send limits (sms: 1) for today")
}

// blind is a store whose counters can't be read beforehand.
type blind struct{ Store }

func (blind) Counter(context.Context, string) (int64, error) { return 0, nil }

// Of two faults, the one that is checked first is reported.
func TestV2Order(t *testing.T) {
	const none = "no JSON"
	unknown := senderA
	for _, c := range []struct {
		name    string
		with    func(*Config)
		prepare func(*server)
		body    string
		secret  string
		want    string // beginning of the message
	}{
		{"rate before daily", func(c *Config) { c.RateLimit, c.DailyLimit = 1, 2 }, (*server).sendTwo, none, "", "Exceeded rate limit"},
		{"daily before JSON", func(c *Config) { c.DailyLimit = 2 }, (*server).sendTwo, none, "", "Exceeded send limits"},
		{"JSON before permission", func(c *Config) { c.Senders = nil }, nil, none, "", "Invalid JSON"},
		{"schema before permission", func(c *Config) { c.Senders = nil }, nil, v2SMS("x", 1), "", "Additional properties"},
		{"schema before template", nil, nil, v2SMS("template_id", unknown, "reference", 1), "", "reference 1"},
		{"permission before template", func(c *Config) { c.Senders = nil }, nil, v2SMS("template_id", unknown), "", "Service is not allowed"},
		{"type before archived", nil, func(s *server) { s.directory.archive(serviceA, "3") }, v2SMS("template_id", templateID("3")), "", "email template is not suitable"},
		{"archived before personalisation", nil, func(s *server) { s.directory.archive(serviceA, "2") }, v2SMS("template_id", templateID("2")), "", "Template has been deleted"},
		{"template before sender", nil, nil, v2SMS("template_id", unknown, "sms_sender_id", unknown), "", "Template not found"},
		{"personalisation before sender", nil, nil, v2SMS("template_id", templateID("2"), "sms_sender_id", unknown), "", "Missing personalisation"},
		{"empty before sender", nil, nil, v2SMS("template_id", templateID("4"), "personalisation", map[string]any{"text": " "}, "sms_sender_id", unknown), "", "Your message is empty."},
		{"sender before recipient", nil, nil, v2SMS("sms_sender_id", unknown), secretM, "sms_sender_id"},
		{"recipient before country", nil, nil, v2SMS("phone_number", "+33612345678"), secretM, "Can’t send"},
		{"recipient before length", nil, nil, v2SMS("template_id", templateID("4"), "personalisation", map[string]any{"text": strings.Repeat("x", 919)}), secretM, "Can’t send"},
		{"country before length", nil, nil, v2SMS("phone_number", "+33612345678", "template_id", templateID("4"), "personalisation", map[string]any{"text": strings.Repeat("x", 919)}), "", "Cannot send to international"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var with []func(*Config)
			if c.with != nil {
				with = append(with, c.with)
			}
			s := newServer(t, with...)
			if c.prepare != nil {
				c.prepare(s)
			}
			if c.secret == "" {
				c.secret = secretA
			}
			w := s.v2SMS(c.body, s.withKey(serviceA, c.secret))
			var got v2Errors
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
			require.Len(t, got.Errors, 1)
			assert.True(t, strings.HasPrefix(got.Errors[0].Message, c.want), "%s", w.Body)
			assert.Equal(t, w.Code, got.StatusCode)
		})
	}
}

// sendTwo uses up a daily limit of two, or a rate limit of one.
func (s *server) sendTwo() {
	for range 2 {
		require.Equal(s.t, 201, s.v2SMS(v2SMS()).Code)
	}
}

func TestV2StorageAway(t *testing.T) {
	down := storage.Unavailable("reading", assert.AnError)
	for name, c := range map[string]struct {
		with   func(*Config)
		status int
		kind   string
		text   string
	}{
		"rate limit": {func(c *Config) { c.Store = failing{Store: c.Store, take: down} }, 503, errorUnavailable, textUnavailable},
		"creation":   {func(c *Config) { c.Store = failing{Store: c.Store, create: down} }, 503, errorUnavailable, textUnavailable},
		"directory":  {func(c *Config) { c.Directory = failingDirectory{down} }, 503, errorUnavailable, textUnavailable},
		"our fault":  {func(c *Config) { c.Store = failing{Store: c.Store, create: storage.ErrInvalid} }, 500, errorInternal, textInternalError},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, c.with)
			w := s.v2SMS(v2SMS())
			assertV2Error(t, w, c.status, c.kind, c.text)
			if c.status == http.StatusServiceUnavailable {
				assert.Equal(t, "5", w.Header().Get("Retry-After"))
			}
			assert.Contains(t, s.log.String(), "level=ERROR")
		})
	}
}

// What is logged names neither recipient nor text.
func TestV2Log(t *testing.T) {
	s := newServer(t)
	s.v2SMS(v2SMS("reference", "secret reference", "phone_number", "0770090012x"))
	s.v2SMS(v2SMS("template_id", templateID("4"), "personalisation", map[string]any{"text": "secret text"}, "reference", "secret reference"))
	for _, secret := range []string{"900123", "secret", "0770090012x"} {
		assert.NotContains(t, s.log.String(), secret)
	}
	assert.Contains(t, s.log.String(), "code=invalid_fields")
	assert.Contains(t, s.log.String(), "notification accepted")
}
