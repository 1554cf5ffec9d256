package delivery

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Mask shortens a recipient for logs: the last three digits of a number, the
// first letter and the domain of a mailbox.
func Mask(to string) string {
	if box, domain, ok := cutLast(to, '@'); ok {
		for _, first := range box {
			return string(first) + "***@" + domain
		}
		return "***@" + domain
	}
	if len(to) <= 6 {
		return "***"
	}
	return "***" + to[len(to)-3:]
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// maxReason bounds a stored reason, in bytes.
const maxReason = 200

var (
	digits  = regexp.MustCompile(`\+?\d(?:[ ().-]{0,2}\d){6,}`)
	mailbox = regexp.MustCompile(`[^\s<>"',;:]+@[^\s<>"',;:]+`)
)

// scrub makes a foreign text fit to be stored and logged: one line, bounded,
// nothing in it that looks like a number or a mailbox.
func scrub(reason string) string {
	if len(reason) > 4*maxReason {
		reason = reason[:4*maxReason]
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	reason = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, reason)
	reason = strings.Join(strings.Fields(reason), " ")
	reason = mailbox.ReplaceAllStringFunc(reason, Mask)
	reason = digits.ReplaceAllStringFunc(reason, Mask)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return reason
}

// scrubFor also takes out the notification's own recipient and texts, should
// a provider have quoted them.
func scrubFor(reason string, n *storage.Notification) string {
	for _, private := range []string{n.Body, n.Subject, n.To, strings.TrimPrefix(n.To, "+")} {
		if len(private) >= 3 {
			reason = strings.ReplaceAll(reason, private, "***")
		}
	}
	return scrub(reason)
}
