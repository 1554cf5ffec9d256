package email

import (
	"strconv"
	"strings"
)

// columns is the width of the lines below headings and of rules.
const columns = 65

func plain(blocks []block) string {
	var w plainWriter
	w.blocks(blocks, "")
	return strings.TrimLeft(w.String(), "\n") + "\n"
}

type plainWriter struct{ strings.Builder }

func (w *plainWriter) blocks(blocks []block, indent string) {
	for _, b := range blocks {
		switch b.kind {
		case paragraph:
			w.WriteString("\n\n" + indent)
			w.lines(b.lines, indent)
		case heading1:
			w.heading(b.lines, indent, "=")
		case heading2:
			w.heading(b.lines, indent, "-")
		case horizontal:
			w.WriteString("\n\n" + indent + strings.Repeat("=-", columns/2) + "=")
		case callout:
			w.blocks(b.blocks, indent)
		case bullets, numbers:
			w.WriteByte('\n')
			w.list(b, indent)
		case listItem: // written by list
		}
	}
}

func (w *plainWriter) heading(lines []line, indent, underline string) {
	w.WriteString("\n\n\n" + indent)
	w.lines(lines, indent)
	w.WriteString("\n" + indent + strings.Repeat(underline, columns))
}

func (w *plainWriter) list(b block, indent string) {
	for i, item := range b.blocks {
		mark := "• "
		if b.kind == numbers {
			mark = strconv.Itoa(b.start+i) + ". "
		}
		w.WriteString("\n" + indent + mark)
		inner := indent + strings.Repeat(" ", len([]rune(mark)))
		rest := item.blocks
		if len(rest) > 0 && rest[0].kind == paragraph {
			w.lines(rest[0].lines, inner)
			rest = rest[1:]
		}
		for _, b := range rest {
			if b.kind == bullets || b.kind == numbers {
				w.list(b, inner) // without a blank line before it
				continue
			}
			w.blocks([]block{b}, inner)
		}
	}
}

func (w *plainWriter) lines(lines []line, indent string) {
	for i, l := range lines {
		if i > 0 {
			w.WriteString("\n" + indent)
		}
		for _, part := range l {
			w.WriteString(part.text)
			if part.href == "" || part.bare {
				continue
			}
			if part.title != "" {
				w.WriteString(" (" + part.title + ")")
			}
			w.WriteString(": " + part.href)
		}
	}
}
