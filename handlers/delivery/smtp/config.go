package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// TLS says how the connection is protected.
type TLS string

// The ways.
const (
	// StartTLS begins in plain text and changes to TLS (RFC 3207). A server that
	// doesn't offer it gets no message.
	StartTLS TLS = "starttls"
	// Implicit is TLS from the beginning (RFC 8314).
	Implicit TLS = "tls"
	// Off is for servers on this machine only.
	Off TLS = "off"
)

// Defaults of Config.
const (
	DefaultPort         = 587
	DefaultImplicitPort = 465
	DefaultPlainPort    = 25
	DefaultTimeout      = 20 * time.Second
	DefaultKeep         = 8
	DefaultIdle         = 30 * time.Second
)

// Config configures a Provider.
type Config struct {
	// Host is the server's name or IP address; required. Its certificate must be
	// for it.
	Host string
	// Port defaults to 587, with Implicit to 465 and with Off to 25.
	Port int
	// TLS defaults to StartTLS.
	TLS TLS
	// CAFile names a PEM file of the authorities that the server's certificate may
	// be signed by; default: those that the system trusts.
	CAFile string
	// Username and Password authenticate by AUTH PLAIN, LOGIN or SCRAM-SHA-256
	// (RFC 4954), over TLS only.
	Username, Password string
	// From is the address that emails are from which have none of their own;
	// required.
	From string
	// FromName is shown beside the address; default: the name of the service.
	FromName string
	// Bounces is the envelope's sender, where failures are reported to; default:
	// the address of From.
	Bounces string
	// Hello is the name by which this machine introduces itself; default: its own
	// when that is a whole domain name, else localhost.
	Hello string
	// Timeout bounds a whole Send, from connection to the answer to the text;
	// default 20 s.
	Timeout time.Duration
	// Keep is how many connections are kept for the next messages; default 8,
	// negative means none. Idle is how long; default 30 s.
	Keep int
	Idle time.Duration
	// Render returns the parts of an email, of which html may be empty. Default: the
	// body as text. It is called concurrently.
	Render func(m delivery.Message) (text, html string, err error)
	// Now is the clock of the Date header; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.TLS == "" {
		c.TLS = StartTLS
	}
	if c.Port == 0 {
		c.Port = map[TLS]int{StartTLS: DefaultPort, Implicit: DefaultImplicitPort, Off: DefaultPlainPort}[c.TLS]
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.Idle == 0 {
		c.Idle = DefaultIdle
	}
	if c.Hello == "" {
		c.Hello = "localhost"
		if name, err := os.Hostname(); err == nil && domainName(name) && strings.Contains(name, ".") {
			c.Hello = name
		}
	}
	if c.Render == nil {
		c.Render = func(m delivery.Message) (string, string, error) { return m.Body, "", nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	_, err := netip.ParseAddr(c.Host)
	switch {
	case c.Host == "":
		return errors.New("smtp: the host of the mail server is missing")
	case err != nil && !domainName(c.Host):
		return fmt.Errorf("smtp: the host %q is not a host name or IP address; the port is an option of its own", c.Host)
	case c.TLS != StartTLS && c.TLS != Implicit && c.TLS != Off:
		return fmt.Errorf("smtp: unknown way of TLS %q, known are starttls, tls and off", c.TLS)
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("smtp: the port %d is not one", c.Port)
	case c.TLS == Off && !loopbackName(c.Host):
		return errors.New("smtp: without TLS messages would be readable over the network: off is for a server on this machine (localhost, 127.0.0.1, ::1)")
	case c.TLS == Off && (c.Username != "" || c.Password != ""):
		return errors.New("smtp: a user and password need TLS")
	case (c.Username == "") != (c.Password == ""):
		return errors.New("smtp: a user and a password belong together, and one of them is missing")
	case !domainName(c.Hello):
		return fmt.Errorf("smtp: %q is not a domain name to introduce this machine by", c.Hello)
	case c.Timeout < 0 || c.Idle < 0:
		return errors.New("smtp: times must not be negative")
	case c.From == "":
		return errors.New("smtp: the address that emails are from is missing")
	case strings.ContainsFunc(c.FromName, control):
		return errors.New("smtp: the name that emails are from holds a control character, such as a line break")
	}
	for option, text := range map[string]string{"from": c.From, "bounces": c.Bounces} {
		if text == "" {
			continue
		}
		if _, err := parseAddress(text); err != nil {
			return fmt.Errorf("smtp: %s: %q is not an email address", option, text)
		}
	}
	return nil
}

// tlsConfig returns the client's side of TLS; nil with Off.
func (c Config) tlsConfig() (*tls.Config, error) {
	if c.TLS == Off {
		if c.CAFile != "" {
			return nil, errors.New("smtp: a CA file needs TLS")
		}
		return nil, nil
	}
	cfg := &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("smtp: the CA file can't be read: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("smtp: the CA file %s has no certificate in PEM form", c.CAFile)
	}
	return cfg, nil
}

func (c Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// loopbackName reports whether a host is this machine.
func loopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// domainName reports whether s can be a domain name in ASCII.
func domainName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.HasPrefix(s, "-") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
		})
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// parseAddress reads a bare address.
func parseAddress(s string) (*mail.Address, error) {
	if strings.ContainsFunc(s, control) || strings.ContainsAny(s, "<>") {
		return nil, errors.New("not an address")
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return nil, err
	}
	if a.Name != "" || !strings.Contains(a.Address, "@") {
		return nil, errors.New("not a bare address")
	}
	return a, nil
}
