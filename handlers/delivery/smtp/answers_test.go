package smtp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// scripted is a mail server that answers as it is told: by command, with "." for
// the end of a text and "" for the greeting. An answer of "cut" closes the
// connection, "hang" never comes, "half" closes it in the middle of the text.
type scripted struct {
	listener net.Listener
	answers  map[string]string

	mu       sync.Mutex
	sessions int
	commands []string
	running  sync.WaitGroup
	stop     chan struct{}
}

func newScripted(t *testing.T, answers map[string]string) *scripted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &scripted{listener: listener, answers: answers, stop: make(chan struct{})}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.sessions++
			s.mu.Unlock()
			s.running.Go(func() { s.talk(conn) })
		}
	})
	t.Cleanup(func() {
		close(s.stop)
		_ = listener.Close()
		s.running.Wait()
	})
	return s
}

func (s *scripted) talk(conn net.Conn) {
	defer conn.Close()
	answer := func(command, usual string) bool {
		if a, ok := s.answers[command]; ok {
			usual = a
		}
		switch usual {
		case "cut":
			return false
		case "hang":
			<-s.stop
			return false
		}
		_, err := conn.Write([]byte(usual + "\r\n"))
		return err == nil && !strings.HasPrefix(usual, "421")
	}
	if !answer("", "220 mx.example.net") {
		return
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		command := strings.ToUpper(strings.Fields(line + " x")[0])
		s.mu.Lock()
		s.commands = append(s.commands, command)
		s.mu.Unlock()
		ok := true
		switch command {
		case "EHLO":
			ok = answer(command, "250-mx.example.net\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")
		case "QUIT":
			answer(command, "221 bye")
			return
		case "DATA":
			if ok = answer(command, "354 go on"); !ok || strings.HasPrefix(s.answers[command], "5") || strings.HasPrefix(s.answers[command], "4") {
				break
			}
			for line := ""; line != ".\r\n"; {
				if s.answers["."] == "half" && line != "" {
					return
				}
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			ok = answer(".", "250 2.0.0 queued")
		default:
			ok = answer(command, "250 2.1.0 ok")
		}
		if !ok {
			return
		}
	}
}

func (s *scripted) config() Config {
	return Config{
		Host: "127.0.0.1", Port: s.listener.Addr().(*net.TCPAddr).Port, TLS: Off, From: "noreply@booking.example.org",
		Timeout: 5 * time.Second, Hello: "signpost.example.org",
	}
}

func TestAnswers(t *testing.T) {
	quoting := "5.1.1 <" + testTo + ">: no such user"
	for name, tc := range map[string]struct {
		answers              map[string]string
		reason               string
		permanent, uncertain bool
		loud                 bool
	}{
		"busy greeting":       {map[string]string{"": "421 4.3.2 busy"}, "the mail server answered 421 4.3.2 to the greeting", false, false, false},
		"closed greeting":     {map[string]string{"": "554 5.7.1 not you"}, "the mail server answered 554 5.7.1 to the greeting", false, false, true},
		"no greeting":         {map[string]string{"": "cut"}, "the connection broke before an answer came", false, false, false},
		"EHLO and HELO":       {map[string]string{"EHLO": "502 what", "HELO": "550 no"}, "the mail server answered 502 to the greeting", false, false, true},
		"sender later":        {map[string]string{"MAIL": "451 4.3.0 later"}, "the mail server answered 451 4.3.0 to the sender", false, false, false},
		"sender refused":      {map[string]string{"MAIL": "550 5.1.8 bad sender"}, "the mail server answered 550 5.1.8 to the sender", false, false, true},
		"greylisted":          {map[string]string{"RCPT": "451 4.7.1 come back"}, "the mail server answered 451 4.7.1 to the recipient", false, false, false},
		"mailbox full":        {map[string]string{"RCPT": "452 4.2.2 full"}, "the mail server answered 452 4.2.2 to the recipient", false, false, false},
		"unknown user":        {map[string]string{"RCPT": "550 " + quoting}, "the mail server answered 550 5.1.1 to the recipient", true, false, false},
		"without a code":      {map[string]string{"RCPT": "550 no such user " + testTo}, "the mail server answered 550 to the recipient", true, false, false},
		"several lines":       {map[string]string{"RCPT": "550-" + quoting + "\r\n550 5.1.1 really"}, "the mail server answered 550 5.1.1 to the recipient", true, false, false},
		"no relaying":         {map[string]string{"RCPT": "554 5.7.1 <x>: Relay access denied"}, "the mail server answered 554 5.7.1 to the recipient", false, false, true},
		"relaying of a user":  {map[string]string{"RCPT": "550 5.1.1 <relay@x>: unknown"}, "the mail server answered 550 5.1.1 to the recipient", true, false, false},
		"cut at recipient":    {map[string]string{"RCPT": "cut"}, "the connection broke before an answer came", false, false, false},
		"closing":             {map[string]string{"RCPT": "421 4.3.2 bye"}, "the mail server answered 421 4.3.2 to the recipient", false, false, false},
		"DATA refused":        {map[string]string{"DATA": "554 5.5.1 no"}, "the mail server answered 554 5.5.1 to the text", true, false, false},
		"DATA later":          {map[string]string{"DATA": "451 4.3.0 no"}, "the mail server answered 451 4.3.0 to the text", false, false, false},
		"text refused":        {map[string]string{".": "550 5.7.1 spam from " + testTo}, "the mail server answered 550 5.7.1 to the text", true, false, false},
		"text later":          {map[string]string{".": "452 4.3.1 no space"}, "the mail server answered 452 4.3.1 to the text", false, false, false},
		"closing at the text": {map[string]string{".": "421 4.4.2 timeout"}, "the mail server answered 421 4.4.2 to the text", false, true, false},
		"cut at the text":     {map[string]string{".": "cut"}, "the connection broke before an answer came", false, true, false},
		"cut amid the text":   {map[string]string{".": "half"}, "the connection broke before an answer came", false, true, false},
		"not SMTP":            {map[string]string{"RCPT": "hello?"}, "the call to the mail server failed", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, tc.answers)
			logs := &logBuffer{}
			cfg := s.config()
			cfg.Logger = logs.logger()
			m := message
			if name == "cut amid the text" {
				m.Body = strings.Repeat("a line of it\n", 1_000_000)
			}
			failure := send(t, newProvider(t, cfg), m)
			require.NotNil(t, failure)
			assert.Equal(t, tc.reason, failure.Reason)
			assert.Equal(t, tc.permanent, failure.Permanent, "permanent")
			assert.Equal(t, tc.uncertain, failure.Uncertain, "uncertain")
			assert.Equal(t, tc.loud, strings.Contains(logs.String(), "level=ERROR"), "log: %s", logs)
			assert.NotContains(t, failure.Reason+logs.String(), testTo)
		})
	}
}

func TestNobodyThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	failure := send(t, newProvider(t, Config{Host: "127.0.0.1", Port: port, TLS: Off, From: "noreply@booking.example.org"}), message)
	require.NotNil(t, failure)
	assert.Equal(t, "the mail server refused the connection", failure.Reason)
	assert.False(t, failure.Uncertain)
}

// A server that falls silent is left after the time-out, and a Send that is
// cancelled ends at once, wherever it stands.
func TestSilence(t *testing.T) {
	for _, at := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("at "+at, func(t *testing.T) {
			s := newScripted(t, map[string]string{at: "hang"})
			cfg := s.config()
			cfg.Timeout = 50 * time.Millisecond
			failure := send(t, newProvider(t, cfg), message)
			require.NotNil(t, failure)
			assert.Equal(t, "no answer from the mail server within 50ms", failure.Reason)
			assert.Equal(t, at == ".", failure.Uncertain)
			require.ErrorIs(t, failure, context.DeadlineExceeded)

			cfg.Timeout = time.Hour
			ctx, cancel := context.WithCancel(t.Context())
			p := newProvider(t, cfg)
			ended := make(chan error, 1)
			go func() {
				_, err := p.Send(ctx, message)
				ended <- err
			}()
			require.Eventually(t, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.sessions == 2
			}, 5*time.Second, time.Millisecond)
			cancel()
			err := <-ended
			require.ErrorIs(t, err, context.Canceled)
			var ending *delivery.SendError
			require.ErrorAs(t, err, &ending)
			assert.Equal(t, "the call was ended before an answer came", ending.Reason)
		})
	}
}

func TestRendering(t *testing.T) {
	box := newMailbox(t, setup{})
	cfg := box.config()
	cfg.Render = func(delivery.Message) (string, string, error) { return "", "", errors.New("private") }
	failure := send(t, newProvider(t, cfg), message)
	require.NotNil(t, failure)
	assert.Equal(t, "the email can't be written", failure.Reason)
}
