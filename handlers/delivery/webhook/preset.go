package webhook

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Preset names a shape that many APIs of SMS gateways have.
type Preset string

// The presets.
const (
	// Generic is a JSON object with to, message, reference and channel, and with
	// subject, from, reply_to and unsubscribe_url where the message has them.
	Generic Preset = "generic"
	// FormPost is a form with the same fields. Such APIs mostly want Basic
	// authentication.
	FormPost Preset = "form"
	// Twilio is Twilio's Messages resource and what imitates it: a form with To,
	// From or MessagingServiceSid, Body and StatusCallback, posted to
	// /2010-04-01/Accounts/<sid>/Messages.json with Basic authentication. The
	// answer's sid is the provider's reference.
	Twilio Preset = "twilio"
)

// filled returns the configuration with what its preset says, and the members
// that join its fields.
func (cfg Config) filled() (Config, []member, error) {
	if own := cfg.Body + strings.Join(slices.Collect(maps.Values(cfg.Fields)), ""); cfg.Preset != Twilio && cfg.From != "" && own != "" && !strings.Contains(own, "{from}") {
		return cfg, nil, errors.New("webhook: from is given, and the fields or body have no {from} to hold it")
	}
	switch cfg.Preset {
	case "", Generic:
		return cfg, nil, cfg.onlyTwilio()
	case FormPost:
		if cfg.Body != "" || cfg.Format == JSON {
			return cfg, nil, errors.New("webhook: the preset form excludes a body document and the format json")
		}
		cfg.Format = Form
		return cfg, nil, cfg.onlyTwilio()
	case Twilio:
		return cfg.filledTwilio()
	}
	return cfg, nil, fmt.Errorf("webhook: unknown preset %q, known are generic, form and twilio", cfg.Preset)
}

func (cfg Config) onlyTwilio() error {
	if cfg.Account != "" || cfg.StatusCallback != "" {
		return errors.New("webhook: account and status_callback belong to the preset twilio")
	}
	return nil
}

// literal makes a template of a text.
func literal(s string) string {
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(s)
}
