package email

import (
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// markdown knows the constructs of CommonMark that Notify has, and no others.
// It keeps no state between texts.
var markdown = parser.NewParser(
	parser.WithBlockParsers(
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(parser.NewListParser(), 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewBlockquoteParser(), 800),
		util.Prioritized(parser.NewParagraphParser(), 1000),
	),
	parser.WithInlineParsers(util.Prioritized(parser.NewLinkParser(), 200)),
)

type kind uint8

const (
	paragraph kind = iota
	heading1
	heading2
	horizontal
	callout
	bullets
	numbers
	listItem
)

// block is a part of a text: paragraphs and headings hold lines, the others
// blocks.
type block struct {
	kind   kind
	start  int // number of the first item
	lines  []line
	blocks []block
}

type line []inline

// inline is text, linked where href isn't empty. bare says that the text is the
// address.
type inline struct {
	text, href, title string
	bare              bool
}

func parse(b Body) []block {
	source := []byte(commonMark(b.protected()))
	return blocks(markdown.Parse(text.NewReader(source)), source)
}

func blocks(parent ast.Node, source []byte) []block {
	var out []block
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		b := block{}
		switch n := n.(type) {
		case *ast.ThematicBreak:
			b.kind = horizontal
		case *ast.Blockquote:
			b.kind, b.blocks = callout, blocks(n, source)
		case *ast.List:
			b.kind, b.start, b.blocks = bullets, n.Start, blocks(n, source)
			if n.IsOrdered() {
				b.kind = numbers
			}
		case *ast.ListItem:
			b.kind, b.blocks = listItem, blocks(n, source)
		case *ast.Heading:
			b.lines = inlines(n, source)
			switch n.Level {
			case 1:
				b.kind = heading1
			case 2:
				b.kind = heading2
			}
		default:
			b.lines = inlines(n, source)
		}
		if b.kind == horizontal || b.kind == listItem || len(b.lines) > 0 || len(b.blocks) > 0 {
			out = append(out, b)
		}
	}
	return out
}

// inlines reads the lines of a paragraph; none when there is nothing to see.
func inlines(parent ast.Node, source []byte) []line {
	c := collector{source: source}
	c.collect(parent)
	c.endLine()
	for len(c.lines) > 0 && len(c.lines[0]) == 0 {
		c.lines = c.lines[1:]
	}
	for len(c.lines) > 0 && len(c.lines[len(c.lines)-1]) == 0 {
		c.lines = c.lines[:len(c.lines)-1]
	}
	return c.lines
}

type collector struct {
	source []byte
	lines  []line
	line   line
	text   []byte // not yet looked through for addresses
}

func (c *collector) collect(parent ast.Node) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			c.text = append(c.text, n.Segment.Value(c.source)...)
			if n.SoftLineBreak() || n.HardLineBreak() {
				c.endLine()
			}
		case *ast.Link:
			c.endText()
			c.line = append(c.line, link(c.label(n), unprotect(string(n.Destination)), unprotect(string(n.Title)))...)
		case *ast.Image: // an email has none
		default:
			c.collect(n)
		}
	}
}

// label returns the text of a link, on one line.
func (c *collector) label(n ast.Node) string {
	inner := collector{source: c.source}
	inner.collectLabel(n)
	return unprotect(string(inner.text))
}

func (c *collector) collectLabel(parent ast.Node) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			c.text = append(c.text, n.Segment.Value(c.source)...)
			if n.SoftLineBreak() || n.HardLineBreak() {
				c.text = append(c.text, ' ')
			}
		case *ast.Image:
		default:
			c.collectLabel(n)
		}
	}
}

func (c *collector) endText() {
	c.line = append(c.line, linkify(unprotect(string(c.text)))...)
	c.text = c.text[:0]
}

func (c *collector) endLine() {
	c.endText()
	if blank(c.line) {
		c.line = nil
	}
	c.lines = append(c.lines, c.line)
	c.line = nil
}
