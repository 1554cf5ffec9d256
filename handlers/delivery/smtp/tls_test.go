package smtp

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTLSAndAuth(t *testing.T) {
	certs, ca := authority(t)
	_, otherCA := authority(t)
	for name, tc := range map[string]struct {
		server setup
		change func(*Config)
		reason string // empty: taken
		auths  []string
	}{
		"starttls":       {setup{tls: certs}, nil, "", nil},
		"implicit":       {setup{tls: certs, implicit: true}, func(c *Config) { c.TLS = Implicit }, "", nil},
		"starttls PLAIN": {setup{tls: certs, mechs: []string{"LOGIN", "PLAIN"}}, withUser, "", []string{"PLAIN"}},
		"implicit LOGIN": {setup{tls: certs, implicit: true, mechs: []string{"LOGIN"}}, func(c *Config) {
			c.TLS = Implicit
			withUser(c)
		}, "", []string{"LOGIN"}},
		"wrong password": {setup{tls: certs, mechs: []string{"PLAIN"}}, func(c *Config) {
			withUser(c)
			c.Password = "wrong"
		}, "the mail server answered 535 5.7.8 to the user and password", nil},
		"no password":   {setup{tls: certs, mechs: []string{"PLAIN"}}, nil, "the mail server answered 530 5.7.0 to the sender", nil},
		"no mechanism":  {setup{tls: certs, mechs: []string{"XOAUTH2"}}, withUser, "the mail server offers none of AUTH PLAIN, LOGIN and SCRAM-SHA-256", nil},
		"no starttls":   {setup{plain: true, mechs: []string{"PLAIN"}}, withUser, "the mail server does not offer STARTTLS", nil},
		"not trusted":   {setup{tls: certs}, func(c *Config) { c.CAFile = otherCA }, "the mail server's TLS certificate is not trusted", nil},
		"system's CAs":  {setup{tls: certs}, func(c *Config) { c.CAFile = "" }, "the mail server's TLS certificate is not trusted", nil},
		"not TLS there": {setup{}, func(c *Config) { c.TLS = Implicit }, "the TLS handshake with the mail server failed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			box := newMailbox(t, tc.server)
			logs := &logBuffer{}
			cfg := box.config()
			cfg.TLS, cfg.CAFile, cfg.Logger = StartTLS, ca, logs.logger()
			if tc.change != nil {
				tc.change(&cfg)
			}
			p := newProvider(t, cfg)
			failure := send(t, p, message)
			again := send(t, p, message)
			if tc.reason == "" {
				assert.Nil(t, failure)
				assert.Nil(t, again)
				assert.Len(t, box.all(), 2)
				assert.Equal(t, tc.auths, box.auths, "once for both")
				assert.Empty(t, logs.String())
				return
			}
			require.NotNil(t, failure)
			assert.Equal(t, tc.reason, failure.Reason)
			assert.False(t, failure.Permanent, "the operator can mend it")
			assert.False(t, failure.Uncertain)
			assert.Empty(t, box.all())
			assert.Equal(t, 1, strings.Count(logs.String(), "emails wait until the operator mends"), "once: %s", logs)
			assert.Contains(t, logs.String(), "level=ERROR")
			assert.NotContains(t, logs.String(), testPassword)
			assert.NotContains(t, logs.String(), testTo)
		})
	}
}

func withUser(c *Config) { c.Username, c.Password = testUser, testPassword }

// Somebody who strips STARTTLS from the server's answer gets neither a password
// nor a message.
func TestNothingInPlainText(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	heard := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("220 mx\r\n"))
		r := bufio.NewReader(conn)
		hello, _ := r.ReadString('\n')
		_, _ = conn.Write([]byte("250-mx\r\n250 AUTH PLAIN LOGIN\r\n"))
		rest, _ := r.ReadString('\n')
		heard <- hello + rest
	}()
	p := newProvider(t, Config{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Username: testUser, Password: testPassword,
		From: "noreply@booking.example.org", Hello: "signpost.example.org",
	})
	failure := send(t, p, message)
	require.NoError(t, listener.Close())
	require.NotNil(t, failure)
	assert.Equal(t, "EHLO signpost.example.org\r\n", <-heard)
}

func TestRecovery(t *testing.T) {
	certs, ca := authority(t)
	box := newMailbox(t, setup{tls: certs, mechs: []string{"PLAIN"}})
	logs := &logBuffer{}
	cfg := box.config()
	cfg.TLS, cfg.CAFile, cfg.Logger = StartTLS, ca, logs.logger()
	withUser(&cfg)
	cfg.Password = "wrong"
	p := newProvider(t, cfg)
	require.NotNil(t, send(t, p, message))
	p.cfg.Password = testPassword // as if it had been changed there
	require.Nil(t, send(t, p, message))
	require.Nil(t, send(t, p, message))
	assert.Equal(t, 1, strings.Count(logs.String(), "the mail server takes emails again"))
}
