package caddymodule

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery/webhook"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

var webhookOptions = []string{
	"name", "preset", "url", "username", "password", "account", "from", "status_callback",
	"method", "header", "format", "field", "body", "expect", "timeout", "reference_path",
	"delivered_on_accept", "idempotency_header", "allow_private", "allow_http", "receipts", "inbound",
}

// UnmarshalCaddyfile sets up the provider. Syntax:
//
//	delivery <channel> webhook {
//		name                <name>
//		preset              generic|form|twilio
//		url                 <url>
//		username            <text>
//		password            <secret>
//		account             <sid>
//		from                <text>
//		status_callback     <url>
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
//		inbound {
//			secret          <secret>
//			url             <url>
//			from_field      <name>
//			to_field        <name>
//			message_field   <name>
//			reference_field <name>
//			time_field      <name>
//			retention       <duration>
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
	if w.URL == "" && w.Preset != string(webhook.Twilio) {
		return d.Err("delivery webhook needs a url")
	}
	if w.Receipts != nil && w.Receipts.Secret == "" && w.Preset != string(webhook.Twilio) {
		return d.Err("receipts need a secret: without one anybody could report deliveries")
	}
	if err := w.checkInbound(); err != nil {
		return d.Err(err.Error())
	}
	return w.check(d)
}

func (w *DeliveryWebhook) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "name":
		return textOption(d, &w.Name)
	case "preset":
		return wordOption(d, &w.Preset, string(webhook.Generic), string(webhook.FormPost), string(webhook.Twilio))
	case "url":
		return textOption(d, &w.URL)
	case "username":
		return textOption(d, &w.Username)
	case "password":
		return textOption(d, (*string)(&w.Password))
	case "account":
		return textOption(d, &w.Account)
	case "from":
		return textOption(d, &w.From)
	case "status_callback":
		return textOption(d, &w.StatusCallback)
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
	case "inbound":
		return w.unmarshalInbound(d)
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
				return d.Errf("status %q: it must be sending, pending, sent, delivered, temporary-failure, permanent-failure or technical-failure", status)
			}
		default:
			err = unknownOption(d, "receipts", "secret", "reference_field", "status_field", "reason_field", "status")
		}
		if err != nil {
			return err
		}
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
