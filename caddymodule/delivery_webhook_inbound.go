package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/webhook"
)

// WebhookInbound says how a provider hands over text messages that it has
// received. They go to the service whose `inbound_numbers` have the number that
// they were sent to.
type WebhookInbound struct {
	// The secrets, any of which the provider must send as bearer token or as the
	// password of Basic authentication: at least 32 characters each. With the
	// preset `twilio` they are tokens of the account, under which the messages
	// are signed; then the default is `password`.
	Secrets []Secret `json:"secrets,omitempty"`

	// With the preset `twilio`, where it is required: the URL that Twilio has for
	// the number, this server's `/inbound/<name>` as it is reached from outside,
	// to the letter, since it is part of Twilio's signature. It may be a
	// placeholder.
	URL string `json:"url,omitempty"`

	// The field with the number of who has sent the message; in JSON it may be a
	// path such as `message.from`. The default is `from`.
	FromField string `json:"from_field,omitempty"`

	// The field with the number that it was sent to. The default is `to`.
	ToField string `json:"to_field,omitempty"`

	// The field with the text. The default is `message`.
	MessageField string `json:"message_field,omitempty"`

	// The field with the provider's reference, by which a message that comes
	// twice is known. The default is `reference`.
	ReferenceField string `json:"reference_field,omitempty"`

	// The field with the time at which the message was received, as RFC 3339 or
	// in seconds since 1970. By default it is that of the request.
	TimeField string `json:"time_field,omitempty"`

	// How long messages are kept. The default is 168h.
	Retention caddy.Duration `json:"retention,omitempty"`
}

func (w *DeliveryWebhook) provisionInbound(ctx caddy.Context) error {
	if w.Inbound == nil {
		return nil
	}
	if err := w.checkInbound(); err != nil {
		return err
	}
	for _, s := range w.Inbound.Secrets {
		secret, err := s.expandKey("the secret of received messages", ctx.Logger())
		if err != nil {
			return err
		}
		w.taking.secrets = append(w.taking.secrets, secret)
	}
	if len(w.taking.secrets) == 0 { // which twilio alone may leave out
		w.taking.secrets = []string{w.config.Password}
	}
	url, err := caddy.NewReplacer().ReplaceOrErr(w.Inbound.URL, true, true)
	if err != nil {
		return fmt.Errorf("the url of received messages: %w", err)
	}
	w.taking.url = strings.TrimSpace(url)
	return nil
}

// checkInbound says what the block lacks.
func (w *DeliveryWebhook) checkInbound() error {
	twilio := w.Preset == string(webhook.Twilio)
	switch {
	case w.Inbound == nil:
		return nil
	case len(w.Inbound.Secrets) == 0 && !twilio:
		return errors.New("inbound needs a secret: without one anybody could make up messages")
	case w.Inbound.URL == "" && twilio:
		return errors.New("inbound needs the url that Twilio has for the number: it is part of Twilio's signature")
	case w.Inbound.URL != "" && !twilio:
		return errors.New("the url of inbound belongs to the preset twilio: others are told to post to /inbound/<name>")
	}
	return nil
}

// inbound implements receiver.
func (w *DeliveryWebhook) inbound(cfg delivery.InboundConfig) (http.Handler, error) {
	if w.Inbound == nil {
		return nil, nil
	}
	if w.Preset == string(webhook.Twilio) {
		own, err := webhook.TwilioInbound(w.taking.url, w.taking.secrets...)
		if err != nil {
			return nil, err
		}
		own.Store, own.ServiceOf, own.Now = cfg.Store, cfg.ServiceOf, cfg.Now
		cfg = own
	} else {
		cfg.Secrets = w.taking.secrets
	}
	for field, name := range map[*string]string{
		&cfg.FromField: w.Inbound.FromField, &cfg.ToField: w.Inbound.ToField, &cfg.MessageField: w.Inbound.MessageField,
		&cfg.ReferenceField: w.Inbound.ReferenceField, &cfg.TimeField: w.Inbound.TimeField,
	} {
		if name != "" {
			*field = name
		}
	}
	cfg.Provider, cfg.Retention, cfg.Logger = w.Name, time.Duration(w.Inbound.Retention), w.logger
	return delivery.NewInbound(cfg)
}

// unmarshalInbound reads the block of a DeliveryWebhook.
func (w *DeliveryWebhook) unmarshalInbound(d *caddyfile.Dispenser) error {
	if w.Inbound != nil {
		return d.Err("inbound is given twice")
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	i := new(WebhookInbound)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "secret":
			var s Secret
			err = secretOption(d, &s)
			i.Secrets = append(i.Secrets, s)
		case "url":
			err = textOption(d, &i.URL)
		case "from_field":
			err = textOption(d, &i.FromField)
		case "to_field":
			err = textOption(d, &i.ToField)
		case "message_field":
			err = textOption(d, &i.MessageField)
		case "reference_field":
			err = textOption(d, &i.ReferenceField)
		case "time_field":
			err = textOption(d, &i.TimeField)
		case "retention":
			err = durationOption(d, &i.Retention)
		default:
			err = unknownOption(d, "inbound", "secret", "url", "from_field", "to_field", "message_field", "reference_field", "time_field", "retention")
		}
		if err != nil {
			return err
		}
	}
	w.Inbound = i
	return nil
}
