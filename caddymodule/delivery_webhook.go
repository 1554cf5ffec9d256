package caddymodule

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
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
	// stands in the path of receipts and labels metrics; two channels need two
	// names. A notification that waits is only sent by a provider of the name
	// that it carries. The default is `webhook`.
	Name string `json:"name,omitempty"`

	// The URL to call. It must be https, unless it names this machine, a private address or
	// `allow_http` is set. A host name may not resolve to a private, loopback
	// or link-local address unless `allow_private` has it; an address written
	// literally may be any.
	URL string `json:"url"`

	// The method: `POST` (the default), `PUT` or `PATCH`.
	Method string `json:"method,omitempty"`

	// Headers to add. The values may be placeholders of secrets.
	Headers map[string]Secret `json:"headers,omitempty"`

	// The form of the body: `json` (the default) or `form`.
	Format string `json:"format,omitempty"`

	// The members of the body by name. The values may hold `{to}`,
	// `{message}`, `{subject}`, `{reference}`, `{sender}`, `{service}` and
	// `{channel}`. The default is to, message, reference and channel, and for
	// emails subject.
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

	logger *slog.Logger
	hook   *webhook.Provider
	secret string // of receipts
}

// WebhookReceipts says what a provider's reports look like.
type WebhookReceipts struct {
	// The secret that reports must carry, as bearer token or as the password
	// of Basic authentication: at least 32 characters.
	Secret Secret `json:"secret"`

	// The field with the reference; in JSON it may be a path such as
	// `message.id`. The default is `reference`.
	ReferenceField string `json:"reference_field,omitempty"`

	// The field with the status. The default is `status`.
	StatusField string `json:"status_field,omitempty"`

	// The field with the reason of a failure, which reports may leave out. The
	// default is `reason`.
	ReasonField string `json:"reason_field,omitempty"`

	// What the provider's status words mean, whatever their case: `sending`,
	// `delivered`, `temporary-failure`, `permanent-failure` or
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
	if w.Name == "" {
		w.Name = "webhook"
	}
	// The URL may be a placeholder as a whole, since some APIs have a secret
	// in it.
	url, err := caddy.NewReplacer().ReplaceOrErr(w.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	headers := make(map[string]string, len(w.Headers))
	for name, value := range w.Headers {
		expand := value.expandQuietly
		if secretHeader(name) {
			expand = func(what string) (string, error) { return value.expand(what, ctx.Logger()) }
		}
		if headers[name], err = expand("header " + name); err != nil {
			return err
		}
	}
	if w.Receipts != nil {
		if w.secret, err = w.Receipts.Secret.expandKey("the secret of receipts", ctx.Logger()); err != nil {
			return err
		}
	}
	w.hook, err = webhook.New(w.config(url, headers))
	return err
}

func (w *DeliveryWebhook) config(url string, headers map[string]string) webhook.Config {
	return webhook.Config{
		URL: url, Method: w.Method, Headers: headers,
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
	url := w.URL
	if strings.Contains(url, "{") {
		url = "https://placeholder.invalid/"
	}
	headers := make(map[string]string, len(w.Headers))
	for name := range w.Headers {
		headers[name] = ""
	}
	hook, err := webhook.New(w.config(url, headers))
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

func (w *DeliveryWebhook) senderName() string          { return w.Name }
func (w *DeliveryWebhook) provider() delivery.Provider { return w.hook }

func (w *DeliveryWebhook) receipts(outbox delivery.Outbox) (http.Handler, error) {
	if w.Receipts == nil {
		return nil, nil
	}
	return delivery.NewReceipts(delivery.ReceiptsConfig{
		Outbox: outbox, Sender: w.Name, Secrets: []string{w.secret},
		ReferenceField: w.Receipts.ReferenceField,
		StatusField:    w.Receipts.StatusField,
		ReasonField:    w.Receipts.ReasonField,
		StatusMap:      w.Receipts.Statuses,
		Now:            clock, Logger: w.logger,
	})
}

var webhookOptions = []string{
	"name", "url", "method", "header", "format", "field", "body", "expect", "timeout", "reference_path",
	"delivered_on_accept", "idempotency_header", "allow_private", "allow_http", "receipts",
}

// UnmarshalCaddyfile sets up the provider. Syntax:
//
//	delivery <channel> webhook {
//		name                <name>
//		url                 <url>
//		method              POST|PUT|PATCH
//		header              <name> <value>
//		format              json|form
//		field               <name> <value>
//		body                <json>
//		expect              <status>...
//		timeout             <duration>
//		reference_path      <path>
//		delivered_on_accept
//		idempotency_header  <name>|off
//		allow_private       <host|address|cidr>...
//		allow_http
//		receipts {
//			secret          <secret>
//			reference_field <name>
//			status_field    <name>
//			reason_field    <name>
//			status          <word> <status>
//		}
//	}
func (w *DeliveryWebhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := w.unmarshalOption(d); err != nil {
			return err
		}
	}
	if w.URL == "" {
		return d.Err("delivery webhook needs a url")
	}
	return w.check(d)
}

func (w *DeliveryWebhook) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "name":
		return textOption(d, &w.Name)
	case "url":
		return textOption(d, &w.URL)
	case "method":
		return wordOption(d, &w.Method, http.MethodPost, http.MethodPut, http.MethodPatch)
	case "header":
		var name, value string
		if !d.AllArgs(&name, &value) {
			return d.ArgErr()
		}
		if w.Headers == nil {
			w.Headers = make(map[string]Secret)
		}
		w.Headers[name] = Secret(value)
	case "format":
		return wordOption(d, &w.Format, "json", "form")
	case "field":
		var name, value string
		if !d.AllArgs(&name, &value) {
			return d.ArgErr()
		}
		if w.Fields == nil {
			w.Fields = make(map[string]string)
		}
		w.Fields[name] = value
	case "body":
		return textOption(d, &w.Body)
	case "expect":
		return statusesOption(d, &w.Expect)
	case "timeout":
		return durationOption(d, &w.Timeout)
	case "reference_path":
		return textOption(d, &w.ReferencePath)
	case "delivered_on_accept":
		return flagOption(d, &w.DeliveredOnAccept)
	case "idempotency_header":
		return textOption(d, &w.IdempotencyHeader)
	case "allow_private":
		hosts := d.RemainingArgs()
		if len(hosts) == 0 {
			return d.ArgErr()
		}
		w.AllowPrivate = append(w.AllowPrivate, hosts...)
	case "allow_http":
		return flagOption(d, &w.AllowHTTP)
	case "receipts":
		return w.unmarshalReceipts(d)
	default:
		return unknownOption(d, "delivery webhook", webhookOptions...)
	}
	return nil
}

func (w *DeliveryWebhook) unmarshalReceipts(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	r := new(WebhookReceipts)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "secret":
			var v string
			err = textOption(d, &v)
			r.Secret = Secret(v)
		case "reference_field":
			err = textOption(d, &r.ReferenceField)
		case "status_field":
			err = textOption(d, &r.StatusField)
		case "reason_field":
			err = textOption(d, &r.ReasonField)
		case "status":
			var word, status string
			if !d.AllArgs(&word, &status) {
				return d.ArgErr()
			}
			if r.Statuses == nil {
				r.Statuses = make(map[string]storage.Status)
			}
			r.Statuses[word] = storage.Status(status)
			if r.Statuses[word].Rank() < storage.StatusSending.Rank() {
				return d.Errf("status %q: it must be sending, delivered, temporary-failure, permanent-failure or technical-failure", status)
			}
		default:
			err = unknownOption(d, "receipts", "secret", "reference_field", "status_field", "reason_field", "status")
		}
		if err != nil {
			return err
		}
	}
	if r.Secret == "" {
		return d.Err("receipts need a secret: without one anybody could report deliveries")
	}
	w.Receipts = r
	return nil
}

func statusesOption(d *caddyfile.Dispenser, to *[]int) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, a := range args {
		v, err := strconv.Atoi(a)
		if err != nil {
			return d.Errf("expect %q: it must be a status such as 202", a)
		}
		if !slices.Contains(*to, v) {
			*to = append(*to, v)
		}
	}
	return nil
}

// Interface guards
var (
	_ deliveryModule        = (*DeliveryWebhook)(nil)
	_ caddy.Provisioner     = (*DeliveryWebhook)(nil)
	_ caddyfile.Unmarshaler = (*DeliveryWebhook)(nil)
)
