package notifications

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	maxReference = 1000 // characters
	maxURL       = 2000 // bytes
	scheduleFor  = 24 * time.Hour
)

// v2Message is the body of a POST that sends, as far as it has been read.
type v2Message struct {
	to        recipientOf
	template  string // UUID in lower case
	values    message.Values
	hasFile   bool // personalisation holds a file to be sent
	reference string
	sender    string // sms_sender_id or email_reply_to_id, as it was written
	scheduled time.Time
	unsubURL  string
}

// recipientOf is a recipient who has been checked.
type recipientOf struct {
	channel  storage.Channel
	supplied string
	address  string          // normalised
	phone    recipient.Phone // text messages only
}

var (
	v2SMSSchema = v2Schema[v2Message]{
		{name: "reference", read: (*API).readReference},
		{name: "phone_number", required: true, read: (*API).readPhone},
		{name: "template_id", required: true, read: (*API).readTemplateID},
		{name: "personalisation", read: (*API).readPersonalisation},
		{name: "scheduled_for", read: (*API).readSchedule},
		{name: "sms_sender_id", read: (*API).readSender},
	}
	v2EmailSchema = v2Schema[v2Message]{
		{name: "reference", read: (*API).readReference},
		{name: "email_address", required: true, read: (*API).readEmail},
		{name: "template_id", required: true, read: (*API).readTemplateID},
		{name: "personalisation", read: (*API).readPersonalisation},
		{name: "scheduled_for", read: (*API).readSchedule},
		{name: "email_reply_to_id", read: (*API).readSender},
		{name: "one_click_unsubscribe_url", read: (*API).readUnsubscribe},
		{name: "sanitise_content_for", read: (*API).readSanitise},
	}
	v2LetterSchema = v2Schema[v2Message]{
		{name: "reference", read: (*API).readReference},
		{name: "template_id", required: true, read: (*API).readTemplateID},
		{name: "personalisation", required: true, read: (*API).readPersonalisation},
	}
	v2PrecompiledSchema = v2Schema[v2Message]{
		{name: "reference", required: true, read: (*API).readReference},
		{name: "content", required: true, read: (*API).readText},
		{name: "postage", read: (*API).readPostage},
	}
)

func (*API) readText(_ *v2Message, v jsonValue) string {
	if v.kind != jws.KindString {
		return notOfType(v, "string")
	}
	return ""
}

func (*API) readReference(m *v2Message, v jsonValue) string {
	switch {
	case v.kind != jws.KindString:
		return notOfType(v, "string")
	case utf8.RuneCountInString(v.text) > maxReference:
		return v.quoted() + " is too long"
	case message.HasControl(v.text):
		return "must not contain control characters"
	}
	m.reference = v.text
	return ""
}

func (a *API) readPhone(m *v2Message, v jsonValue) string {
	if v.kind != jws.KindString {
		return notOfType(v, "string")
	}
	phone, err := a.phones.Parse(v.text)
	if err != nil {
		return v2PhoneText(err)
	}
	m.to = recipientOf{channel: storage.SMS, supplied: v.text, address: phone.Number, phone: phone}
	return ""
}

func v2PhoneText(err error) string {
	if e, ok := err.(recipient.PhoneError); ok { //nolint:errorlint // Parse documents it
		return e.Text()
	}
	return err.Error()
}

func (*API) readEmail(m *v2Message, v jsonValue) string {
	if v.kind != jws.KindString {
		return notOfType(v, "string")
	}
	address, err := recipient.NormaliseEmail(v.text)
	if err != nil {
		return err.Error()
	}
	m.to = recipientOf{channel: storage.Email, supplied: v.text, address: address}
	return ""
}

const textNotUUID = "is not a valid UUID"

func (*API) readTemplateID(m *v2Message, v jsonValue) string {
	id, ok := v2UUID(v)
	if !ok {
		return textNotUUID
	}
	m.template = id.String()
	return ""
}

func (*API) readSender(m *v2Message, v jsonValue) string {
	if _, ok := v2UUID(v); !ok {
		return textNotUUID
	}
	m.sender = v.text
	return ""
}

func v2UUID(v jsonValue) (uuid.UUID, bool) {
	if v.kind != jws.KindString {
		return uuid.Nil, false
	}
	return parseUUID(v.text)
}

func (*API) readUnsubscribe(m *v2Message, v jsonValue) string {
	if v.kind == jws.KindNull {
		return ""
	}
	if v.kind != jws.KindString || !httpsURL(v.text) {
		return "is not a valid https url"
	}
	m.unsubURL = v.text
	return ""
}

// httpsURL reports whether a text is an https URL that can stand in a header:
// without blanks, quotes, angle brackets and characters outside ASCII.
func httpsURL(text string) bool {
	if len(text) > maxURL || strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r)
	}) {
		return false
	}
	u, err := url.Parse(text)
	return err == nil && strings.EqualFold(u.Scheme, "https") && u.Hostname() != "" && u.User == nil
}

// readSanitise checks the names of values that are to be sanitised. No value
// has a meaning besides its text here, so that there is nothing to be done.
func (*API) readSanitise(_ *v2Message, v jsonValue) string {
	switch v.kind {
	case jws.KindNull:
		return ""
	case jws.KindArray:
	default:
		return notOfType(v, "array, null")
	}
	for _, item := range v.items {
		if item.kind != jws.KindString {
			return notOfType(item, "string")
		}
	}
	return ""
}

func (*API) readPostage(_ *v2Message, v jsonValue) string {
	switch {
	case v.kind != jws.KindString:
		return notOfType(v, "string")
	case v.text != "first" && v.text != "second" && v.text != "economy":
		return "invalid. It must be first, second or economy."
	}
	return ""
}

const (
	textNoTime = "datetime format is invalid. It must be a valid ISO8601 date time format, https://en.wikipedia.org/wiki/ISO_8601"
	textPast   = "datetime can not be in the past"
	textFuture = "datetime can only be 24 hours in the future"
)

func (a *API) readSchedule(m *v2Message, v jsonValue) string {
	switch v.kind {
	case jws.KindNull:
		return ""
	case jws.KindString:
	default:
		return notOfType(v, "string, null")
	}
	at, ok := iso8601(v.text)
	now := a.now()
	switch {
	case !ok:
		return textNoTime
	case at.Before(now):
		return textPast
	case at.After(now.Add(scheduleFor)):
		return textFuture
	}
	m.scheduled = storage.Micro(at)
	return ""
}

// iso8601 reads a date and time of ISO 8601, in the extended or basic form, with
// T or a blank between them; a time without a zone is UTC, and a date alone its
// beginning.
func iso8601(text string) (time.Time, bool) {
	if len(text) > len("2006-01-02T15:04:05.000000000+00:00")+10 {
		return time.Time{}, false
	}
	text = strings.Replace(strings.ToUpper(text), " ", "T", 1)
	for _, date := range []string{"2006-01-02", "20060102"} {
		for _, clock := range []string{"", "T15:04:05", "T15:04", "T150405", "T1504", "T15"} {
			zones := []string{"", "Z07:00", "Z0700", "Z07"}
			if clock == "" {
				zones = zones[:1]
			}
			for _, zone := range zones {
				// Parse takes a fraction of a second though the layout has none.
				if t, err := time.Parse(date+clock+zone, text); err == nil {
					return t.UTC(), true
				}
			}
		}
	}
	return time.Time{}, false
}
