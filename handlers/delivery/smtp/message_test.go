package smtp

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// part is one of an email's parts, decoded.
type part struct {
	media, charset, encoding, text string
}

// read takes an email apart as a mail program does.
func read(t testing.TB, raw []byte) (*mail.Message, []part) {
	t.Helper()
	for line := range bytes.Lines(raw) {
		require.True(t, bytes.HasSuffix(line, []byte("\r\n")), "%q", line)
		require.LessOrEqual(t, len(line), 1000, "with its CRLF")
		for _, c := range line {
			require.Less(t, c, byte(0x80))
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	require.NoError(t, err)
	media, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	var parts []part
	add := func(header textproto.MIMEHeader, body io.Reader) {
		media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
		require.NoError(t, err)
		encoding := header.Get("Content-Transfer-Encoding")
		require.Equal(t, "quoted-printable", encoding)
		text, err := io.ReadAll(quotedprintable.NewReader(body))
		require.NoError(t, err)
		parts = append(parts, part{media, params["charset"], encoding, strings.TrimSuffix(string(text), "\r\n")})
	}
	if media != "multipart/alternative" {
		add(textproto.MIMEHeader(m.Header), m.Body)
		return m, parts
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return m, parts
		}
		add(p.Header, p)
	}
}

func headerNames(m *mail.Message) []string { return slices.Sorted(maps.Keys(m.Header)) }

func subjectOf(t testing.TB, m *mail.Message) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	return s
}

// Both parts and every header, as the server gets them.
func TestEmail(t *testing.T) {
	box := newMailbox(t, setup{})
	cfg := box.config()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.FixedZone("", 3600))
	cfg.Now = func() time.Time { return now }
	cfg.Bounces = "bounces+relay@booking.example.org"
	long := "ünï " + strings.Repeat("a", 2000) + "\n.\n..dots\nlast"
	cfg.Render = func(m delivery.Message) (string, string, error) {
		return m.Subject + "\n" + m.Body, "<p>" + m.Body + "</p>", nil
	}
	p := newProvider(t, cfg)
	m := message
	m.Subject, m.Body = "Ihr Termin – grüße aus Köln und noch viel mehr Text, damit die Zeile gefaltet wird", long
	m.From, m.ReplyTo, m.UnsubscribeURL = "termine@booking.example.org", "hilfe@booking.example.org", "https://booking.example.org/u?a=1&b=<x>"
	require.Nil(t, send(t, p, m))
	got := box.all()
	require.Len(t, got, 1)
	assert.Equal(t, "bounces+relay@booking.example.org", got[0].from)
	assert.Equal(t, testTo, got[0].to)
	email, parts := read(t, got[0].body)
	assert.Equal(t, []string{
		"Auto-Submitted", "Content-Type", "Date", "From", "List-Unsubscribe", "List-Unsubscribe-Post",
		"Message-Id", "Mime-Version", "Reply-To", "Subject", "To",
	}, headerNames(email))
	for name, want := range map[string]string{
		"Auto-Submitted":        "auto-generated",
		"Date":                  "Sun, 22 Nov 2026 11:00:00 +0000",
		"From":                  `"Booking reminders" <termine@booking.example.org>`,
		"List-Unsubscribe":      "<https://booking.example.org/u?a=1&b=%3Cx%3E>",
		"List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"Message-Id":            "<" + reference + "@booking.example.org>",
		"Mime-Version":          "1.0",
		"Reply-To":              "<hilfe@booking.example.org>",
		"To":                    "<" + testTo + ">",
	} {
		assert.Equal(t, []string{want}, email.Header[name], name)
	}
	assert.Equal(t, m.Subject, subjectOf(t, email))
	crlf := strings.ReplaceAll(long, "\n", "\r\n")
	assert.Equal(t, []part{
		{"text/plain", "UTF-8", "quoted-printable", m.Subject + "\r\n" + crlf},
		{"text/html", "UTF-8", "quoted-printable", "<p>" + crlf + "</p>"},
	}, parts)
}

func TestPlainEmail(t *testing.T) {
	box := newMailbox(t, setup{})
	cfg := box.config()
	cfg.FromName = "Büro, Köln"
	p := newProvider(t, cfg)
	require.Nil(t, send(t, p, message))
	require.Nil(t, send(t, p, message))
	twins := box.all()
	require.Len(t, twins, 2)
	email, parts := read(t, twins[0].body)
	assert.Equal(t, []string{
		"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To",
	}, headerNames(email))
	assert.Equal(t, []part{{"text/plain", "UTF-8", "quoted-printable", "Come at 10:00."}}, parts)
	from, err := mail.ParseAddress(email.Header.Get("From"))
	require.NoError(t, err)
	assert.Equal(t, &mail.Address{Name: "Büro, Köln", Address: "noreply@booking.example.org"}, from)
	assert.Equal(t, "noreply@booking.example.org", twins[0].from, "no other address for bounces")
	second, _ := read(t, twins[1].body)
	assert.Equal(t, email.Header.Get("Message-Id"), second.Header.Get("Message-Id"), "a server can drop the twin")
}

// What comes from outside can't become a header, an address or a command.
func TestInjection(t *testing.T) {
	p, err := New(Config{Host: "127.0.0.1", TLS: Off, From: "noreply@booking.example.org"})
	require.NoError(t, err)
	const evil = "x\r\nBcc: evil@example.com\r\n\r\nevil"
	for name, change := range map[string]func(*delivery.Message){
		"subject":      func(m *delivery.Message) { m.Subject = evil },
		"NEL":          func(m *delivery.Message) { m.Subject = "x\u0085Bcc: evil@example.com\u2028Bcc: evil" },
		"service name": func(m *delivery.Message) { m.ServiceName = evil },
		"reference":    func(m *delivery.Message) { m.Reference = evil },
		"body":         func(m *delivery.Message) { m.Body = "\r\n.\r\nMAIL FROM:<evil@example.com>\r\n" + evil },
		"unsubscribe":  func(m *delivery.Message) { m.UnsubscribeURL = "https://x/?>,<mailto:evil@example.com" },
	} {
		m := message
		change(&m)
		e, failure := p.compose(m)
		require.Nil(t, failure, name)
		email, _ := read(t, e.message)
		assert.NotContains(t, email.Header, "Bcc", name)
		assert.Equal(t, "<"+testTo+">", email.Header.Get("To"), name)
		assert.LessOrEqual(t, strings.Count(email.Header.Get("List-Unsubscribe"), "<"), 1, name)
		assert.Equal(t, testTo, e.to)
	}
	for _, bad := range []string{
		"a@x.example\r\nRCPT TO:<evil@example.com>", "<a@x.example>", "A <a@x.example>", "a@x.example, b@x.example", "a@x.example> SIZE=1", "", "a", "a@", "\x00@x.example",
	} {
		m := message
		m.To = bad
		_, failure := p.compose(m)
		require.NotNil(t, failure, bad)
		assert.Equal(t, "the recipient is not an email address", failure.Reason)
		assert.True(t, failure.Permanent)
		for field, into := range map[string]*string{"from": &m.From, "reply": &m.ReplyTo, "url": &m.UnsubscribeURL} {
			if bad == "" {
				continue
			}
			m = message
			*into = bad
			_, failure = p.compose(m)
			require.NotNil(t, failure, field+bad)
			assert.False(t, failure.Permanent, "it isn't the recipient's fault")
		}
	}
	m := message
	m.UnsubscribeURL = "http://x.example/"
	_, failure := p.compose(m)
	require.NotNil(t, failure)
}

func TestSubjects(t *testing.T) {
	p, err := New(Config{Host: "127.0.0.1", TLS: Off, From: "noreply@booking.example.org"})
	require.NoError(t, err)
	for in, want := range map[string]string{
		"":                         "",
		"plain":                    "plain",
		" two   blanks\t":          "two blanks",
		"line\nbreak":              "line break",
		"=?utf-8?q?evil?=":         "=?utf-8?q?evil?=",
		strings.Repeat("ab", 1200): strings.Repeat("ab", 1200),
		"short " + strings.Repeat("w", 71) + " end":    "short " + strings.Repeat("w", 71) + " end",
		strings.Repeat("ü", 1200):                      strings.Repeat("ü", 1200),
		strings.Repeat("many words of a subject ", 60): strings.TrimSpace(strings.Repeat("many words of a subject ", 60)),
		"emoji 👩‍⚕️ " + strings.Repeat("漢字", 300):      "emoji 👩‍⚕️ " + strings.Repeat("漢字", 300),
		"invalid \xff": "invalid \ufffd",
	} {
		m := message
		m.Subject = in
		e, failure := p.compose(m)
		require.Nil(t, failure, in)
		email, _ := read(t, e.message)
		assert.Equal(t, want, subjectOf(t, email))
	}
}

func TestAddresses(t *testing.T) {
	p, err := New(Config{Host: "127.0.0.1", TLS: Off, From: "noreply@booking.example.org"})
	require.NoError(t, err)
	for in, want := range map[string]struct {
		wire string
		utf8 bool
	}{
		"o'neill+tag@example.net":   {"o'neill+tag@example.net", false},
		"kim@bücher.example":        {"kim@xn--bcher-kva.example", false},
		"jürgen@bücher.example":     {"jürgen@xn--bcher-kva.example", true},
		`"kim jansen"@example.net`:  {`"kim jansen"@example.net`, false},
		`"kim\"jansen"@example.net`: {`"kim\"jansen"@example.net`, false},
	} {
		m := message
		m.To = in
		e, failure := p.compose(m)
		require.Nil(t, failure, in)
		assert.Equal(t, want.wire, e.to)
		assert.Equal(t, want.utf8, e.utf8, in)
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("Subject", "Body", "noreply@x.example", "help@x.example", "https://x.example/u", "Name")
	f.Add("=?utf-8?q?x?=", ".\r\n", "\"a b\"@x.example", "a@bücher.example", "https://x/?>", "Bü\r\nro")
	f.Add(strings.Repeat("x", 3000), "\x00\xff", "", "", "", strings.Repeat("y", 3000))
	p, err := New(Config{Host: "127.0.0.1", TLS: Off, From: "noreply@booking.example.org", Render: func(m delivery.Message) (string, string, error) {
		return m.Body, "<p>" + m.Body, nil
	}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, subject, body, from, reply, unsubscribe, name string) {
		m := message
		m.Subject, m.Body, m.From, m.ReplyTo, m.UnsubscribeURL, m.ServiceName = subject, body, from, reply, unsubscribe, name
		e, failure := p.compose(m)
		if failure != nil {
			return
		}
		if e.utf8 {
			return // headers in UTF-8 are lawful then
		}
		email, parts := read(t, e.message)
		require.Len(t, parts, 2)
		for name, values := range email.Header {
			require.Len(t, values, 1, name)
		}
		require.Equal(t, testTo, e.to)
	})
}
