package webhook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // G505: Twilio's signature is an HMAC of it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// twilioAPI is where the Messages resource is unless configured otherwise.
const twilioAPI = "https://api.twilio.com"

// serviceSID reports whether a sender is a messaging service.
func serviceSID(from string) bool { return strings.HasPrefix(from, "MG") && len(from) == 34 }

// twilioMembers name the sender: either a number or name, or a messaging service
// that chooses one.
var twilioMembers = []member{
	{"From", func(m delivery.Message) string {
		if serviceSID(m.From) {
			return ""
		}
		return m.From
	}},
	{"MessagingServiceSid", func(m delivery.Message) string {
		if serviceSID(m.From) {
			return m.From
		}
		return ""
	}},
}

func (cfg Config) filledTwilio() (Config, []member, error) {
	if cfg.Account == "" {
		cfg.Account = cfg.Username
	}
	switch {
	case cfg.Username == "" || cfg.Password == "" || cfg.Account == "":
		return cfg, nil, errors.New("webhook: the preset twilio needs a username (the account's SID) and a password (its token)")
	case cfg.From == "":
		return cfg, nil, errors.New("webhook: the preset twilio needs from: a number, a name or the SID of a messaging service")
	case cfg.Body != "" || cfg.Format == JSON:
		return cfg, nil, errors.New("webhook: the preset twilio excludes a body document and the format json")
	case cfg.StatusCallback == "" && !cfg.DeliveredOnAccept:
		return cfg, nil, errors.New("webhook: the preset twilio needs a status_callback, to learn of deliveries, or delivered_on_accept")
	}
	if cfg.StatusCallback != "" {
		u, err := url.Parse(cfg.StatusCallback)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return cfg, nil, errors.New("webhook: status_callback must be the absolute URL of this server's receipts, without user and password")
		}
	}
	if cfg.URL == "" {
		cfg.URL = twilioAPI
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return cfg, nil, errors.New("webhook: the URL can't be parsed")
	}
	if strings.Trim(u.Path, "/") == "" {
		cfg.URL = u.JoinPath("2010-04-01", "Accounts", cfg.Account, "Messages.json").String()
	}
	var members []member
	if len(cfg.Fields) == 0 {
		// The parameters of www.twilio.com/docs/messaging/api/message-resource.
		cfg.Fields, members = map[string]string{"To": "{to}", "Body": "{message}"}, twilioMembers
		if cfg.StatusCallback != "" {
			cfg.Fields["StatusCallback"] = literal(cfg.StatusCallback)
		}
	}
	cfg.Format = Form
	if cfg.ReferencePath == "" {
		cfg.ReferencePath = "sid"
	}
	return cfg, members, nil
}

// twilioFinal are the errors that speak of the message or its recipient, so that
// no other attempt can succeed, each described at
// www.twilio.com/docs/api/errors/<code>. All others, such as 21606 (the sender
// isn't the account's), 21608 (a trial account), 21611 (the sender's queue is
// full) and 21701 (no such messaging service), can be mended by the operator or
// by time, or another provider may do better. Twilio adds new codes from time to
// time, and a failure must not be blamed on a recipient without reason.
var twilioFinal = []int{
	21211, // the recipient is not a valid number
	21265, // the recipient is a short code
	21266, // the recipient is the sender
	21604, // no recipient
	21610, // the recipient has unsubscribed
	21614, // the recipient is not a mobile number
	21635, // the recipient is a landline
	21602, // no text
	21605, // the text is too long for the old API
	21617, // the text is too long
	21658, // a parameter is too long
}

// twilioAnswer is the part of Twilio's answers that matters here.
type twilioAnswer struct {
	Status    json.RawMessage `json:"status"` // of the message; a number in errors
	Code      int             `json:"code"`
	ErrorCode *int            `json:"error_code"`
}

func readTwilio(answer []byte) (a twilioAnswer) {
	if json.Unmarshal(answer, &a) != nil {
		return twilioAnswer{}
	}
	return a
}

// explainTwilio adds the error's code to the reason. It reports whether the
// error can be mended.
func explainTwilio(e *delivery.SendError, answer []byte) bool {
	code := readTwilio(answer).Code
	if code == 0 {
		return false
	}
	e.Reason += fmt.Sprintf(" (error %d)", code)
	return !slices.Contains(twilioFinal, code)
}

// twilioFailure finds messages that Twilio stored and failed at once.
func twilioFailure(answer []byte) error {
	a := readTwilio(answer)
	status := strings.Trim(string(a.Status), `"`)
	if !slices.Contains([]string{"failed", "undelivered", "canceled"}, status) {
		return nil
	}
	e := &delivery.SendError{Reason: "the provider took the message and reported " + status}
	if a.ErrorCode != nil {
		e.Reason += fmt.Sprintf(" (error %d)", *a.ErrorCode)
	}
	return e
}

// twilioStatuses are the words of a status callback that differ from the usual
// ones (www.twilio.com/docs/messaging/api/message-resource): what failed has not
// left Twilio, because of a full queue or a suspended account, while what is
// undelivered was refused further on.
var twilioStatuses = map[string]storage.Status{
	"scheduled": storage.StatusSending,
	"read":      storage.StatusDelivered,
	"canceled":  storage.StatusTechnicalFailure,
	"failed":    storage.StatusTechnicalFailure,
}

// twilioReasons are the error codes that say more than failed or undelivered.
var twilioReasons = map[string]storage.Status{
	"21610": storage.StatusPermanentFailure, // the recipient has unsubscribed
	"30003": storage.StatusTemporaryFailure, // the handset can't be reached
	"30005": storage.StatusPermanentFailure, // the number is not known to its network
	"30006": storage.StatusPermanentFailure, // a landline
}

// TwilioReceipts returns the part of the configuration of delivery.Receipts
// that Twilio's status callbacks need: forms with MessageSid, MessageStatus and
// ErrorCode, signed in X-Twilio-Signature with the account's token. callback is
// the StatusCallback of the Config, by which the signature is checked: it must
// be the very URL that Twilio calls, whatever stands in front of this server.
func TwilioReceipts(callback string, tokens ...string) (delivery.ReceiptsConfig, error) {
	signed, err := twilioCheck(callback, tokens)
	if err != nil {
		return delivery.ReceiptsConfig{}, err
	}
	return delivery.ReceiptsConfig{
		Signed:         signed,
		ReferenceField: "MessageSid",
		StatusField:    "MessageStatus",
		ReasonField:    "ErrorCode",
		StatusMap:      twilioStatuses,
		ReasonMap:      twilioReasons,
	}, nil
}

// TwilioInbound returns the part of the configuration of delivery.Inbound that
// Twilio's incoming messages need
// (www.twilio.com/docs/messaging/guides/webhook-request): forms with MessageSid,
// From, To and Body, signed as its receipts are. callback is the URL that Twilio
// has for the number, which it calls by POST. The answer tells it to send nothing
// back.
func TwilioInbound(callback string, tokens ...string) (delivery.InboundConfig, error) {
	signed, err := twilioCheck(callback, tokens)
	if err != nil {
		return delivery.InboundConfig{}, err
	}
	return delivery.InboundConfig{
		Signed:         signed,
		FromField:      "From",
		ToField:        "To",
		MessageField:   "Body",
		ReferenceField: "MessageSid",
		Answer:         "<Response></Response>",
		AnswerType:     "text/xml",
	}, nil
}

// twilioCheck returns the check of signatures of what Twilio posts to a URL.
func twilioCheck(callback string, tokens []string) (func(r *http.Request, body []byte) bool, error) {
	u, err := url.Parse(callback)
	if err != nil || u.Host == "" {
		return nil, errors.New("webhook: the URL that Twilio calls is not an absolute one")
	}
	if len(tokens) == 0 || slices.Contains(tokens, "") {
		return nil, errors.New("webhook: what Twilio posts is checked by the account's token, which is missing")
	}
	targets := twilioTargets(u)
	return func(r *http.Request, body []byte) bool {
		return twilioSigned(r.Header.Values("X-Twilio-Signature"), targets, tokens, body)
	}, nil
}

// twilioTargets are the ways in which Twilio may have written the URL when it
// signed: with the scheme's port and without it.
func twilioTargets(u *url.URL) []string {
	own := u.String()
	port := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	other := *u
	switch u.Port() {
	case "":
		other.Host = u.Host + ":" + port
	case port:
		other.Host = strings.TrimSuffix(u.Host, ":"+port)
	default:
		return []string{own}
	}
	return []string{own, other.String()}
}

// twilioSigned checks a signature as www.twilio.com/docs/usage/webhooks/webhooks-security
// describes it: the base64 of the HMAC-SHA1, under the account's token, of the
// URL followed by the form's names and values, sorted by name.
func twilioSigned(lines, targets, tokens []string, body []byte) bool {
	if len(lines) != 1 {
		return false
	}
	got, err := base64.StdEncoding.DecodeString(lines[0])
	if err != nil {
		return false
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return false
	}
	var signed strings.Builder
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range slices.Compact(slices.Sorted(slices.Values(form[name]))) {
			signed.WriteString(name + value)
		}
	}
	ok := false
	for _, token := range tokens {
		for _, target := range targets {
			mac := hmac.New(sha1.New, []byte(token))
			mac.Write([]byte(target + signed.String()))
			ok = hmac.Equal(mac.Sum(nil), got) || ok
		}
	}
	return ok
}
