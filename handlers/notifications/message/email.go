package message

import (
	"strconv"
	"strings"
	"unicode"
)

// Email puts the values in as Render with Bullets does and makes the text of an
// email of it: lines end with "\n", and there is no white space around the
// whole.
//
// spans says where in body the values are, conditions' texts not among them. It
// belongs into storage.Details.Values, and package email needs it to tell the
// template's markup from the text of values. It is a list of decimal numbers
// with commas between them: how many bytes are the template's, how many the
// values', and so on; empty when no value is in the body.
func (t *Template) Email(values Values) (body, spans string, err error) {
	var (
		b  strings.Builder
		at []span
	)
	b.Grow(t.size)
	err = t.pieces(values, Bullets, func(text string, value bool) error {
		text = newlines(text)
		if b.Len()+len(text) > MaxRenderedBytes {
			return ErrTooLarge
		}
		if value && text != "" {
			at = append(at, span{b.Len(), b.Len() + len(text)})
		}
		b.WriteString(text)
		return nil
	})
	if err != nil {
		return "", "", err
	}
	text := strings.TrimLeftFunc(b.String(), unicode.IsSpace)
	cut := b.Len() - len(text)
	text = strings.TrimRightFunc(text, unicode.IsSpace)
	return text, encodeSpans(at, cut, len(text)), nil
}

// span is a part of a text, in bytes.
type span struct{ start, end int }

// encodeSpans writes the spans of a text that has lost its first cut bytes and
// then has size bytes.
func encodeSpans(spans []span, cut, size int) string {
	var (
		b    []byte
		last int
	)
	for i := 0; i < len(spans); {
		start, end := spans[i].start, spans[i].end
		for i++; i < len(spans) && spans[i].start == end; i++ {
			end = spans[i].end
		}
		start, end = max(start-cut, 0), min(end-cut, size)
		if start >= end {
			continue
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(start-last), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(end-start), 10)
		last = end
	}
	return string(b)
}
