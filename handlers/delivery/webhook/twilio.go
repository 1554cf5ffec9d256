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

func (cfg Config) filledTwilio() (Config, map[string]string, error) {
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
	if len(cfg.Fields) == 0 {
		from := "From"
		if strings.HasPrefix(cfg.From, "MG") && len(cfg.From) == 34 {
			from = "MessagingServiceSid"
		}
		cfg.Fields = map[string]string{"To": "{to}", from: literal(cfg.From), "Body": "{message}"}
		if cfg.StatusCallback != "" {
			cfg.Fields["StatusCallback"] = literal(cfg.StatusCallback)
		}
	}
	cfg.Format = Form
	if cfg.ReferencePath == "" {
		cfg.ReferencePath = "sid"
	}
	return cfg, nil, nil
}

// twilioMendable are the errors that Twilio answers by 400 although another
// attempt, or another provider, may succeed: they speak of the sender, the
// account or the load, and not of the message or its recipient.
var twilioMendable = []int{
	20429,                             // too many requests
	21212,                             // invalid From
	21603,                             // From is missing
	21606,                             // From is not the account's
	21608,                             // recipient not verified, in a trial account
	21611,                             // the sender's queue is full
	21659,                             // From is not a number of the account
	21660,                             // From and account don't match
	21701, 21702, 21703, 21704, 21705, // the messaging service is not usable
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
	return slices.Contains(twilioMendable, code)
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

// TwilioReceipts returns the part of the configuration of delivery.Receipts
// that Twilio's status callbacks need: forms with MessageSid, MessageStatus and
// ErrorCode, signed in X-Twilio-Signature with the account's token. callback is
// the StatusCallback of the Config, by which the signature is checked: it must
// be the very URL that Twilio calls, whatever stands in front of this server.
func TwilioReceipts(callback string, tokens ...string) (delivery.ReceiptsConfig, error) {
	u, err := url.Parse(callback)
	if err != nil || u.Host == "" {
		return delivery.ReceiptsConfig{}, errors.New("webhook: the status callback is not an absolute URL")
	}
	if len(tokens) == 0 || slices.Contains(tokens, "") {
		return delivery.ReceiptsConfig{}, errors.New("webhook: Twilio's receipts are checked by the account's token, which is missing")
	}
	targets := twilioTargets(u)
	return delivery.ReceiptsConfig{
		Signed: func(r *http.Request, body []byte) bool {
			return twilioSigned(r.Header.Values("X-Twilio-Signature"), targets, tokens, body)
		},
		ReferenceField: "MessageSid",
		StatusField:    "MessageStatus",
		ReasonField:    "ErrorCode",
		StatusMap: map[string]storage.Status{
			"scheduled": storage.StatusSending,
			"read":      storage.StatusDelivered,
			"canceled":  storage.StatusTechnicalFailure,
		},
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

// twilioSigned checks a signature: the base64 of the HMAC-SHA1, under the
// account's token, of the URL followed by the form's names and values, sorted
// by name.
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
