package smtp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser     = "relay-user"
	testPassword = "s3cret-of-the-relay"
	testTo       = "kim.jansen@example.net"
	reference    = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
)

var message = delivery.Message{
	Reference: reference, ServiceID: "26785a09-ab16-4eb0-8407-a37497a57506", ServiceName: "Booking reminders",
	Channel: storage.Email, To: testTo, Subject: "Your booking", Body: "Come at 10:00.", Sender: "relay",
}

var errNoSuchUser = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "<" + testTo + ">: no such user"}

// received is a message as the server has it.
type received struct {
	session  int
	from, to string
	utf8     bool
	body     []byte
}

// mailbox is a real mail server with what it was sent.
type mailbox struct {
	server *gosmtp.Server
	port   int
	host   string

	mu       sync.Mutex
	sessions int
	messages []received
	conns    []*gosmtp.Conn
	refuse   map[string]error // by recipient
	mechs    []string         // of AUTH; none: it isn't needed
	auths    []string         // mechanisms that succeeded
	resets   int
}

// setup of a mailbox.
type setup struct {
	tls      *tls.Config
	implicit bool
	utf8     bool
	mechs    []string
	plain    bool // takes AUTH without TLS
}

func newMailbox(t *testing.T, s setup) *mailbox {
	t.Helper()
	box := &mailbox{refuse: map[string]error{}, mechs: s.mechs, host: "127.0.0.1"}
	box.server = gosmtp.NewServer(gosmtp.BackendFunc(box.session))
	box.server.Domain = "mx.example.net"
	box.server.EnableSMTPUTF8 = s.utf8
	box.server.AllowInsecureAuth = s.plain
	box.server.ErrorLog = quiet{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	box.port = listener.Addr().(*net.TCPAddr).Port
	if s.implicit {
		listener = tls.NewListener(listener, s.tls)
	} else {
		box.server.TLSConfig = s.tls
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = box.server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = box.server.Close()
		_ = listener.Close() // Serve may not have begun
		<-done
	})
	return box
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func (b *mailbox) session(c *gosmtp.Conn) (gosmtp.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	b.conns = append(b.conns, c)
	return &mailSession{box: b, number: b.sessions, authenticated: len(b.mechs) == 0}, nil
}

func (b *mailbox) all() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]received(nil), b.messages...)
}

// hangUp closes all connections as they are.
func (b *mailbox) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
}

type mailSession struct {
	box           *mailbox
	number        int
	authenticated bool
	now           received
}

func (s *mailSession) Reset() {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.resets++
	s.now = received{}
}

func (*mailSession) Logout() error { return nil }

func (s *mailSession) Mail(from string, o *gosmtp.MailOptions) error {
	if !s.authenticated {
		return &gosmtp.SMTPError{Code: 530, EnhancedCode: gosmtp.EnhancedCode{5, 7, 0}, Message: "authenticate first"}
	}
	s.now = received{session: s.number, from: from, utf8: o.UTF8}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.now.to = to
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return s.box.refuse[to]
}

func (s *mailSession) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.now.body = body
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.messages = append(s.box.messages, s.now)
	return s.box.refuse["the text"]
}

func (s *mailSession) AuthMechanisms() []string { return s.box.mechs }

func (s *mailSession) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != testUser || password != testPassword {
			return gosmtp.ErrAuthFailed
		}
		s.authenticated = true
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		s.box.auths = append(s.box.auths, mech)
		return nil
	}
	switch mech {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case "LOGIN":
		return &loginServer{check: check}, nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

// loginServer is the server's side of AUTH LOGIN.
type loginServer struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch {
	case l.asked == 1 && response == nil:
		return []byte("Username:"), false, nil
	case l.user == "":
		l.user = string(response)
		return []byte("Password:"), false, nil
	case l.asked > 3:
		return nil, true, errors.New("too long a conversation")
	}
	return nil, true, l.check(l.user, string(response))
}

// authority makes a certificate for 127.0.0.1 and localhost, and a file with the
// authority that has signed it.
func authority(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file
}

// plainConfig is for a mailbox without TLS.
func (b *mailbox) config() Config {
	return Config{Host: b.host, Port: b.port, TLS: Off, From: "noreply@booking.example.org", Timeout: 5 * time.Second, Hello: "signpost.example.org"}
}

func newProvider(t *testing.T, cfg Config) *Provider {
	t.Helper()
	p, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func send(t *testing.T, p *Provider, m delivery.Message) *delivery.SendError {
	t.Helper()
	sent, err := p.Send(t.Context(), m)
	if err == nil {
		assert.Equal(t, delivery.Sent{Delivered: true}, sent)
		return nil
	}
	var failure *delivery.SendError
	require.ErrorAs(t, err, &failure)
	return failure
}

// logBuffer collects logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
