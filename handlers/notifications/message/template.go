package message

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a template. They bound the work that one request can cause.
const (
	// MaxTemplateBytes is the size of the largest template text.
	MaxTemplateBytes = 1 << 20
	// MaxPlaceholders is how many placeholders one template text may hold,
	// repetitions included.
	MaxPlaceholders = 1000
	// MaxRenderedBytes is the size of the largest rendered text, that of the
	// largest email (2,000,000 bytes).
	MaxRenderedBytes = 2_000_000
)

// ErrTooLarge says that a rendered text would exceed MaxRenderedBytes.
var ErrTooLarge = errors.New("message: the rendered text is too large")

// Style says how a list is written into a text.
type Style uint8

// The styles.
const (
	// Inline writes a list as "a, b and c": text messages and subjects.
	Inline Style = iota
	// Bullets writes a list as lines that begin with "* ": emails.
	Bullets
)

// Template is a parsed template text. It is immutable and safe for concurrent
// use.
type Template struct {
	parts []part
	names []Name
	size  int // of the literal parts, to size the result
}

// part is literal text or, when key is not nil, a placeholder.
type part struct {
	text        string // literal, or the text that a condition shows
	name        *Name
	conditional bool
}

// Name is the name of a placeholder.
type Name struct {
	// Text is the name as it is first written in the template.
	Text string
	// Key is the name as Key makes it; equal keys are one placeholder.
	Key string
}

// Parse parses a template text. A placeholder is ((name)), or
// ((name??text)), which shows the text when the value says yes. Its body is
// one or more characters other than parentheses, so (((name))) is a
// placeholder between one pair of parentheses; everything else is literal and
// there are no errors of syntax. Parse fails when the text isn't UTF-8, holds
// control characters other than white space, or exceeds MaxTemplateBytes or
// MaxPlaceholders.
func Parse(text string) (*Template, error) {
	switch {
	case len(text) > MaxTemplateBytes:
		return nil, fmt.Errorf("message: the template has %d bytes, at most %d are allowed", len(text), MaxTemplateBytes)
	case !utf8.ValidString(text):
		return nil, errors.New("message: the template is not valid UTF-8")
	case HasControl(text):
		return nil, errors.New("message: the template holds control characters")
	}
	t := &Template{}
	byKey := make(map[string]*Name)
	literal := 0 // start of the literal text not yet added
	count := 0
	for i := 0; ; {
		open := strings.Index(text[i:], "((")
		if open < 0 {
			break
		}
		open += i
		body := text[open+2:]
		end := strings.IndexAny(body, "()")
		if end < 0 {
			break
		}
		if end == 0 || !strings.HasPrefix(body[end:], "))") {
			// Not a placeholder from here. The body holds no parenthesis, so the
			// next one can't begin inside it.
			i = open + max(end, 1)
			continue
		}
		if count++; count > MaxPlaceholders {
			return nil, fmt.Errorf("message: the template has more than %d placeholders", MaxPlaceholders)
		}
		t.literal(text[literal:open])
		t.placeholder(byKey, body[:end])
		i = open + 2 + end + 2
		literal = i
	}
	t.literal(text[literal:])
	for _, n := range t.order(byKey) {
		t.names = append(t.names, *n)
	}
	return t, nil
}

func (t *Template) literal(text string) {
	if text != "" {
		t.parts = append(t.parts, part{text: text})
		t.size += len(text)
	}
}

func (t *Template) placeholder(byKey map[string]*Name, body string) {
	name, shown, conditional := strings.Cut(body, "??")
	key := Key(name)
	n, ok := byKey[key]
	if !ok {
		n = &Name{Text: strings.TrimSpace(name), Key: key}
		byKey[key] = n
	}
	t.parts = append(t.parts, part{text: shown, name: n, conditional: conditional})
}

// order returns the names in the order in which the template first has them.
func (t *Template) order(byKey map[string]*Name) []*Name {
	names := make([]*Name, 0, len(byKey))
	for _, p := range t.parts {
		if p.name == nil {
			continue
		}
		if _, first := byKey[p.name.Key]; first {
			names = append(names, p.name)
			delete(byKey, p.name.Key)
		}
	}
	return names
}

// Names returns the names of the placeholders, each once, in the order of
// their first occurrence.
func (t *Template) Names() []Name { return t.names }

// Render puts the values in, in one pass: a value that holds ((b)) stays as it
// is. A placeholder without a value renders as nothing; use Check first.
func (t *Template) Render(values Values, style Style) (string, error) {
	var b strings.Builder
	b.Grow(t.size)
	err := t.pieces(values, style, func(text string, _ bool) error {
		if b.Len()+len(text) > MaxRenderedBytes {
			return ErrTooLarge
		}
		b.WriteString(text)
		return nil
	})
	if err != nil {
		return "", err
	}
	return b.String(), nil
}

// pieces hands over what the template renders to, one after the other: its own
// text and, with value set, that of values.
func (t *Template) pieces(values Values, style Style, write func(text string, value bool) error) error {
	for _, p := range t.parts {
		var err error
		switch {
		case p.name == nil:
			err = write(p.text, false)
		case !p.conditional:
			err = values.byKey[p.name.Key].pieces(style, write)
		case values.byKey[p.name.Key].yes():
			err = write(p.text, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Key returns the form of a placeholder's name under which names are compared:
// without white space, "_" and "-", in lower case.
func Key(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || unicode.IsSpace(r) || zeroWidth(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// zeroWidth reports whether r is one of the white space that nobody sees.
func zeroWidth(r rune) bool {
	switch r {
	case '\u180e', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff':
		return true
	}
	return false
}

// HasControl reports whether text holds control characters other than white
// space. No template and no value may: they can't be typed, and some stores
// can't keep them.
func HasControl(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return true
		}
	}
	return false
}
