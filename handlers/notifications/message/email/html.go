package email

import (
	"html"
	"strconv"
	"strings"
)

// Mail programs know no style sheets, so each element carries its style. Lists
// stand in a table because some programs lose the padding of a list otherwise.
const (
	ink          = "color: #0B0C0C;"
	font         = "font-family: Helvetica, Arial, sans-serif;"
	size         = "font-size: 19px; line-height: 25px;"
	styleText    = "margin: 0 0 20px 0; " + size + " " + ink
	styleH2      = "margin: 0 0 15px 0; padding: 10px 0 0 0; font-size: 27px; line-height: 35px; font-weight: bold; " + ink
	styleH3      = "margin: 0 0 15px 0; padding: 10px 0 0 0; " + size + " font-weight: bold; " + ink
	styleRule    = "border: 0; height: 1px; background: #B1B4B6; margin: 30px 0;"
	styleCallout = "margin: 0 0 20px 0; border-left: 10px solid #B1B4B6; padding: 15px 0 1px 15px;"
	styleTable   = "padding: 0 0 20px 0;"
	styleList    = "margin: 0 0 0 20px; padding: 0;"
	styleItem    = "margin: 5px 0; padding: 0 0 0 5px; " + size + " " + ink
	styleLink    = "word-wrap: break-word; color: #1D70B8;"
)

func fragment(blocks []block) string {
	var w htmlWriter
	w.blocks(blocks, false)
	return w.String()
}

func document(body string, o Options) string {
	lang := o.Lang
	if lang == "" {
		lang = "en"
	}
	lang = html.EscapeString(lang)
	return "<!DOCTYPE html>\n" +
		`<html lang="` + lang + `">` + "\n<head>\n" +
		`<meta charset="utf-8">` + "\n" +
		`<meta name="viewport" content="width=device-width, initial-scale=1">` + "\n" +
		"<title>" + html.EscapeString(o.Title) + "</title>\n</head>\n" +
		`<body style="margin: 0; padding: 0; background: #FFFFFF; ` + font + `">` + "\n" +
		`<div role="article" aria-roledescription="email" aria-label="` + html.EscapeString(o.Title) + `" lang="` + lang + `">` + "\n" +
		`<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="border-collapse: collapse; max-width: 580px; margin: 0 auto;">` +
		`<tr><td style="padding: 20px 10px; ` + font + `">` + "\n" +
		body + "\n</td></tr></table>\n</div>\n</body>\n</html>\n"
}

type htmlWriter struct{ strings.Builder }

func (w *htmlWriter) element(name, style, attributes string, content func()) {
	w.WriteString("<" + name + attributes + ` style="` + style + `">`)
	content()
	w.WriteString("</" + name + ">")
}

func (w *htmlWriter) blocks(blocks []block, nested bool) {
	for _, b := range blocks {
		lines := func() { w.lines(b.lines) }
		switch b.kind {
		case paragraph:
			w.element("p", styleText, "", lines)
		case heading1:
			w.element("h2", styleH2, "", lines)
		case heading2:
			w.element("h3", styleH3, "", lines)
		case horizontal:
			w.WriteString(`<hr style="` + styleRule + `">`)
		case callout:
			w.element("blockquote", styleCallout, "", func() { w.blocks(b.blocks, false) })
		case bullets, numbers:
			w.list(b, nested)
		case listItem:
			w.element("li", styleItem, "", func() { w.item(b.blocks) })
		}
	}
}

func (w *htmlWriter) list(b block, nested bool) {
	name, kind, start := "ul", "disc", ""
	if b.kind == numbers {
		name, kind = "ol", "decimal"
		if b.start != 1 {
			start = ` start="` + strconv.Itoa(b.start) + `"`
		}
	}
	list := func() {
		w.element(name, styleList+" list-style-type: "+kind+";", start, func() { w.blocks(b.blocks, true) })
	}
	if nested {
		list()
		return
	}
	w.WriteString(`<table role="presentation" style="` + styleTable + `"><tr><td style="` + font + `">`)
	list()
	w.WriteString("</td></tr></table>")
}

// item writes the first paragraph of an item without a paragraph's margins.
func (w *htmlWriter) item(blocks []block) {
	if len(blocks) > 0 && blocks[0].kind == paragraph {
		w.lines(blocks[0].lines)
		blocks = blocks[1:]
	}
	w.blocks(blocks, true)
}

func (w *htmlWriter) lines(lines []line) {
	for i, l := range lines {
		if i > 0 {
			w.WriteString("<br>")
		}
		for _, part := range l {
			w.inline(part)
		}
	}
}

func (w *htmlWriter) inline(i inline) {
	text := html.EscapeString(i.text)
	if i.href == "" {
		w.WriteString(text)
		return
	}
	title := ""
	if i.title != "" {
		title = ` title="` + html.EscapeString(i.title) + `"`
	}
	w.WriteString(`<a style="` + styleLink + `" href="` + html.EscapeString(i.href) + `"` + title + ">" + text + "</a>")
}
