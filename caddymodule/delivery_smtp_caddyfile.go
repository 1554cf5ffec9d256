package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery/smtp"
)

var smtpOptions = []string{
	"name", "tls", "ca_file", "username", "password", "from", "from_name", "bounces", "hello", "timeout", "keep", "idle",
}

// UnmarshalCaddyfile sets up the provider. Syntax:
//
//	delivery email smtp <host[:port]> {
//		name      <name>
//		tls       starttls|tls|off
//		ca_file   <path>
//		username  <text>
//		password  <secret>
//		from      <address>
//		from_name <text>
//		bounces   <address>
//		hello     <domain>
//		timeout   <duration>
//		keep      <number>
//		idle      <duration>
//	}
func (s *DeliverySMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&s.Server) {
		return d.Err("write: delivery email smtp <host[:port]>")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.unmarshalOption(d); err != nil {
			return err
		}
	}
	return s.check(d)
}

func (s *DeliverySMTP) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "name":
		return textOption(d, &s.Name)
	case "tls":
		return wordOption(d, &s.TLS, string(smtp.StartTLS), string(smtp.Implicit), string(smtp.Off))
	case "ca_file":
		return textOption(d, &s.CAFile)
	case "username":
		return textOption(d, &s.Username)
	case "password":
		return secretOption(d, &s.Password)
	case "from":
		return textOption(d, &s.From)
	case "from_name":
		return textOption(d, &s.FromName)
	case "bounces":
		return textOption(d, &s.Bounces)
	case "hello":
		return textOption(d, &s.Hello)
	case "timeout":
		return durationOption(d, &s.Timeout)
	case "keep":
		if s.Keep != nil {
			return d.Err("keep is given twice")
		}
		s.Keep = new(int)
		return numberOption(d, s.Keep, 0, 10_000)
	case "idle":
		return durationOption(d, &s.Idle)
	}
	return unknownOption(d, "delivery smtp", smtpOptions...)
}

// check finds what the provider would refuse, so that the error has file and
// line. Placeholders and files stay for later.
func (s *DeliverySMTP) check(d *caddyfile.Dispenser) error {
	written := *s
	if strings.Contains(written.Server, "{") {
		// With a port of its own and TLS off, it can't be told here whether it is
		// this machine.
		written.Server = "localhost"
	}
	for text, stand := range map[*string]string{
		&written.Username: "user", &written.From: "a@placeholder.invalid", &written.FromName: "", &written.Bounces: "", &written.Hello: "",
	} {
		if strings.Contains(*text, "{") {
			*text = stand
		}
	}
	written.CAFile = ""
	cfg, err := written.read()
	if err != nil {
		return d.Err(err.Error())
	}
	if s.Password != "" {
		cfg.Password = "placeholder"
	}
	mailer, err := smtp.New(cfg)
	if err != nil {
		return d.Err(err.Error())
	}
	return mailer.Close()
}

// Interface guard
var _ caddyfile.Unmarshaler = (*DeliverySMTP)(nil)
