package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // G505: Twilio's choice
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func TestFormPreset(t *testing.T) {
	s := newStub(t, func(w http.ResponseWriter, r *http.Request) {
		// What such an API documents: Basic authentication, a form, its fields.
		user, password, ok := r.BasicAuth()
		if !ok || user != "booking" || password != "p:ä s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	p := newProvider(t, Config{Preset: FormPost, URL: s.URL + "/sms/send", Username: "booking", Password: "p:ä s3cret", From: "{Booking}"})
	_, err := p.Send(t.Context(), message)
	require.NoError(t, err)
	got := s.requests()[0]
	assert.Equal(t, http.MethodPost, got.method)
	assert.Equal(t, "/sms/send", got.path)
	assert.Equal(t, "application/x-www-form-urlencoded", got.header.Get("Content-Type"))
	form, err := url.ParseQuery(got.body)
	require.NoError(t, err)
	assert.Equal(t, url.Values{
		"to": {message.To}, "from": {"{Booking}"}, "message": {message.Body}, "reference": {message.Reference}, "channel": {"sms"},
	}, form)

	// Own fields replace the preset's.
	p = newProvider(t, Config{Preset: FormPost, URL: s.URL, Username: "booking", Password: "p:ä s3cret", Fields: map[string]string{"msisdn": "{to}"}})
	_, err = p.Send(t.Context(), message)
	require.NoError(t, err)
	assert.Equal(t, "msisdn=%2B447700900417", s.requests()[1].body)
}

const (
	twilioSID   = "AC0123456789abcdef0123456789abcdef"
	twilioToken = "0123456789abcdef0123456789abcdef" //nolint:gosec // an example
	twilioHook  = "https://notify.example.org/receipts/twilio"
)

// twilioAPIStub checks requests as Twilio documents its Messages resource, and
// answers as it does.
func twilioAPIStub(t *testing.T, answer string) *stub {
	return newStub(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		user, password, _ := r.BasicAuth()
		switch {
		case r.Method != http.MethodPost || r.URL.Path != "/2010-04-01/Accounts/"+twilioSID+"/Messages.json":
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"code":20404,"message":"The requested resource was not found","status":404}`))
		case user != twilioSID || password != twilioToken:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"code":20003,"message":"Authenticate","status":401}`))
		case strings.HasPrefix(answer, `{"code"`):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(answer))
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(answer))
		}
	})
}

func twilioConfig(s *stub) Config {
	return Config{
		Preset: Twilio, URL: s.URL, Username: twilioSID, Password: twilioToken, From: "+15017122661", StatusCallback: twilioHook,
	}
}

func TestTwilio(t *testing.T) {
	const sid = "SM0123456789abcdef0123456789abcdef"
	s := twilioAPIStub(t, `{"account_sid":"`+twilioSID+`","body":"x","error_code":null,"error_message":null,"num_segments":"1","sid":"`+sid+`","status":"queued"}`)
	sent, err := newProvider(t, twilioConfig(s)).Send(t.Context(), message)
	require.NoError(t, err)
	assert.Equal(t, delivery.Sent{Reference: sid}, sent)
	got := s.requests()[0]
	assert.Equal(t, "application/x-www-form-urlencoded", got.header.Get("Content-Type"))
	form, err := url.ParseQuery(got.body)
	require.NoError(t, err)
	assert.Equal(t, url.Values{
		"To": {message.To}, "From": {"+15017122661"}, "Body": {message.Body}, "StatusCallback": {twilioHook},
	}, form)

	// The message's own sender goes before.
	m := message
	m.From = "BOOKING"
	_, err = newProvider(t, twilioConfig(s)).Send(t.Context(), m)
	require.NoError(t, err)
	form, err = url.ParseQuery(s.requests()[1].body)
	require.NoError(t, err)
	assert.Equal(t, "BOOKING", form.Get("From"))

	// A messaging service, the key of an API user, the whole path, no receipts.
	cfg := twilioConfig(s)
	cfg.From, cfg.Account, cfg.StatusCallback, cfg.DeliveredOnAccept = "MG0123456789abcdef0123456789abcdef", twilioSID, "", true
	cfg.URL += "/2010-04-01/Accounts/" + twilioSID + "/Messages.json"
	sent, err = newProvider(t, cfg).Send(t.Context(), message)
	require.NoError(t, err)
	assert.Equal(t, delivery.Sent{Reference: sid, Delivered: true}, sent)
	form, err = url.ParseQuery(s.requests()[2].body)
	require.NoError(t, err)
	assert.Equal(t, url.Values{"To": {message.To}, "MessagingServiceSid": {cfg.From}, "Body": {message.Body}}, form)

	_, err = newProvider(t, cfg).Send(t.Context(), m)
	require.NoError(t, err)
	form, err = url.ParseQuery(s.requests()[3].body)
	require.NoError(t, err)
	assert.Equal(t, url.Values{"To": {message.To}, "From": {"BOOKING"}, "Body": {message.Body}}, form, "instead of the service")

	cfg = twilioConfig(s)
	cfg.URL = ""
	p, err := New(cfg)
	require.NoError(t, err)
	assert.Equal(t, "https://api.twilio.com/2010-04-01/Accounts/"+twilioSID+"/Messages.json", p.url)
}

func TestTwilioFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		answer    string
		change    func(*Config)
		reason    string
		permanent bool
	}{
		"invalid number": {
			`{"code":21211,"message":"The 'To' number +447700900417 is not a valid phone number.","more_info":"https://x","status":400}`, nil,
			"the provider answered 400 (error 21211)", true,
		},
		"unsubscribed":          {`{"code":21610,"message":"x","status":400}`, nil, "the provider answered 400 (error 21610)", true},
		"sender not ours":       {`{"code":21606,"message":"x","status":400}`, nil, "the provider answered 400 (error 21606)", false},
		"queue full":            {`{"code":21611,"message":"x","status":400}`, nil, "the provider answered 400 (error 21611)", false},
		"landline":              {`{"code":21635,"message":"x","status":400}`, nil, "the provider answered 400 (error 21635)", true},
		"too long":              {`{"code":21617,"message":"x","status":400}`, nil, "the provider answered 400 (error 21617)", true},
		"a country not enabled": {`{"code":21408,"message":"x","status":400}`, nil, "the provider answered 400 (error 21408)", false},
		"an error yet unknown":  {`{"code":29999,"message":"x","status":400}`, nil, "the provider answered 400 (error 29999)", false},
		"wrong token":           {`{}`, func(c *Config) { c.Password = "x" }, "the provider answered 401 (error 20003)", false},
		"wrong account":         {`{}`, func(c *Config) { c.Account = "AC1" }, "the provider answered 404 (error 20404)", false},
		"failed at once":        {`{"sid":"SM1","status":"failed","error_code":30007}`, nil, "the provider took the message and reported failed (error 30007)", false},
		"failed without a code": {`{"sid":"SM1","status":"undelivered","error_code":null}`, nil, "the provider took the message and reported undelivered", false},
	} {
		cfg := twilioConfig(twilioAPIStub(t, tc.answer))
		if tc.change != nil {
			tc.change(&cfg)
		}
		_, err := newProvider(t, cfg).Send(t.Context(), message)
		var failure *delivery.SendError
		require.ErrorAs(t, err, &failure, name)
		assert.Equal(t, tc.reason, failure.Reason, name)
		assert.Equal(t, tc.permanent, failure.Permanent, name)
		assert.False(t, failure.Uncertain, name)
	}
}

// The example of Twilio's own libraries.
func TestTwilioSignature(t *testing.T) {
	const callback, token, signature = "https://mycompany.com/myapp.php?foo=1&bar=2", "12345", "RSOYDt4T1cUTdK1PDd93/VVr8B8="
	form := url.Values{
		"From": {"+14158675309"}, "To": {"+18005551212"}, "CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675309"}, "Digits": {"1234"},
	}
	u, err := url.Parse(callback)
	require.NoError(t, err)
	body := []byte(form.Encode())
	for name, tc := range map[string]struct {
		lines  []string
		target []string
		tokens []string
		body   []byte
		want   bool
	}{
		"example":        {[]string{signature}, twilioTargets(u), []string{token}, body, true},
		"second token":   {[]string{signature}, twilioTargets(u), []string{"x", token}, body, true},
		"other token":    {[]string{signature}, twilioTargets(u), []string{"x"}, body, false},
		"other URL":      {[]string{signature}, []string{"https://mycompany.com/"}, []string{token}, body, false},
		"other body":     {[]string{signature}, twilioTargets(u), []string{token}, append(body, "&x=y"...), false},
		"no signature":   {nil, twilioTargets(u), []string{token}, body, false},
		"two signatures": {[]string{signature, signature}, twilioTargets(u), []string{token}, body, false},
		"not base64":     {[]string{"!" + signature}, twilioTargets(u), []string{token}, body, false},
		"empty":          {[]string{""}, twilioTargets(u), []string{token}, body, false},
		"not a form":     {[]string{signature}, twilioTargets(u), []string{token}, []byte("%zz"), false},
	} {
		assert.Equal(t, tc.want, twilioSigned(tc.lines, tc.target, tc.tokens, tc.body), name)
	}
	for text, want := range map[string][]string{
		"https://a.example/x":      {"https://a.example/x", "https://a.example:443/x"},
		"https://a.example:443/x":  {"https://a.example:443/x", "https://a.example/x"},
		"http://a.example/x":       {"http://a.example/x", "http://a.example:80/x"},
		"https://a.example:8443/x": {"https://a.example:8443/x"},
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		assert.Equal(t, want, twilioTargets(u))
	}
}

// signTwilio signs as Twilio describes it.
func signTwilio(callback, token string, form url.Values) string {
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	sort.Strings(names)
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(callback))
	for _, name := range names {
		mac.Write([]byte(name + form.Get(name)))
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sentByTwilio returns a store with a notification that Twilio has taken.
func sentByTwilio(t *testing.T, sid string) (*memory.Store, storage.Notification) {
	t.Helper()
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	now := time.Now()
	c, err := store.Create(t.Context(), storage.Creation{Notification: storage.Notification{
		UUID: uuid.New(), ServiceID: "a", Channel: storage.SMS, To: message.To, Sender: "twilio", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}})
	require.NoError(t, err)
	claims, err := store.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.NoError(t, store.Complete(t.Context(), claims[0], storage.Outcome{Status: storage.StatusSending, ProviderReference: sid, At: now}))
	return store, c.Notification
}

func newReceipts(t *testing.T, store *memory.Store) *delivery.Receipts {
	t.Helper()
	cfg, err := TwilioReceipts(twilioHook, twilioToken)
	require.NoError(t, err)
	cfg.Outbox, cfg.Sender = store, "twilio"
	h, err := delivery.NewReceipts(cfg)
	require.NoError(t, err)
	return h
}

// A message comes in, signed, and nothing is sent back.
func TestTwilioInbound(t *testing.T) {
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	cfg, err := TwilioInbound(twilioHook, twilioToken)
	require.NoError(t, err)
	cfg.Store, cfg.Provider = store, "twilio"
	cfg.ServiceOf = func(_ context.Context, number string) (string, error) {
		if number != "+18005551212" {
			return "", storage.ErrNotFound
		}
		return "a", nil
	}
	h, err := delivery.NewInbound(cfg)
	require.NoError(t, err)
	form := url.Values{
		"MessageSid": {"SM1"}, "SmsSid": {"SM1"}, "AccountSid": {twilioSID}, "From": {"+14158675309"}, "To": {"+18005551212"},
		"Body": {"Yes, please ✓"}, "NumMedia": {"0"}, "NumSegments": {"1"}, "ApiVersion": {"2010-04-01"},
	}
	for token, want := range map[string]int{"other": http.StatusForbidden, twilioToken: http.StatusOK} {
		r := httptest.NewRequest(http.MethodPost, "/inbound/twilio", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Twilio-Signature", signTwilio(twilioHook, token, form))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		assert.Equal(t, want, rec.Code)
		if want == http.StatusOK {
			assert.Equal(t, "<Response></Response>", rec.Body.String())
			assert.Equal(t, "text/xml", rec.Header().Get("Content-Type"))
		}
	}
	got, err := store.Inbound(t.Context(), storage.InboundQuery{ServiceID: "a"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, "Yes, please ✓", got[0].Content)
	assert.Equal(t, "+14158675309", got[0].UserNumber)
	assert.Equal(t, "SM1", got[0].Reference)
	_, err = TwilioInbound("/inbound", twilioToken)
	require.Error(t, err)
}

// A message goes out, and its status callbacks come back, signed.
func TestTwilioReceipts(t *testing.T) {
	store, n := sentByTwilio(t, "SM1")
	h := newReceipts(t, store)
	post := func(form url.Values, token string) int {
		body := form.Encode()
		r := httptest.NewRequest(http.MethodPost, "/receipts/twilio", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		r.Header.Set("X-Twilio-Signature", signTwilio(twilioHook, token, form))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Code
	}
	form := func(status string) url.Values {
		return url.Values{
			"MessageSid": {"SM1"}, "MessageStatus": {status}, "SmsSid": {"SM1"}, "SmsStatus": {status}, "To": {message.To},
			"From": {"+15017122661"}, "AccountSid": {twilioSID}, "ApiVersion": {"2010-04-01"},
		}
	}
	state := func() storage.Notification {
		got, err := store.NotificationByID(t.Context(), n.ServiceID, n.ID)
		require.NoError(t, err)
		return got
	}
	assert.Equal(t, http.StatusForbidden, post(form("delivered"), "other"))
	assert.Equal(t, storage.StatusSending, state().Status)
	for _, status := range []string{"sent", "undelivered", "delivered"} {
		f := form(status)
		if status == "undelivered" {
			f.Set("ErrorCode", "30003")
		}
		assert.Equal(t, http.StatusNoContent, post(f, twilioToken))
	}
	got := state()
	assert.Equal(t, storage.StatusTemporaryFailure, got.Status, "forward only")
	assert.Equal(t, "30003", got.Reason)
	for i, tc := range []struct {
		status, code string
		want         storage.Status
	}{
		{"undelivered", "30005", storage.StatusPermanentFailure},
		{"undelivered", "30007", storage.StatusTemporaryFailure},
		{"failed", "30001", storage.StatusTechnicalFailure},
		{"failed", "21610", storage.StatusPermanentFailure},
		{"canceled", "", storage.StatusTechnicalFailure},
		{"read", "", storage.StatusDelivered},
	} {
		sid := fmt.Sprintf("SM%d", 100+i)
		store, n = sentByTwilio(t, sid)
		h = newReceipts(t, store)
		f := form(tc.status)
		f.Set("MessageSid", sid)
		f.Set("ErrorCode", tc.code)
		assert.Equal(t, http.StatusNoContent, post(f, twilioToken))
		assert.Equal(t, tc.want, state().Status, "%s %s", tc.status, tc.code)
	}
	f := form("delivered")
	f.Set("MessageSid", uuid.NewString())
	assert.Equal(t, http.StatusNotFound, post(f, twilioToken))

	for _, bad := range []func() error{
		func() error { _, err := TwilioReceipts("/receipts", twilioToken); return err },
		func() error { _, err := TwilioReceipts(twilioHook); return err },
		func() error { _, err := TwilioReceipts(twilioHook, ""); return err },
	} {
		require.Error(t, bad())
	}
}

func TestPresetsAreChecked(t *testing.T) {
	twilio := func(change func(*Config)) func(*Config) {
		return func(c *Config) {
			*c = Config{Preset: Twilio, Username: twilioSID, Password: "s3cret", From: "+1", StatusCallback: twilioHook}
			change(c)
		}
	}
	for want, change := range map[string]func(*Config){
		`unknown preset "x"`:                   func(c *Config) { c.Preset = "x" },
		"have no {from} to hold it":            func(c *Config) { c.From, c.Fields = "x", map[string]string{"to": "{to}"} },
		"or body have no {from}":               func(c *Config) { c.From, c.Body = "x", `{"to":"{to}"}` },
		"belong to the preset twilio":          func(c *Config) { c.StatusCallback = twilioHook },
		"preset form excludes":                 func(c *Config) { c.Preset, c.Format = FormPost, JSON },
		"user name without a colon":            func(c *Config) { c.Username = "a:b" },
		"needs a user name":                    func(c *Config) { c.Password = "s3cret" },
		"one of them must go":                  func(c *Config) { c.Username, c.Headers = "a", map[string]string{"authorization": "s3cret"} },
		"needs a username":                     twilio(func(c *Config) { c.Password = "" }),
		"needs from":                           twilio(func(c *Config) { c.From = "" }),
		"needs a status_callback":              twilio(func(c *Config) { c.StatusCallback = "" }),
		"status_callback must be the absolute": twilio(func(c *Config) { c.StatusCallback = "https://u:s3cret@x/" }),
		"preset twilio excludes":               twilio(func(c *Config) { c.Body = "{}" }),
		"the URL can't be parsed":              twilio(func(c *Config) { c.URL = "https://%zz" }),
	} {
		cfg := Config{URL: "https://sms.example.org/"}
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

func TestLostAnswersAreUncertain(t *testing.T) {
	s := newStub(t, drop)
	_, err := newProvider(t, Config{URL: s.URL, IdempotencyHeader: "off"}).Send(t.Context(), message)
	var failure *delivery.SendError
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.Uncertain, "it had the request")
	s.Close()
	_, err = newProvider(t, Config{URL: s.URL}).Send(t.Context(), message)
	require.ErrorAs(t, err, &failure)
	assert.False(t, failure.Uncertain, "nobody was there")
	s = newStub(t, status(503))
	_, err = newProvider(t, Config{URL: s.URL}).Send(t.Context(), message)
	require.ErrorAs(t, err, &failure)
	assert.False(t, failure.Uncertain, "it said no")
}
