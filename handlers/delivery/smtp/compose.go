package smtp

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"net/mail"
	"net/url"
	"strings"

	gomail "github.com/wneessen/go-mail"
	"golang.org/x/net/idna"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

const (
	// maxLine is the longest line of a message, in octets without CRLF (RFC 5322,
	// 2.1.1).
	maxLine = 998
	// maxWord is the longest word of a subject that is left as it is, in bytes.
	maxWord = 70
)

const autoSubmitted = gomail.Header("Auto-Submitted") // RFC 3834

// envelope is a message as it goes over the wire.
type envelope struct {
	from, to string
	utf8     bool // an address has letters beyond ASCII
	message  []byte
}

// compose writes a message. What is wrong with it is the recipient's only if it is
// their address; everything else can be mended.
func (p *Provider) compose(m delivery.Message) (*envelope, *delivery.SendError) {
	to, err := wireAddress(m.To)
	if err != nil {
		return nil, &delivery.SendError{Permanent: true, Reason: "the recipient is not an email address", Err: err}
	}
	from, err := wireAddress(cmp.Or(m.From, p.cfg.From))
	if err != nil {
		return nil, &delivery.SendError{Reason: "the address that the email is from is not one", Err: err}
	}
	bounces := from
	if p.cfg.Bounces != "" {
		if bounces, err = wireAddress(p.cfg.Bounces); err != nil {
			return nil, &delivery.SendError{Reason: "the address for bounces is not one", Err: err}
		}
	}
	from.Name = clean(cmp.Or(p.cfg.FromName, m.ServiceName))

	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from)
	msg.ToMailAddress(to)
	msg.Subject(subject(m.Subject))
	msg.SetDateWithValue(p.cfg.Now().UTC())
	msg.SetMessageIDWithValue(m.Reference + "@" + domain(from))
	msg.SetGenHeader(autoSubmitted, "auto-generated")
	if m.ReplyTo != "" {
		reply, err := wireAddress(m.ReplyTo)
		if err != nil {
			return nil, &delivery.SendError{Reason: "the address for answers is not one", Err: err}
		}
		msg.ReplyToMailAddress(reply)
	}
	if m.UnsubscribeURL != "" {
		if err := msg.SetListUnsubscribeOneClick(escaped(m.UnsubscribeURL)); err != nil {
			return nil, &delivery.SendError{Reason: "the unsubscribe URL is not one of https", Err: err}
		}
	}
	plain, html, err := p.cfg.Render(m)
	if err != nil {
		return nil, &delivery.SendError{Reason: "the email can't be written", Err: err}
	}
	msg.SetBodyString(gomail.TypeTextPlain, plain)
	if html != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, html)
	}
	e := &envelope{from: bare(bounces), to: bare(to), utf8: !ascii(bounces.Address + to.Address + from.Address)}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, &delivery.SendError{Reason: "the email can't be written", Err: err}
	}
	if !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	e.message = b.Bytes()
	if err := checkLines(e.message); err != nil {
		return nil, &delivery.SendError{Reason: "the email can't be written: " + err.Error(), Err: err}
	}
	return e, nil
}

// checkLines makes sure that no header has grown too long; bodies are encoded.
func checkLines(message []byte) error {
	for line := range bytes.Lines(message) {
		if len(bytes.TrimRight(line, "\r\n")) > maxLine {
			return fmt.Errorf("one of its lines is longer than %d octets", maxLine)
		}
	}
	return nil
}

// wireAddress reads an address and writes its domain in ASCII (RFC 5891).
func wireAddress(s string) (*mail.Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return nil, err
	}
	at := strings.LastIndexByte(a.Address, '@')
	name := a.Address[at+1:]
	if !ascii(name) {
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return nil, err
		}
	}
	a.Address = a.Address[:at+1] + name
	return a, nil
}

// bare writes an address without a name, quoted as it needs to be.
func bare(a *mail.Address) string {
	return strings.TrimSuffix(strings.TrimPrefix((&mail.Address{Address: a.Address}).String(), "<"), ">")
}

func domain(a *mail.Address) string { return a.Address[strings.LastIndexByte(a.Address, '@')+1:] }

// subject makes one line of a subject, of words that can be folded: what go-mail
// would leave as it is although no line can hold it is encoded here (RFC 2047).
func subject(s string) string {
	s = clean(s)
	fits := func(word string) bool { return len(word) <= maxWord }
	if !ascii(s) || allWords(s, fits) && !strings.Contains(s, "=?") {
		return s
	}
	const chunk = 42 // makes 56 characters of base64, so that the word has less than 75
	var words []string
	for len(s) > 0 {
		n := min(chunk, len(s))
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

func allWords(s string, ok func(string) bool) bool {
	for word := range strings.SplitSeq(s, " ") {
		if !ok(word) {
			return false
		}
	}
	return true
}

// clean makes one line of a text, without control characters.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// escaped makes a URL fit to stand in angle brackets.
func escaped(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`<>"\^{|}`+"`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
