package notifications

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestMessages(t *testing.T) {
	for _, c := range []struct{ name, body, to, message string }{
		{"integer template", `{"to":"07700900111","template":1}`, "+447700900111", "Hello from the booking service"},
		{"template as text", `{"to":"07700900111","template":"1"}`, "+447700900111", "Hello from the booking service"},
		{"template by UUID", `{"to":"07700900111","template":"f5a9a2d6-7a3b-4a53-9d3a-3f5c5c1f0c11"}`, "+447700900111", "By UUID"},
		{
			"personalisation", `{"to":"07723 456 789","template":2,"personalisation":{"name":"Al","CO-DE":"12","V I P":"no"}}`,
			"+447723456789", "Hi Al, your code is 12.",
		},
		{
			"condition", `{"to":"7723456789","template":2,"personalisation":{"name":"Al","code":12.50,"vip":true}}`,
			"+447723456789", "Hi Al, your code is 12.50 and you may skip the queue.",
		},
		{
			"zero and false are values", `{"to":"7723456789","template":2,"personalisation":{"name":0,"code":false,"vip":0.0}}`,
			"+447723456789", "Hi 0, your code is false.",
		},
		{
			"list", `{"to":"7723456789","template":2,"personalisation":{"name":["a",1,null,true],"code":"","vip":""}}`,
			"+447723456789", "Hi a, 1 and true, your code is.",
		},
		{
			"one pass", `{"to":"7723456789","template":2,"personalisation":{"name":"((code))","code":"{env.HOME}","vip":""}}`,
			"+447723456789", "Hi ((code)), your code is {env.HOME}.",
		},
		{"downgraded", `{"to":"7723456789","template":4,"personalisation":{"text":"“caf\u00e9” – 😀  ok\u2026"}}`, "+447723456789", `"café" - ? ok...`},
		{"wrapped", `{"notification":{"to":"7723456789","template":1}}`, "+447723456789", "Hello from the booking service"},
		{"wrapped with others", `{"notification":{"to":"7723456789","template":1,"job":null},"x":{"to":1}}`, "+447723456789", "Hello from the booking service"},
		{
			"others are ignored", `{"to":"7723456789","template":1,"message":"x","from":"y","job":[1,{"a":2}],"personalisation":null}`,
			"+447723456789", "Hello from the booking service",
		},
		{"blanks around", " \r\n\t{\"to\":\"7723456789\",\"template\":1}\n ", "+447723456789", "Hello from the booking service"},
		{"escaped name", `{"\u0074o":"7723456789","template":1}`, "+447723456789", "Hello from the booking service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newServer(t).sms(c.body)
			require.Equal(t, 201, w.Code, "%s", w.Body)
			n := notification(t, w)
			assert.Equal(t, c.to, n["to"])
			assert.Equal(t, c.message, n["message"])
		})
	}
}

func TestEmail(t *testing.T) {
	s := newServer(t)
	w := s.email(`{"to":" Al@Example.org","template":3,"personalisation":{"name":"Al","things":["pen","ID"]}}`)
	assert.Equal(t, 201, w.Code)
	assert.Equal(t, `{"notification":{"id":1,"to":"Al@example.org","message":"Dear Al,\nbring:\n\n* pen\n* ID",`+
		`"createdAt":"2016-01-25T00:00:00.000000Z","status":"created","method":"email","jobId":1,"sender":"post"}}`+"\n", w.Body.String())
	n, err := s.store.NotificationByID(t.Context(), serviceA, 1)
	require.NoError(t, err)
	assert.Equal(t, "For Al", n.Subject)
}

// What is stored is what delivery and retention go by.
func TestStored(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct{ secret, keyName, sender string }{
		{secretA, "live", "log"}, {secretM, "team", "log"}, {secretT, "test", Simulated},
	} {
		w := s.do(request{method: "POST", target: "/notifications/sms", body: plainSMS, secret: c.secret})
		require.Equal(t, 201, w.Code)
		assert.Equal(t, c.sender, notification(t, w)["sender"])
	}
	for id, keyType := range map[int64]storage.KeyType{1: storage.KeyNormal, 2: storage.KeyTeam, 3: storage.KeyTest} {
		n, err := s.store.NotificationByID(t.Context(), serviceA, id)
		require.NoError(t, err)
		assert.Equal(t, keyType, n.KeyType)
		assert.Equal(t, "1", n.TemplateID)
		assert.Equal(t, 1, n.TemplateVersion)
		assert.Equal(t, id, n.JobID)
		assert.EqualValues(t, 7, n.UUID.Version())
		assert.Equal(t, t1, n.CreatedAt)
		assert.Equal(t, t1.Add(DefaultRetention), n.ExpiresAt)
		assert.Equal(t, storage.StatusCreated, n.Status)
	}
}

func TestFaults(t *testing.T) {
	const (
		to      = `"to":"+441234123123"`
		phone   = "Invalid phone number: "
		missing = "Missing data for required field."
		value   = "must be text, a number, true or false, or a list of those"
	)
	long := strings.Repeat("a", 919)
	for _, c := range []struct {
		name, route, body string
		want              faults
	}{
		{"nothing", "sms", `{}`, faults{"to": {missing}, "template": {missing}}},
		{"message without template", "sms", `{` + to + `,"message":"hi"}`, faults{"template": {missing}}},
		{"wrapped nothing", "sms", `{"notification":{}}`, faults{"to": {missing}, "template": {missing}}},
		{"wrapped wrong", "sms", `{"notification":[]}`, faults{"notification": {"Not a valid mapping type."}}},
		{
			"wrapped and flat", "sms", `{` + to + `,"template":1,"notification":{` + to + `,"template":1}}`,
			faults{"notification": {"Give to and template either inside notification or beside it, not both."}},
		},
		{"names are exact", "sms", `{"To":"+441234123123","TEMPLATE":1}`, faults{"to": {missing}, "template": {missing}}},
		{"null", "sms", `{"to":null,"template":null}`, faults{"to": {"Field may not be null."}, "template": {"Field may not be null."}}},
		{
			"types", "sms", `{"to":447700900111,"template":true,"personalisation":[]}`,
			faults{"to": {"Not a valid string."}, "template": {"Not a valid integer or string."}, "personalisation": {"Not a valid mapping type."}},
		},
		{"to as list", "sms", `{"to":["+441234123123"],"template":1}`, faults{"to": {"Not a valid string."}}},
		{"fraction", "sms", `{` + to + `,"template":1.0}`, faults{"template": {"Not a valid integer or string."}}},
		{"exponent", "sms", `{` + to + `,"template":1e0}`, faults{"template": {"Not a valid integer or string."}}},
		{"negative", "sms", `{` + to + `,"template":-1}`, faults{"template": {"Not a valid integer or string."}}},
		{"negative zero", "sms", `{` + to + `,"template":-0}`, faults{"template": {"Not a valid integer or string."}}},
		{"huge", "sms", `{` + to + `,"template":9223372036854775808}`, faults{"template": {"Not a valid integer or string."}}},
		{"template object", "sms", `{` + to + `,"template":{"id":1}}`, faults{"template": {"Not a valid integer or string."}}},
		{"empty id", "sms", `{` + to + `,"template":""}`, faults{"template": {"Not a valid integer or string."}}},
		{"long id", "sms", `{` + to + `,"template":"` + strings.Repeat("1", 256) + `"}`, faults{"template": {"Not a valid integer or string."}}},
		{"NUL in an id", "sms", `{` + to + `,"template":"1\u0000"}`, faults{"template": {"Not a valid integer or string."}}},

		{"letters", "sms", `{"to":"07890x32109","template":1}`, faults{"to": {phone + "Must not contain letters or symbols"}}},
		{"NUL in to", "sms", `{"to":"07700900111\u0000","template":1}`, faults{"to": {phone + "Must not contain letters or symbols"}}},
		{"foreign", "sms", `{"to":"+12025550104","template":1}`, faults{"to": {phone + "Not a UK mobile number"}}},
		{"many digits", "sms", `{"to":"077009001112","template":1}`, faults{"to": {phone + "Too many digits"}}},
		{"few digits", "sms", `{"to":"","template":1}`, faults{"to": {phone + "Not enough digits"}}},
		{"unknown template and another fault", "sms", `{"to":"","template":77}`, faults{"to": {phone + "Not enough digits"}}},
		{"no email", "email", `{"to":"Al <al@example.org>","template":3,"personalisation":{"name":"","things":""}}`, faults{"to": {"Not a valid email address"}}},
		{"NUL in an email", "email", `{"to":"al\u0000@example.org","template":3,"personalisation":{"name":"","things":""}}`, faults{"to": {"Not a valid email address"}}},

		{"missing personalisation", "sms", `{` + to + `,"template":2}`, faults{"template": {"Missing personalisation: Name, code, vip"}}},
		{
			"null is missing", "sms", `{` + to + `,"template":2,"personalisation":{"name":null,"code":1,"vip":null,"x":null}}`,
			faults{"template": {"Missing personalisation: Name, vip"}},
		},
		{
			"surplus personalisation", "sms", `{` + to + `,"template":1,"personalisation":{"x":1,"b":2,"a":3}}`,
			faults{"template": {"Personalisation not needed for template: x, b, a"}},
		},
		{
			"both, and the number", "sms", `{"to":"abc","template":2,"personalisation":{"name":1,"code":1,"y":1}}`,
			faults{
				"to":       {phone + "Must not contain letters or symbols"},
				"template": {"Missing personalisation: vip", "Personalisation not needed for template: y"},
			},
		},
		{
			"missing in an email", "email", `{"to":"al@example.org","template":3,"personalisation":{"x":1}}`,
			faults{"template": {"Missing personalisation: name, things", "Personalisation not needed for template: x"}},
		},
		{"wrong channel", "sms", `{` + to + `,"template":3}`, faults{"template": {"email template is not suitable for sms notification"}}},
		{"wrong channel for emails", "email", `{"to":"al@example.org","template":1}`, faults{"template": {"sms template is not suitable for email notification"}}},
		{
			"given twice", "sms", `{` + to + `,"template":4,"personalisation":{"te xt":"a","te_xt":"b"}}`,
			faults{"personalisation": {"te_xt: is given twice: case, spaces, _ and - make no difference"}},
		},
		{"value is an object", "sms", `{` + to + `,"template":4,"personalisation":{"text":{"a":1}}}`, faults{"personalisation": {"text: " + value}}},
		{"list of lists", "sms", `{` + to + `,"template":4,"personalisation":{"text":["x",["a"]]}}`, faults{"personalisation": {"text: " + value}}},
		{
			"NUL in a value", "sms", `{` + to + `,"template":4,"personalisation":{"text":"a\u0000b"}}`,
			faults{"personalisation": {"text: must not hold control characters"}},
		},
		{
			"NUL in a list", "sms", `{` + to + `,"template":4,"personalisation":{"text":["a\u0000b"]}}`,
			faults{"personalisation": {"text: must not hold control characters"}},
		},
		{
			"NUL in a name", "sms", `{` + to + `,"template":4,"personalisation":{"te\u0000xt":"a"}}`,
			faults{"personalisation": {"A name must not be longer than 1000 bytes or hold control characters"}},
		},
		{
			"long name", "sms", `{` + to + `,"template":4,"personalisation":{"` + strings.Repeat("x", 1001) + `":"a"}}`,
			faults{"personalisation": {"A name must not be longer than 1000 bytes or hold control characters"}},
		},

		{
			"too long", "sms", `{` + to + `,"template":4,"personalisation":{"text":"` + long + `"}}`,
			faults{"content": {"Your message is too long. Text messages cannot be longer than 918 characters. Your message is 919 characters long."}},
		},
		{"empty", "sms", `{` + to + `,"template":4,"personalisation":{"text":" \n\u200b "}}`, faults{"content": {"Your message is empty."}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			w := s.do(request{method: "POST", target: "/notifications/" + c.route, body: c.body})
			want, err := json.Marshal(map[string]any{"result": "error", "message": c.want})
			require.NoError(t, err)
			assertAnswer(t, w, 400, string(want))
			page, err := s.store.Notifications(t.Context(), storage.Query{ServiceID: serviceA, Limit: 1})
			require.NoError(t, err)
			assert.Empty(t, page.Notifications)
		})
	}
}

func TestLongest(t *testing.T) {
	body := func(n int) string {
		return `{"to":"+441234123123","template":4,"personalisation":{"text":"` + strings.Repeat("😀", n) + `"}}`
	}
	assert.Equal(t, 201, newServer(t).sms(body(918)).Code)
	assert.Equal(t, 400, newServer(t).sms(body(919)).Code)
}

func TestTooLarge(t *testing.T) {
	s := newServer(t)
	s.directory.put(serviceA, "5", storage.Email, "x", strings.Repeat("((text))", 100))
	s.directory.put(serviceA, "6", storage.SMS, "", strings.Repeat("((text))", 100))
	text := strings.Repeat("x", 20_001)
	w := s.email(`{"to":"al@example.org","template":5,"personalisation":{"text":"` + text + `"}}`)
	assertAnswer(t, w, 400, `{"result":"error","message":{"content":["Your message is too long. Emails cannot be longer than 2000000 bytes."]}}`)
	w = s.sms(`{"to":"7723456789","template":6,"personalisation":{"text":"` + text + `"}}`)
	assertAnswer(t, w, 400, `{"result":"error","message":{"content":["Your message is too long. Text messages cannot be longer than 918 characters."]}}`)
	w = s.email(`{"to":"al@example.org","template":5,"personalisation":{"text":"` + text[1:] + `"}}`)
	assert.Equal(t, 201, w.Code)
}

func TestUnknownTemplate(t *testing.T) {
	s := newServer(t)
	for _, template := range []string{`77`, `0`, `"x"`, `"01"`, `"' OR 1=1 --"`, `9` /* B's */} {
		assertAnswer(t, s.sms(`{"to":"+441234123123","template":`+template+`}`), 404, notFoundBody)
	}
}

func TestInvalidJSON(t *testing.T) {
	const syntax = "Invalid JSON: syntax error at byte %d"
	deep := strings.Repeat("[", 2000)
	for _, c := range []struct{ name, body, want string }{
		{"empty", "", fmt.Sprintf(syntax, 0)},
		{"blank", " ", fmt.Sprintf(syntax, 1)},
		{"not JSON", "to=1", fmt.Sprintf(syntax, 0)},
		{"single quotes", `{'to':1}`, fmt.Sprintf(syntax, 1)},
		{"cut", `{"to":"1"`, fmt.Sprintf(syntax, 9)},
		{"trailing comma", `{"to":"1",}`, fmt.Sprintf(syntax, 10)},
		{"trailing bytes", plainSMS + `x`, fmt.Sprintf(syntax, 38)},
		{"second object", plainSMS + plainSMS, fmt.Sprintf(syntax, 38)},
		{"byte order mark", "\ufeff" + plainSMS, fmt.Sprintf(syntax, 0)},
		{"raw NUL", "{\"to\":\"\x00\"}", fmt.Sprintf(syntax, 7)},
		{"array", `[` + plainSMS + `]`, "Invalid JSON: the body must be an object"},
		{"null", `null`, "Invalid JSON: the body must be an object"},
		{"text", `"to"`, "Invalid JSON: the body must be an object"},
		{"number", `12`, "Invalid JSON: the body must be an object"},
		{"invalid UTF-8", "{\"to\":\"\xff\"}", "Invalid JSON: text must be UTF-8"},
		{"half a pair", `{"to":"\ud83d"}`, "Invalid JSON: text must be UTF-8"},
		{"duplicate", `{"to":"1","to":"2"}`, "Invalid JSON: two members have the same name"},
		{"duplicate by escape", `{"to":"1","\u0074o":"2"}`, "Invalid JSON: two members have the same name"},
		{"duplicate inside", `{"notification":{"to":"1","to":"2"}}`, "Invalid JSON: two members have the same name"},
		{"duplicate that is ignored", `{"x":1,"x":1}`, "Invalid JSON: two members have the same name"},
		{"case twin", `{"to":"1","To":"2"}`, "Invalid JSON: two members have names that differ in case only"},
		{"case twin inside", `{"notification":{"to":"1","TO":"2"}}`, "Invalid JSON: two members have names that differ in case only"},
		{"case twin of a value", `{"to":"1","template":2,"personalisation":{"a":1,"A":2}}`, "Invalid JSON: two members have names that differ in case only"},
		{"deep", `{"to":` + deep, "Invalid JSON: it is nested too deeply"},
		{"members", `{"x":[` + strings.Repeat("1,", 2000) + `1]}`, "Invalid JSON: it has too many members"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newServer(t).sms(c.body)
			assertAnswer(t, w, 400, `{"result":"error","message":"`+c.want+`"}`)
		})
	}
}

func TestChannelWithoutProvider(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Senders = nil })
	assertAnswer(t, s.sms(plainSMS), 400, `{"result":"error","message":"Service is not allowed to send text messages"}`)
	assertAnswer(t, s.email(plainSMS), 400, `{"result":"error","message":"Service is not allowed to send emails"}`)
}

// A template that can't be parsed is the operator's fault, not the client's.
func TestBrokenTemplate(t *testing.T) {
	s := newServer(t)
	s.directory.put(serviceA, "5", storage.SMS, "", "\xff")
	w := s.sms(`{"to":"+441234123123","template":5}`)
	assertAnswer(t, w, http.StatusInternalServerError, `{"result":"error","message":"Internal server error"}`)
	assert.Contains(t, s.log.String(), "template 5 version 1: message: the template is not valid UTF-8")
}

func TestInternational(t *testing.T) {
	s := newServer(t, func(c *Config) { c.International = true })
	w := s.sms(`{"to":"+1 202 555 0104","template":1}`)
	assert.Equal(t, 201, w.Code)
	assert.Equal(t, "+12025550104", notification(t, w)["to"])
}

// FuzzPost: whatever the body, the answer is JSON and never a server error.
func FuzzPost(f *testing.F) {
	for _, s := range []string{
		plainSMS, `{"notification":` + plainSMS + `}`, `{}`, `[]`, `null`, ``, `{"to":null}`, `{"to":"1","To":"2"}`,
		`{"to":"07700900111","template":2,"personalisation":{"name":["a",1,true,null],"code":1e400,"vip":"yes"}}`,
		`{"to":"07700900111","template":4,"personalisation":{"text":"\u0000\ud83d\ude00"}}`,
		"{\"to\":\"\xff\"}", `{"to":"\ud83d"}`, `{"notification":{"notification":{"to":"1"}}}`,
	} {
		f.Add([]byte(s))
	}
	s := newServer(f, func(c *Config) { c.RateLimit, c.DailyLimit, c.NoIdempotency = -1, -1, true })
	f.Fuzz(func(t *testing.T, body []byte) {
		s.t = t
		s.log.Reset()
		w := s.sms(string(body))
		switch w.Code {
		case 201, 400, 404:
		case 403: // a body that has the form of a token is not signed
		default:
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
