package caddymodule

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/smtp"
	"github.com/signpost-gateway/signpost/handlers/notifications/message/email"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// DeliverySMTP hands emails to a mail server, mostly the operator's own relay or
// that of a mail service, which signs them (DKIM) and takes care of the rest of
// their way. Each email has a plain text and an HTML part. What the server has
// taken counts as delivered, since no report of it ever comes.
type DeliverySMTP struct {
	// The name of the provider, which notifications carry as their sender. It
	// labels metrics; two providers need two names. A notification that waits is
	// only sent by the providers of its channel while the name that it carries is
	// one of theirs. The default is `smtp`.
	Name string `json:"name,omitempty"`

	// The mail server as `host` or `host:port`. Its certificate must be for the
	// host. The default port is 587, with `tls` 465 and with `off` 25. It may be
	// a placeholder.
	Server string `json:"server"`

	// How the connection is protected: `starttls` (the default; a server that
	// doesn't offer it gets no message), `tls` (from the beginning), or `off`
	// (for a server on this machine only).
	TLS string `json:"tls,omitempty"`

	// The path of a PEM file with the authorities that the server's certificate
	// may be signed by. The default is those that the system trusts.
	CAFile string `json:"ca_file,omitempty"`

	// The user name, when the server wants one. It needs TLS. It may be a
	// placeholder.
	Username string `json:"username,omitempty"`

	// Its password. Write a placeholder, `{env.NAME}` or `{file./path}`.
	Password Secret `json:"password,omitempty"`

	// The address that emails are from when their service has none of its own.
	// It may be a placeholder.
	From string `json:"from"`

	// The name beside that address. The default is the name of the service.
	FromName string `json:"from_name,omitempty"`

	// The address that failures are reported to (the envelope's sender). The
	// default is the address that the email is from. It may be a placeholder.
	Bounces string `json:"bounces,omitempty"`

	// The domain name by which this machine introduces itself. The default is
	// its own when that is a whole domain name, else `localhost`.
	Hello string `json:"hello,omitempty"`

	// How long a delivery may take, from connection to the server's answer. The
	// default is 20s; it must be below 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many connections are kept for the next emails; 0 means none. The
	// default is 8.
	Keep *int `json:"keep,omitempty"`

	// How long a connection is kept. The default is 30s.
	Idle caddy.Duration `json:"idle,omitempty"`

	logger *slog.Logger
	config smtp.Config // with its placeholders expanded
	mailer *smtp.Provider
}

// CaddyModule returns the Caddy module information.
func (DeliverySMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.delivery.smtp", New: func() caddy.Module { return new(DeliverySMTP) }}
}

// Provision makes the provider; it calls nobody.
func (s *DeliverySMTP) Provision(ctx caddy.Context) error {
	s.logger = moduleLogger(ctx)
	s.Name = s.senderName()
	written := *s
	for _, text := range []*string{&written.Server, &written.CAFile, &written.Username, &written.From, &written.FromName, &written.Bounces, &written.Hello} {
		value, err := caddy.NewReplacer().ReplaceOrErr(*text, true, true)
		if err != nil {
			return fmt.Errorf("delivery smtp: %w", err)
		}
		*text = strings.TrimSpace(value)
	}
	var err error
	if s.config, err = written.read(); err != nil {
		return err
	}
	if s.Password != "" {
		if s.config.Password, err = s.Password.expand("the password of the mail server", ctx.Logger()); err != nil {
			return err
		}
	}
	s.mailer, err = smtp.New(s.config)
	return err
}

// read makes the configuration of the core, without the password.
func (s *DeliverySMTP) read() (smtp.Config, error) {
	host, port, err := splitServer(s.Server)
	if err != nil {
		return smtp.Config{}, err
	}
	if time.Duration(s.Timeout) >= delivery.DefaultLease {
		return smtp.Config{}, fmt.Errorf("timeout %s: it must be shorter than the lease of %s", time.Duration(s.Timeout), delivery.DefaultLease)
	}
	cfg := smtp.Config{
		Host: host, Port: port, TLS: smtp.TLS(s.TLS), CAFile: s.CAFile,
		Username: s.Username, From: s.From, FromName: s.FromName, Bounces: s.Bounces, Hello: s.Hello,
		Timeout: time.Duration(s.Timeout), Idle: time.Duration(s.Idle),
		Render: renderEmail, Now: clock, Logger: s.logger,
	}
	if s.Keep != nil {
		if cfg.Keep = *s.Keep; cfg.Keep == 0 {
			cfg.Keep = -1 // which means none
		}
	}
	return cfg, nil
}

// splitServer reads host or host:port; the port is 0 when there is none.
func splitServer(text string) (host string, port int, err error) {
	if _, err := netip.ParseAddr(text); err == nil || !strings.Contains(text, ":") {
		return text, 0, nil
	}
	host, number, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(number)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("server %q: it must be host or host:port, such as smtp.example.org:587", text)
	}
	return host, port, nil
}

// renderEmail makes the parts of an email.
func renderEmail(m delivery.Message) (text, html string, err error) {
	b := email.Body{Text: m.Body, Values: m.Values}
	return email.Text(b), email.HTML(b, email.Options{Title: m.Subject}), nil
}

func (s *DeliverySMTP) senderName() string {
	if s.Name == "" {
		return "smtp"
	}
	return s.Name
}

func (s *DeliverySMTP) provider() delivery.Provider { return s.mailer }
func (s *DeliverySMTP) emailFrom() string           { return s.config.From }
func (*DeliverySMTP) channel() storage.Channel      { return storage.Email }

func (*DeliverySMTP) receipts(delivery.Outbox, *delivery.Callbacks) (http.Handler, error) {
	return nil, nil
}

// Interface guards
var (
	_ deliveryModule    = (*DeliverySMTP)(nil)
	_ emailSender       = (*DeliverySMTP)(nil)
	_ oneChannel        = (*DeliverySMTP)(nil)
	_ caddy.Provisioner = (*DeliverySMTP)(nil)
)
