package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// stage is how far the conversation with the server had come.
type stage int

const (
	connecting stage = iota
	greeting
	securing
	authenticating
	sender
	recipient
	data // the command
	text // from its answer on: the message may have been taken
)

// quitTimeout bounds the leave-taking.
const quitTimeout = time.Second

var (
	errNoTLS    = errors.New("the mail server does not offer STARTTLS")
	errNoAuth   = errors.New("the mail server offers none of AUTH PLAIN, LOGIN and SCRAM-SHA-256")
	errNoUTF8   = errors.New("the mail server takes no addresses with letters beyond ASCII")
	errNotLocal = errors.New("the mail server's host is not this machine")
)

// session is a connection to the server, ready for messages.
type session struct {
	conn   net.Conn // beneath any TLS
	client *smtp.Client
	expiry *time.Timer // while it is kept
}

// connect opens a session.
func (p *Provider) connect(ctx context.Context) (*session, *delivery.SendError) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.cfg.address())
	if err != nil {
		return nil, p.failure(ctx, connecting, err)
	}
	s := &session{conn: conn}
	done := s.watch(ctx)
	at, err := p.open(ctx, s)
	if !done() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.close()
		return nil, p.failure(ctx, at, err)
	}
	return s, nil
}

// watch bounds what the session does next by ctx. done ends that; it is false
// when ctx has ended, and then the session is of no use any more.
func (s *session) watch(ctx context.Context) (done func() bool) {
	deadline, _ := ctx.Deadline()
	_ = s.conn.SetDeadline(deadline)
	return context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
}

// open goes through everything that precedes the first message.
func (p *Provider) open(ctx context.Context, s *session) (at stage, err error) {
	conn := s.conn
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); p.cfg.TLS == Off && (!ok || !remote.IP.IsLoopback()) {
		return connecting, errNotLocal
	}
	if p.cfg.TLS == Implicit {
		secured := tls.Client(conn, p.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return securing, err
		}
		conn = secured
	}
	if s.client, err = smtp.NewClient(conn, p.cfg.Host); err != nil {
		return greeting, err
	}
	if err := s.client.Hello(p.cfg.Hello); err != nil {
		return greeting, err
	}
	if p.cfg.TLS == StartTLS {
		if offered, _ := s.client.Extension("STARTTLS"); !offered {
			return securing, errNoTLS
		}
		if err := s.client.StartTLS(p.tls); err != nil {
			return securing, err
		}
	}
	if p.cfg.Username == "" {
		return sender, nil
	}
	auth := p.auth(s.client)
	if auth == nil {
		return authenticating, errNoAuth
	}
	return authenticating, s.client.Auth(auth)
}

// auth chooses a mechanism that the server offers; nil when there is none.
func (p *Provider) auth(c *smtp.Client) smtp.Auth {
	_, offered := c.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		return smtp.PlainAuth("", p.cfg.Username, p.cfg.Password, p.cfg.Host, false)
	case slices.Contains(mechanisms, "LOGIN"):
		return smtp.LoginAuth(p.cfg.Username, p.cfg.Password, p.cfg.Host, false)
	case slices.Contains(mechanisms, "SCRAM-SHA-256"):
		return smtp.ScramSHA256Auth(p.cfg.Username, p.cfg.Password)
	}
	return nil
}

// send hands one message over. kept says that the session had another before.
func (s *session) send(e *envelope, kept bool) (at stage, err error) {
	if kept {
		// It also shows whether the server is still there.
		if err := s.client.Reset(); err != nil {
			return greeting, err
		}
	}
	if offered, _ := s.client.Extension("SMTPUTF8"); e.utf8 && !offered {
		return recipient, errNoUTF8
	}
	s.client.SkipSMTPUTF8(!e.utf8)
	if err := s.client.Mail("<" + e.from + ">"); err != nil {
		return sender, err
	}
	if err := s.client.Rcpt("<" + e.to + ">"); err != nil {
		return recipient, err
	}
	w, err := s.client.Data()
	if err != nil {
		return data, err
	}
	if _, err := w.Write(e.message); err != nil {
		return text, err
	}
	return text, w.Close()
}

// quit takes leave and closes.
func (s *session) quit() {
	_ = s.conn.SetDeadline(time.Now().Add(quitTimeout))
	_ = s.client.Quit()
	s.close()
}

func (s *session) close() { _ = s.conn.Close() }
