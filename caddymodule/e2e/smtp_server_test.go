//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

const mailUser, mailPassword = "signpost", "0f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2918"

// mailed is a message that the mail server has taken.
type mailed struct {
	from, to string
	secure   bool // came by TLS and with the password
	header   mail.Header
	subject  string
	parts    map[string]string // by media type
}

// mailServer is a mail server with STARTTLS and AUTH PLAIN. It runs between
// start and the end of the test.
type mailServer struct {
	port      int
	authority *authority
	server    *gosmtp.Server

	mu      sync.Mutex
	refused map[string]error // recipients that don't exist
	offered int              // recipients, refused ones included
	taken   []mailed
	wrong   error // of a message that can't be read
}

func newMailServer(t testing.TB) *mailServer {
	t.Helper()
	return &mailServer{port: freePort(t), authority: newAuthority(t), refused: make(map[string]error)}
}

func (m *mailServer) start(t testing.TB) {
	t.Helper()
	a := m.authority
	cert := a.certify(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, a.key.Public())
	m.server = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) { return &mailSession{server: m, conn: c}, nil }))
	m.server.Domain = "mail.example.org"
	m.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: a.key}}, MinVersion: tls.VersionTLS12}
	m.server.ErrorLog = silence{}
	listener, err := net.Listen("tcp", address(m.port))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = m.server.Close()
		_ = listener.Close() // Serve may not have begun
		<-done
	})
}

type silence struct{}

func (silence) Printf(string, ...any) {}
func (silence) Println(...any)        {}

// got returns the messages to a recipient.
func (m *mailServer) got(t testing.TB, to string) (out []mailed) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	require.NoError(t, m.wrong)
	for _, one := range m.taken {
		if one.to == to {
			out = append(out, one)
		}
	}
	return out
}

type mailSession struct {
	server *mailServer
	conn   *gosmtp.Conn
	known  bool
	now    mailed
}

func (s *mailSession) Reset()                 { s.now = mailed{} }
func (*mailSession) Logout() error            { return nil }
func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.known = user == mailUser && password == mailPassword; !s.known {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, _ *gosmtp.MailOptions) error {
	_, secure := s.conn.TLSConnectionState()
	if !s.known || !secure {
		return gosmtp.ErrAuthRequired
	}
	s.now = mailed{from: from, secure: true}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.offered++
	s.now.to = to
	return s.server.refused[to]
}

func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if err := s.now.read(raw); err != nil {
		s.server.wrong = err
		return err
	}
	s.server.taken = append(s.server.taken, s.now)
	return nil
}

// read takes a message apart as a mail program does.
func (m *mailed) read(raw []byte) error {
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	m.header, m.parts = message.Header, make(map[string]string)
	if m.subject, err = new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject")); err != nil {
		return err
	}
	_, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	for r := multipart.NewReader(message.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF { //nolint:errorlint // that is what it returns
			return nil
		}
		if err != nil {
			return err
		}
		media, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			return err
		}
		m.parts[media] = string(text)
	}
}
