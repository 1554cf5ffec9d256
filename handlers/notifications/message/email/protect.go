package email

import "strings"

// Characters that must not be read as markup go through the Markdown parser as
// characters of the last 256 of the first private-use plane, which mean nothing
// to it, and come back when its tree is read. Those characters themselves, which
// no one has a use for, become U+FFFD.
const (
	protectedASCII  = '\U000FFF00'
	protectedBullet = '\U000FFF80'
	protectedEnd    = '\U000FFFFF'
)

// entities are the ones that Notify's templates may use.
var entities = []struct {
	name string
	char rune
}{
	{"&nbsp;", '\u00a0'}, {"&amp;", '&'}, {"&lpar;", '('}, {"&rpar;", ')'},
}

// protected returns the body with the characters protected that are not markup:
// those of values, and those after a backslash.
func (b Body) protected() string {
	var out strings.Builder
	out.Grow(len(b.Text) + len(b.Text)/8)
	b.pieces(func(text string, value bool) {
		if value {
			protectValue(&out, text)
		} else {
			protectEscapes(&out, text)
		}
	})
	return out.String()
}

// protectValue protects all that could be markup, at the beginning of a line or
// within one. Line breaks stay what they are.
func protectValue(out *strings.Builder, text string) {
	for _, r := range text {
		switch {
		case r == '\n', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			out.WriteRune(r)
		default:
			out.WriteRune(protect(r))
		}
	}
}

func protectEscapes(out *strings.Builder, text string) {
	for i := 0; i < len(text); {
		// Nearly all of a text needs nothing.
		n := strings.IndexAny(text[i:], `\&`)
		if n < 0 {
			n = len(text) - i
		}
		out.WriteString(replaceReserved(text[i : i+n]))
		if i += n; i == len(text) {
			return
		}
		i += protectEscape(out, text[i:])
	}
}

// protectEscape writes what a text begins with, an escape or not, and returns
// its length.
func protectEscape(out *strings.Builder, text string) int {
	if text[0] == '\\' {
		if len(text) > 1 && punctuation(text[1]) {
			out.WriteRune(protect(rune(text[1])))
			return 2
		}
		out.WriteRune(protect('\\'))
		return 1
	}
	for _, e := range entities {
		if strings.HasPrefix(text, e.name) {
			out.WriteRune(protect(e.char))
			return len(e.name)
		}
	}
	out.WriteByte('&')
	return 1
}

func replaceReserved(text string) string {
	if !strings.ContainsFunc(text, reserved) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if reserved(r) {
			return '\ufffd'
		}
		return r
	}, text)
}

func reserved(r rune) bool { return r >= protectedASCII && r <= protectedEnd }

// protect returns the stand-in of a character that could be markup, and any
// other character as it is.
func protect(r rune) rune {
	switch {
	case r < 0x80:
		return protectedASCII + r
	case r == '•':
		return protectedBullet
	case reserved(r):
		return '\ufffd'
	}
	return r
}

func unprotect(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= protectedASCII && r < protectedASCII+0x80:
			return r - protectedASCII
		case r == protectedBullet:
			return '•'
		}
		return r
	}, text)
}

func punctuation(c byte) bool {
	return c >= '!' && c <= '/' || c >= ':' && c <= '@' || c >= '[' && c <= '`' || c >= '{' && c <= '~'
}
