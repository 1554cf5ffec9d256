package email

import (
	"strings"
)

// maxNesting is how deep lists may be nested. Items beyond it join the list
// that is too deep for them.
const maxNesting = 8

// lines rewrites the lines of a body from Notify's Markdown to CommonMark:
// Notify wants no space after "#" and the marks of a list, knows "•" as one and
// "^" for what is CommonMark's ">", lets every list follow a paragraph without a
// blank line between them, and does not care how far a line is indented.
type lines struct {
	out  strings.Builder
	list []listLevel // the items that are open, outermost first
	// afterBlank and afterText say what the line before was.
	afterBlank, afterText bool
}

type listLevel struct {
	indent  int // of the mark, as written
	content int // column of the item's text, as rewritten
	ordered bool
}

func commonMark(text string) string {
	l := lines{afterBlank: true}
	l.out.Grow(len(text) + len(text)/8)
	for line := range strings.SplitSeq(text, "\n") {
		l.line(line)
	}
	return l.out.String()
}

func (l *lines) line(line string) {
	line = fewBrackets(line)
	rest := strings.TrimLeft(line, " \t")
	indent := 0
	for _, c := range line[:len(line)-len(rest)] {
		if indent++; c == '\t' {
			indent += 3
		}
	}
	rest = strings.TrimRight(rest, " \t")
	switch {
	case rest == "":
		l.write(0, "")
		l.afterBlank, l.afterText = true, false
		return
	case rule(rest):
		l.list = nil
		l.write(0, "***")
		l.afterText = false
	case rest[0] == '^':
		l.list = nil
		l.write(0, "> "+inset(strings.TrimLeft(rest[1:], " \t")))
		l.afterText = false
	default:
		if heading, ok := heading(rest); ok {
			l.list = nil
			l.write(0, heading)
			l.afterText = false
		} else if mark, ordered, text, ok := item(rest); ok {
			l.item(indent, mark, ordered, text)
		} else {
			l.text(indent, rest)
		}
	}
	l.afterBlank = false
}

func (l *lines) write(indent int, text string) {
	for range indent {
		l.out.WriteByte(' ')
	}
	l.out.WriteString(text)
	l.out.WriteByte('\n')
}

func (l *lines) item(indent int, mark string, ordered bool, text string) {
	for len(l.list) > 0 {
		top := l.list[len(l.list)-1]
		if indent >= top.indent+2 && len(l.list) < maxNesting {
			break
		}
		l.list = l.list[:len(l.list)-1]
		if indent >= top.indent {
			// A sibling; a list of another kind needs a gap before it.
			if ordered != top.ordered {
				l.write(0, "")
			}
			indent = top.indent
			break
		}
	}
	column := 0
	if n := len(l.list); n > 0 {
		column = l.list[n-1].content
	}
	if l.afterText && len(l.list) == 0 {
		l.write(0, "")
	}
	l.list = append(l.list, listLevel{indent, column + len(mark) + 1, ordered})
	l.write(column, mark+" "+literal(text))
	l.afterText = false
}

func (l *lines) text(indent int, text string) {
	column := 0
	if n := len(l.list); n > 0 && l.afterBlank {
		if indent > l.list[n-1].indent {
			column = l.list[n-1].content
		} else {
			l.list = nil
		}
	}
	l.write(column, literal(text))
	l.afterText = len(l.list) == 0
}

// The parser looks through the rest of the line for the end of each link that a
// "[" may begin. maxBrackets are looked for in any line, more in one that is
// shorter than bracketWork/maxBrackets bytes.
const (
	maxBrackets = 50
	bracketWork = 2_000_000
)

// fewBrackets protects the brackets that are too many for a line to be read in
// reasonable time.
func fewBrackets(line string) string {
	allowed := max(maxBrackets, bracketWork/max(len(line), 1))
	if strings.Count(line, "[") <= allowed {
		return line
	}
	end := 0
	for range allowed {
		end += strings.IndexByte(line[end:], '[') + 1
	}
	return line[:end] + strings.ReplaceAll(line[end:], "[", string(protect('[')))
}

// rule reports whether a line is three or more of one of "-", "*" and "_", with
// spaces or not.
func rule(line string) bool {
	c, n := line[0], 0
	if c != '-' && c != '*' && c != '_' {
		return false
	}
	for i := range len(line) {
		switch line[i] {
		case c:
			n++
		case ' ':
		default:
			return false
		}
	}
	return n >= 3
}

func heading(line string) (string, bool) {
	text := strings.TrimLeft(line, "#")
	level := len(line) - len(text)
	if text = strings.TrimLeft(text, " \t"); level == 0 || level > 6 || text == "" {
		return "", false
	}
	return line[:level] + " " + text, true
}

// inset rewrites a line of inset text behind its mark.
func inset(line string) string {
	if line == "" {
		return ""
	}
	if mark, _, text, ok := item(line); ok {
		return mark + " " + literal(text)
	}
	if heading, ok := heading(line); ok {
		return heading
	}
	return literal(line)
}

// item takes the mark from a line that is an item of a list. A mark may stand
// without a space after it only where a word follows: "*one" is an item,
// "-5", "1.5" and "*this* one" are not.
func item(line string) (mark string, ordered bool, text string, ok bool) {
	digits := strings.TrimLeft(line, "0123456789")
	switch number := line[:len(line)-len(digits)]; {
	case strings.HasPrefix(line, "•"):
		text = line[len("•"):]
		return "*", false, strings.TrimLeft(text, " \t"), text != ""
	case line[0] == '*' || line[0] == '-':
		text = line[1:]
		if strings.Contains(text, line[:1]) && !spaced(text) {
			return "", false, "", false
		}
		mark = "*"
	case number != "" && len(number) <= 9 && strings.HasPrefix(digits, "."):
		mark, ordered, text = number+".", true, digits[1:]
	default:
		return "", false, "", false
	}
	if !spaced(text) && (text == "" || !letter(text[0])) {
		return "", false, "", false
	}
	return mark, ordered, strings.TrimLeft(text, " \t"), true
}

func spaced(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

// letter also takes what isn't ASCII, protected characters among it.
func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '[' || c >= 0x80
}

// literal protects what CommonMark would take for a mark at the beginning of a
// line and Notify doesn't.
func literal(text string) string {
	if text == "" {
		return ""
	}
	switch text[0] {
	case '>', '+', '#', '*', '-', '_', '^':
		return string(protect(rune(text[0]))) + text[1:]
	}
	digits := strings.TrimLeft(text, "0123456789")
	if n := len(text) - len(digits); n > 0 && digits != "" && (digits[0] == '.' || digits[0] == ')') {
		return text[:n] + string(protect(rune(digits[0]))) + digits[1:]
	}
	return text
}
