package message

import "strings"

// Subject makes the subject of an email from a rendered template: one line,
// runs of white space as one space.
func Subject(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// tidy writes runs of white space in a line as one space, none at the ends of
// lines, none before a comma or full stop, at most one blank line in a row and
// none around the whole.
func tidy(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	breaks := 0
	for line := range strings.SplitSeq(newlines(text), "\n") {
		wrote := false
		for word := range strings.FieldsSeq(line) {
			switch {
			case wrote:
				if word[0] != ',' && word[0] != '.' {
					b.WriteByte(' ')
				}
			case b.Len() > 0:
				b.WriteString("\n\n"[:min(breaks, 2)])
			}
			b.WriteString(word)
			wrote, breaks = true, 0
		}
		breaks++
	}
	return b.String()
}

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

func newlines(text string) string {
	// A set with more than ASCII in it would be looked up rune by rune.
	if !strings.ContainsAny(text, "\r\v\f") && !strings.Contains(text, "\u0085") &&
		!strings.Contains(text, "\u2028") && !strings.Contains(text, "\u2029") {
		return text
	}
	return lineBreaks.Replace(text)
}
