package hub

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hexShown is how much of a document is shown that is no text, in bytes.
const hexShown = 1024

// segment is a part of a text: shown as it is, or the name of a character that
// would show nothing or another order.
type segment struct {
	Text string
	Mark bool
}

// deceptive are characters that show nothing, or that change the order in which
// others are shown: with them a text can look like another. Those of a terminal
// are among them.
var deceptive = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x0000, Hi: 0x001f, Stride: 1},
		{Lo: 0x007f, Hi: 0x009f, Stride: 1},
		{Lo: 0x00ad, Hi: 0x00ad, Stride: 1},
		{Lo: 0x061c, Hi: 0x061c, Stride: 1},
		{Lo: 0x115f, Hi: 0x1160, Stride: 1},
		{Lo: 0x17b4, Hi: 0x17b5, Stride: 1},
		{Lo: 0x180e, Hi: 0x180e, Stride: 1},
		{Lo: 0x200b, Hi: 0x200f, Stride: 1},
		{Lo: 0x2028, Hi: 0x202e, Stride: 1},
		{Lo: 0x2060, Hi: 0x206f, Stride: 1},
		{Lo: 0x3164, Hi: 0x3164, Stride: 1},
		{Lo: 0xfeff, Hi: 0xfeff, Stride: 1},
		{Lo: 0xffa0, Hi: 0xffa0, Stride: 1},
		{Lo: 0xfff0, Hi: 0xfffb, Stride: 1},
	},
	R32:         []unicode.Range32{{Lo: 0xe0000, Hi: 0xe0fff, Stride: 1}},
	LatinOffset: 3,
}

// line is a text to be shown in one line.
func line(text string) []segment { return mark(text, false) }

// mark takes a text apart; lines tells that line ends and tabs are what they
// are.
func mark(text string, lines bool) []segment {
	var all []segment
	start := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		plain := !unicode.Is(deceptive, r)
		if lines && (r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(text[i+1:], "\n")) {
			plain = true
		}
		if !plain {
			if start < i {
				all = append(all, segment{Text: text[start:i]})
			}
			all = append(all, segment{Text: fmt.Sprintf("U+%04X", r), Mark: true})
			start = i + size
		}
		i += size
	}
	if start < len(text) {
		all = append(all, segment{Text: text[start:]})
	}
	return all
}

// flat writes a marked text where there is no other way to mark.
func flat(all []segment) string {
	var b strings.Builder
	for _, s := range all {
		if s.Mark {
			b.WriteString("<" + s.Text + ">")
		} else {
			b.WriteString(s.Text)
		}
	}
	return b.String()
}

// documentView is a document as it is shown.
type documentView struct {
	Number  int
	ID      []segment
	Display []segment
	Size    string
	Digest  string // SHA-256, in hex
	Content []segment
	Binary  bool // Content is in hex
	Open    bool
}

// openUpTo is how many documents are shown unfolded.
const openUpTo = 3

func viewDocuments(documents []Document) []documentView {
	all := make([]documentView, len(documents))
	for i, d := range documents {
		sum := sha256.Sum256(d.Content)
		v := documentView{
			Number: i + 1, ID: line(d.ID), Display: mark(d.Display, true), Size: plural(len(d.Content), "byte"),
			Digest: hex.EncodeToString(sum[:]), Binary: !isText(d.Content), Open: len(documents) <= openUpTo,
		}
		if v.Binary {
			v.Content = []segment{{Text: dump(d.Content)}}
		} else {
			v.Content = mark(string(d.Content), true)
		}
		all[i] = v
	}
	return all
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// isText reports whether the bytes are text that can be shown.
func isText(content []byte) bool {
	if !utf8.Valid(content) {
		return false
	}
	for _, b := range content {
		if b < ' ' && b != '\n' && b != '\r' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

func dump(content []byte) string {
	text := hex.Dump(content[:min(len(content), hexShown)])
	if rest := len(content) - hexShown; rest > 0 {
		text += "… and " + plural(rest, "more byte")
	}
	return text
}

// certificateView is a certificate as it is shown.
type certificateView struct {
	ID      string
	Name    []segment
	Issuer  []segment
	Expires string
	Invalid bool // now
}

func viewCertificates(certificates []*Certificate, now time.Time) []certificateView {
	all := make([]certificateView, len(certificates))
	for i, c := range certificates {
		all[i] = certificateView{
			ID:      c.ID,
			Name:    line(cmp.Or(c.Leaf.Subject.CommonName, c.Leaf.Subject.String())),
			Issuer:  line(cmp.Or(c.Leaf.Issuer.CommonName, c.Leaf.Issuer.String())),
			Expires: c.Leaf.NotAfter.UTC().Format("2 January 2006"),
			Invalid: validity(c, now) != 0,
		}
	}
	return all
}

// againText tells of what was signed before; it is empty when nothing was.
func againText(q *Question) string {
	switch rest := len(q.Documents) - q.Signed; {
	case q.Signed == 0:
		return ""
	case rest == 0:
		return "You have signed this already. The web site asks for the same signatures again, as it does when it lost them. Nothing new is signed."
	default:
		return fmt.Sprintf("%d of these were signed before, when signing broke off. The other %d will be signed now.", q.Signed, rest)
	}
}

// retriesText says how many wrong PINs a card still takes.
func retriesText(r PINRequest) string {
	switch {
	case r.Retries == 1:
		return "This is the last try before the card is blocked."
	case r.Retries > 1:
		return fmt.Sprintf("%d tries are left before the card is blocked.", r.Retries)
	default:
		return ""
	}
}
