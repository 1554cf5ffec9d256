package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/webhook"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// DeliveryWebhook calls an HTTP API for each notification. Calls that may
// succeed later (a broken connection, a time-out, a status such as 429 or 503)
// are retried with the same reference, so that the API can drop twins.
type DeliveryWebhook struct {
	// The name of the provider, which notifications carry as their sender. It
	// stands in the path of receipts and labels metrics; two providers need two
	// names. A notification that waits is only sent by the providers of its
	// channel while the name that it carries is one of theirs. The default is
	// `webhook`.
	Name string `json:"name,omitempty"`

	// The shape of the API: `generic` (JSON, the default), `form` (a form with
	// the same fields, mostly with `username` and `password`) or `twilio`
	// (Twilio's Messages resource and what imitates it). It says what is left
	// out below.
	Preset string `json:"preset,omitempty"`

	// The user name of Basic authentication; with `twilio` the SID of the
	// account, or that of an API key. It may be a placeholder.
	Username string `json:"username,omitempty"`

	// The password of Basic authentication; with `twilio` the token. Write a
	// placeholder, `{env.NAME}` or `{file./path}`.
	Password Secret `json:"password,omitempty"`

	// The SID of the Twilio account, when `username` is that of an API key. The
	// default is `username`.
	Account string `json:"account,omitempty"`

	// The number, name or address that recipients see when the service has none
	// of its own; with `twilio` also the SID of a messaging service. Own `fields`
	// and an own `body` need `{from}` for it.
	From string `json:"from,omitempty"`

	// The URL to which Twilio posts its receipts: this server's
	// `/receipts/<name>` as it is reached from outside, to the letter, since it
	// is part of Twilio's signature.
	StatusCallback string `json:"status_callback,omitempty"`

	// The URL to call; the preset `twilio` has one. It must be https, unless it
	// names this machine, a private address or `allow_http` is set. A host name
	// may not resolve to a private, loopback or link-local address unless
	// `allow_private` has it; an address written literally may be any.
	URL string `json:"url,omitempty"`

	// The method: `POST` (the default), `PUT` or `PATCH`.
	Method string `json:"method,omitempty"`

	// Headers to add. The values may be placeholders of secrets.
	Headers map[string]Secret `json:"headers,omitempty"`

	// The form of the body: `json` (the default) or `form`.
	Format string `json:"format,omitempty"`

	// The members of the body by name. The values may hold `{to}`,
	// `{message}`, `{subject}`, `{reference}`, `{from}`, `{reply_to}`,
	// `{unsubscribe_url}`, `{sender}`, `{service}` and `{channel}`. The default
	// is to, message, reference and channel, and where the message has them
	// subject, from, reply_to and unsubscribe_url.
	Fields map[string]string `json:"fields,omitempty"`

	// A JSON document whose strings may hold the same placeholders, instead of
	// `fields` and `format`.
	Body string `json:"body,omitempty"`

	// The statuses, from 200 to 499, that mean that the notification was taken.
	// The default is 200, 201, 202 and 204. 400, 406, 410, 413, 415, 422 and 451
	// end the notification; all else is tried again.
	Expect []int `json:"expect,omitempty"`

	// How long a call may take, from resolution to the end of the answer. The
	// default is 10s; it must be below 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Where the answer's JSON has the provider's own reference, such as
	// `messages.0.id`, under which its reports then come. By default the
	// provider is expected to report the reference that it was given.
	ReferencePath string `json:"reference_path,omitempty"`

	// Whether what the provider takes counts as delivered, for providers that
	// report no deliveries.
	DeliveredOnAccept bool `json:"delivered_on_accept,omitempty"`

	// The header that carries the reference. The default is
	// `Idempotency-Key`; `off` means none.
	IdempotencyHeader string `json:"idempotency_header,omitempty"`

	// Host names, addresses or CIDR ranges that may be called although they
	// are not public.
	AllowPrivate []string `json:"allow_private,omitempty"`

	// Whether plain http may be used to other machines.
	AllowHTTP bool `json:"allow_http,omitempty"`

	// How the provider reports deliveries to `POST /receipts/<name>` of
	// `notify_api`. Without it there is no such path.
	Receipts *WebhookReceipts `json:"receipts,omitempty"`

	// How the provider hands over text messages that it has received, to `POST
	// /inbound/<name>` of `notify_api`. Without it there is no such path.
	Inbound *WebhookInbound `json:"inbound,omitempty"`

	logger  *slog.Logger
	hook    *webhook.Provider
	config  webhook.Config // with its placeholders expanded
	secrets []string       // of receipts
	taking  struct {       // of received messages
		secrets []string
		url     string
	}
}

// WebhookReceipts says what a provider's reports look like.
type WebhookReceipts struct {
	// The secret that reports must carry, as bearer token or as the password
	// of Basic authentication: at least 32 characters. With the preset `twilio`
	// it is the account's token, under which reports are signed; then the
	// default is `password`.
	Secret Secret `json:"secret,omitempty"`

	// The field with the reference; in JSON it may be a path such as
	// `message.id`. The default is `reference`.
	ReferenceField string `json:"reference_field,omitempty"`

	// The field with the status. The default is `status`.
	StatusField string `json:"status_field,omitempty"`

	// The field with the reason of a failure, which reports may leave out. The
	// default is `reason`.
	ReasonField string `json:"reason_field,omitempty"`

	// What the provider's status words mean, whatever their case: `sending`,
	// `pending`, `sent`, `delivered`, `temporary-failure`, `permanent-failure` or
	// `technical-failure`. It adds to the usual words, such as `accepted`,
	// `delivered`, `undelivered` and `rejected`, and wins over them.
	Statuses map[string]storage.Status `json:"statuses,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (DeliveryWebhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.delivery.webhook", New: func() caddy.Module { return new(DeliveryWebhook) }}
}

// Provision makes the provider; it calls nobody.
func (w *DeliveryWebhook) Provision(ctx caddy.Context) error {
	w.logger = moduleLogger(ctx)
	w.Name = w.senderName()
	w.config = w.written()
	// The URL may be a placeholder as a whole, since some APIs have a secret
	// in it.
	for name, text := range map[string]*string{
		"url": &w.config.URL, "username": &w.config.Username, "account": &w.config.Account,
		"from": &w.config.From, "status_callback": &w.config.StatusCallback,
	} {
		value, err := caddy.NewReplacer().ReplaceOrErr(*text, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*text = strings.TrimSpace(value)
	}
	var err error
	if w.Password != "" {
		if w.config.Password, err = w.Password.expand("password", ctx.Logger()); err != nil {
			return err
		}
	}
	w.config.Headers = make(map[string]string, len(w.Headers))
	for name, value := range w.Headers {
		expand := value.expandQuietly
		if secretHeader(name) {
			expand = func(what string) (string, error) { return value.expand(what, ctx.Logger()) }
		}
		if w.config.Headers[name], err = expand("header " + name); err != nil {
			return err
		}
	}
	if err := w.provisionReceipts(ctx); err != nil {
		return err
	}
	if err := w.provisionInbound(ctx); err != nil {
		return err
	}
	w.hook, err = webhook.New(w.config)
	return err
}

func (w *DeliveryWebhook) provisionReceipts(ctx caddy.Context) error {
	switch {
	case w.Receipts != nil && w.Receipts.Secret != "":
		secret, err := w.Receipts.Secret.expandKey("the secret of receipts", ctx.Logger())
		w.secrets = []string{secret}
		return err
	case w.Preset == string(webhook.Twilio):
		w.secrets = []string{w.config.Password}
	case w.Receipts != nil:
		return errors.New("receipts need a secret: without one anybody could report deliveries")
	}
	return nil
}

// written is the configuration as it is written, placeholders and all, without
// what is secret.
func (w *DeliveryWebhook) written() webhook.Config {
	return webhook.Config{
		Preset: webhook.Preset(w.Preset), URL: w.URL, Username: w.Username, Account: w.Account, From: w.From,
		StatusCallback: w.StatusCallback, Method: w.Method,
		Format: webhook.Format(w.Format), Fields: w.Fields, Body: w.Body,
		Expect: w.Expect, Timeout: time.Duration(w.Timeout),
		ReferencePath: w.ReferencePath, DeliveredOnAccept: w.DeliveredOnAccept,
		IdempotencyHeader: w.IdempotencyHeader,
		Outgoing:          outgoing.Policy{AllowPrivate: w.AllowPrivate, AllowHTTP: w.AllowHTTP},
		Logger:            w.logger,
	}
}

// check finds what the provider would refuse, so that the error has file and
// line. Placeholders stay for later.
func (w *DeliveryWebhook) check(d *caddyfile.Dispenser) error {
	if time.Duration(w.Timeout) >= delivery.DefaultLease {
		return d.Errf("timeout %s: it must be shorter than the lease of %s", time.Duration(w.Timeout), delivery.DefaultLease)
	}
	cfg := w.written()
	for _, url := range []*string{&cfg.URL, &cfg.StatusCallback} {
		if strings.Contains(*url, "{") {
			*url = "https://placeholder.invalid/"
		}
	}
	if w.Password != "" {
		cfg.Password = "placeholder"
	}
	cfg.Headers = make(map[string]string, len(w.Headers))
	for name := range w.Headers {
		cfg.Headers[name] = ""
	}
	hook, err := webhook.New(cfg)
	if err != nil {
		return d.Err(err.Error())
	}
	return hook.Close()
}

// secretHeader guesses by its name whether a header's value is a secret.
func secretHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"authorization", "cookie", "key", "secret", "token", "password"},
		func(word string) bool { return strings.Contains(name, word) })
}

func (w *DeliveryWebhook) senderName() string {
	if w.Name == "" {
		return "webhook"
	}
	return w.Name
}

func (w *DeliveryWebhook) provider() delivery.Provider { return w.hook }

// emailFrom is `from` where that is an address.
func (w *DeliveryWebhook) emailFrom() string {
	if strings.Contains(w.config.From, "@") {
		return w.config.From
	}
	return ""
}

func (w *DeliveryWebhook) receipts(outbox delivery.Outbox, callbacks *delivery.Callbacks) (http.Handler, error) {
	twilio := w.Preset == string(webhook.Twilio)
	if w.Receipts == nil && (!twilio || w.config.StatusCallback == "") {
		return nil, nil
	}
	var cfg delivery.ReceiptsConfig
	if twilio {
		var err error
		if cfg, err = webhook.TwilioReceipts(w.config.StatusCallback, w.secrets...); err != nil {
			return nil, err
		}
	} else {
		cfg.Secrets = w.secrets
	}
	if r := w.Receipts; r != nil {
		cfg.ReferenceField = cmp.Or(r.ReferenceField, cfg.ReferenceField)
		cfg.StatusField = cmp.Or(r.StatusField, cfg.StatusField)
		cfg.ReasonField = cmp.Or(r.ReasonField, cfg.ReasonField)
		if cfg.StatusMap == nil {
			cfg.StatusMap = make(map[string]storage.Status, len(r.Statuses))
		}
		maps.Copy(cfg.StatusMap, r.Statuses)
	}
	cfg.Outbox, cfg.Sender, cfg.Callbacks, cfg.Now, cfg.Logger = outbox, w.Name, callbacks, clock, w.logger
	return delivery.NewReceipts(cfg)
}

// Interface guards
var (
	_ deliveryModule        = (*DeliveryWebhook)(nil)
	_ emailSender           = (*DeliveryWebhook)(nil)
	_ receiver              = (*DeliveryWebhook)(nil)
	_ caddy.Provisioner     = (*DeliveryWebhook)(nil)
	_ caddyfile.Unmarshaler = (*DeliveryWebhook)(nil)
)
