package email

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
)

var styles = regexp.MustCompile(` style="[^"]*"`)

// bare returns HTML without its styles and the tables around lists.
func bare(h string) string {
	h = styles.ReplaceAllString(h, "")
	h = strings.ReplaceAll(h, `<table role="presentation"><tr><td>`, "")
	return strings.ReplaceAll(h, "</td></tr></table>", "")
}

func TestMarkdown(t *testing.T) {
	equals, dashes := strings.Repeat("=", 65), strings.Repeat("-", 65)
	for _, c := range []struct{ name, text, html, plain string }{
		{"paragraphs and line breaks", "line one\nline two\n\nnew", "<p>line one<br>line two</p><p>new</p>", "line one\nline two\n\nnew\n"},
		{"many blank lines", "a\n\n\n\n\nb", "<p>a</p><p>b</p>", "a\n\nb\n"},
		{"nothing", "", "", "\n"},
		{"heading", "# Title\nText", "<h2>Title</h2><p>Text</p>", "Title\n" + equals + "\n\nText\n"},
		{"heading without a space", "#Title", "<h2>Title</h2>", "Title\n" + equals + "\n"},
		{"heading after a paragraph", "Text\n## Sub ##", "<p>Text</p><h3>Sub</h3>", "Text\n\n\nSub\n" + dashes + "\n"},
		{"heading of a deeper level", "### text", "<p>text</p>", "text\n"},
		{"no heading", "#\n\n####### x", "<p>#</p><p>####### x</p>", "#\n\n####### x\n"},
		{"no heading by underlining", "Text\n---\nMore\n===", "<p>Text</p><hr><p>More<br>===</p>", "Text\n\n" + strings.Repeat("=-", 32) + "=\n\nMore\n===\n"},
		{"bullets", "* one\n*two\n- three\n• four\n•five", "<ul><li>one</li><li>two</li><li>three</li><li>four</li><li>five</li></ul>", "• one\n• two\n• three\n• four\n• five\n"},
		{"bullets after text", "Bring:\n* a\n* b\n\nThanks", "<p>Bring:</p><ul><li>a</li><li>b</li></ul><p>Thanks</p>", "Bring:\n\n• a\n• b\n\nThanks\n"},
		{"numbers", "1. one\n2. two\n3.three", "<ol><li>one</li><li>two</li><li>three</li></ol>", "1. one\n2. two\n3. three\n"},
		{"numbers after text", "Do:\n2. b\n3. c", `<p>Do:</p><ol start="2"><li>b</li><li>c</li></ol>`, "Do:\n\n2. b\n3. c\n"},
		{"numbers after bullets", "* a\n2. b", `<ul><li>a</li></ul><ol start="2"><li>b</li></ol>`, "• a\n\n2. b\n"},
		{"nested", "* a\n  * b\n    1. c\n* d", "<ul><li>a<ul><li>b<ol><li>c</li></ol></li></ul></li><li>d</li></ul>", "• a\n  • b\n    1. c\n• d\n"},
		{"item of two lines", "* a\nb\n* c", "<ul><li>a<br>b</li><li>c</li></ul>", "• a\n  b\n• c\n"},
		{"item of two paragraphs", "* a\n\n  b\n\nc", "<ul><li>a<p>b</p></li></ul><p>c</p>", "• a\n\n  b\n\nc\n"},
		{"no items", "+ one\n+ two\n\n-5 degrees\n\n1.5 million\n\n1) one\n\n> quote", "<p>+ one<br>+ two</p><p>-5 degrees</p><p>1.5 million</p><p>1) one</p><p>&gt; quote</p>", "+ one\n+ two\n\n-5 degrees\n\n1.5 million\n\n1) one\n\n> quote\n"},
		{"emphasis stays", "*a* **b** _c_ __d__ ~~e~~ `f`", "<p>*a* **b** _c_ __d__ ~~e~~ `f`</p>", "*a* **b** _c_ __d__ ~~e~~ `f`\n"},
		{"emphasis at the start", "**b** c\n\n*d* e", "<p>**b** c</p><p>*d* e</p>", "**b** c\n\n*d* e\n"},
		{"inset", "^ one\n^two\n\nafter", "<blockquote><p>one<br>two</p></blockquote><p>after</p>", "one\ntwo\n\nafter\n"},
		{"inset list", "^ * one\n^ * two", "<blockquote><ul><li>one</li><li>two</li></ul></blockquote>", "• one\n• two\n"},
		{"rules", "a\n\n***\n\nb\n* * *", "<p>a</p><hr><p>b</p><hr>", "a\n\n" + strings.Repeat("=-", 32) + "=\n\nb\n\n" + strings.Repeat("=-", 32) + "=\n"},
		{"link", "See [the page](https://example.com/a?b=c&d=e).", `<p>See <a href="https://example.com/a?b=c&amp;d=e">the page</a>.</p>`, "See the page: https://example.com/a?b=c&d=e.\n"},
		{"link with a title", `[a](https://example.com "T")`, `<p><a href="https://example.com" title="T">a</a></p>`, "a (T): https://example.com\n"},
		{"link without a scheme", "[a](www.example.com/x)", `<p><a href="http://www.example.com/x">a</a></p>`, "a: http://www.example.com/x\n"},
		{"link of mail", "[a](mailto:a@example.com)", `<p><a href="mailto:a@example.com">a</a></p>`, "a: mailto:a@example.com\n"},
		{"link that is none", "[a](javascript:alert) [b](data:x) [c](/x) [d] e", "<p>a: javascript:alert b: data:x c: /x [d] e</p>", "a: javascript:alert b: data:x c: /x [d] e\n"},
		{"no references", "[a]: https://example.com\n\n[a]", `<p>[a]: <a href="https://example.com">https://example.com</a></p><p>[a]</p>`, "[a]: https://example.com\n\n[a]\n"},
		{"address", "Go to https://example.com/a_b_c?d=(e), (http://example.com).", `<p>Go to <a href="https://example.com/a_b_c?d=(e">https://example.com/a_b_c?d=(e</a>), (<a href="http://example.com">http://example.com</a>).</p>`, "Go to https://example.com/a_b_c?d=(e), (http://example.com).\n"},
		{"address with quotes", `https://example.com/"onclick="alert('hi')`, `<p><a href="https://example.com/%22onclick=%22alert(%27hi">https://example.com/&#34;onclick=&#34;alert(&#39;hi</a>&#39;)</p>`, "https://example.com/\"onclick=\"alert('hi')\n"},
		{"address without a host", `https://example.com"x`, `<p>https://example.com&#34;x</p>`, "https://example.com\"x\n"},
		{"not linked", "al@example.com www.example.com ftp://example.com", "<p>al@example.com www.example.com ftp://example.com</p>", "al@example.com www.example.com ftp://example.com\n"},
		{"HTML", "<b>a</b> <script>x</script>\n\n<div>\n\n<http://example.com>", `<p>&lt;b&gt;a&lt;/b&gt; &lt;script&gt;x&lt;/script&gt;</p><p>&lt;div&gt;</p><p>&lt;<a href="http://example.com">http://example.com</a>&gt;</p>`, "<b>a</b> <script>x</script>\n\n<div>\n\n<http://example.com>\n"},
		{"image", "a ![x](https://example.com/x.png) b", "<p>a  b</p>", "a  b\n"},
		{"escapes", `\# a \* \\ \q \[x](y)`, `<p># a * \ \q [x](y)</p>`, `# a * \ \q [x](y)` + "\n"},
		{"entities", "a&nbsp;b &amp; &lpar;&lpar;x&rpar;&rpar; &lt; &#65;", "<p>a\u00a0b &amp; ((x)) &amp;lt; &amp;#65;</p>", "a\u00a0b & ((x)) &lt; &#65;\n"},
		{"code is text", "```\nprint(1)\n```\n\n    indented\n\n\tmore", "<p>```<br>print(1)<br>```</p><p>indented</p><p>more</p>", "```\nprint(1)\n```\n\nindented\n\nmore\n"},
		{"backslash at the end of a line", "a\\\nb", `<p>a\<br>b</p>`, "a\\\nb\n"},
		{"reserved characters", "a\U000FFF3Cb", "<p>a\ufffdb</p>", "a\ufffdb\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Body{Text: c.text}
			assert.Equal(t, c.html, bare(Fragment(b)))
			assert.Equal(t, c.plain, Text(b))
		})
	}
}

func body(t require.TestingT, template string, pairs ...any) Body {
	tpl, err := message.Parse(template)
	require.NoError(t, err)
	var v message.Values
	for i := 0; i < len(pairs); i += 2 {
		value, ok := pairs[i+1].(message.Value)
		if !ok {
			value = message.Text(pairs[i+1].(string))
		}
		require.NoError(t, v.Set(pairs[i].(string), value))
	}
	text, spans, err := tpl.Email(v)
	require.NoError(t, err)
	return Body{Text: text, Values: spans}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		name, template string
		value          any
		text, html     string
	}{
		{"plain", "Hi ((x))", "Al", "Hi Al", "<p>Hi Al</p>"},
		{"heading", "((x))", "# a\n## b", "# a\n## b", "<p># a<br>## b</p>"},
		{"bullets", "((x))", "* a\n- b\n• c\n1. d\n+ e", "* a\n- b\n• c\n1. d\n+ e", "<p>* a<br>- b<br>• c<br>1. d<br>+ e</p>"},
		{"rule and inset", "a ((x))", "b\n\n---\n^ c", "a b\n\n---\n^ c", "<p>a b</p><p>---<br>^ c</p>"},
		{"link", "((x))", "[a](https://evil.example)", "[a](https://evil.example)", `<p>[a](<a href="https://evil.example">https://evil.example</a>)</p>`},
		{"HTML", "((x))", "<img src=x onerror=alert(1)>&amp;", "<img src=x onerror=alert(1)>&amp;", "<p>&lt;img src=x onerror=alert(1)&gt;&amp;amp;</p>"},
		{"backslashes", "((x))", `\# \\`, `\# \\`, `<p>\# \\</p>`},
		{"address", "((x))", "https://example.com/a_b?c=d*e*", "https://example.com/a_b?c=d*e*", `<p><a href="https://example.com/a_b?c=d*e*">https://example.com/a_b?c=d*e*</a></p>`},
		{"part of an address", "https://example.com/?t=((x))&k=1", "a_b-1", "https://example.com/?t=a_b-1&k=1", `<p><a href="https://example.com/?t=a_b-1&amp;k=1">https://example.com/?t=a_b-1&amp;k=1</a></p>`},
		{"in a link", "[Go](https://example.com/((x)))", "a b)<\"", "[Go](https://example.com/a b)<\")", `<p><a href="https://example.com/a%20b)%3C%22">Go</a></p>`},
		{"a link's destination", "[Go](((x)))", "javascript:alert(1)", "[Go](javascript:alert(1))", "<p>Go: javascript:alert(1)</p>"},
		{"a link's text", "[((x))](https://example.com)", "a](https://evil.example) [b", "[a](https://evil.example) [b](https://example.com)", `<p><a href="https://example.com">a](https://evil.example) [b</a></p>`},
		{"in a heading", "# Hello ((x))", "a\n# b", "# Hello a\n# b", "<h2>Hello a</h2><p># b</p>"},
		{"before a mark", "((x)). a", "1", "1. a", "<p>1. a</p>"},
		{"list", "Bring:((x))\n\nBye", message.List("* a", "# b", "c"), "Bring:\n\n* * a\n* # b\n* c\n\nBye", "<p>Bring:</p><ul><li>* a</li><li># b</li><li>c</li></ul><p>Bye</p>"},
		{"white space", "a\n\n((x))", " \n ", "a", "<p>a</p>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := body(t, c.template, "x", c.value)
			assert.Equal(t, c.text, b.Text)
			assert.Equal(t, c.html, bare(Fragment(b)))
		})
	}
}

func TestSpansThatDontFit(t *testing.T) {
	for _, spans := range []string{"x", "1", "0,99", "-1,2", "1,2,", "99999999999999999999,1"} {
		assert.Equal(t, "<p># a</p>", bare(Fragment(Body{Text: "# a", Values: spans})), spans)
	}
}

func TestDocument(t *testing.T) {
	h := HTML(Body{Text: "# Hi\n\nText"}, Options{Title: `A "b" <c>`})
	assert.True(t, strings.HasPrefix(h, "<!DOCTYPE html>\n<html lang=\"en\">"))
	assert.Contains(t, h, "<title>A &#34;b&#34; &lt;c&gt;</title>")
	assert.Contains(t, h, Fragment(Body{Text: "# Hi\n\nText"}))
	assert.NotRegexp(t, `(?i)<(img|link|script|style)|@import|url\(|src=|gov\.uk|crown`, h)
	assert.Contains(t, HTML(Body{}, Options{Lang: "cy"}), `<html lang="cy">`)
	_, err := html.Parse(strings.NewReader(h))
	require.NoError(t, err)
}

// elements counts the elements of an HTML text, and collects its words.
func elements(t require.TestingT, h string) (map[string]int, string) {
	nodes, err := html.ParseFragment(strings.NewReader(h), nil)
	require.NoError(t, err)
	count := map[string]int{}
	var text strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch n.Type {
		case html.ElementNode:
			count[n.Data]++
		case html.TextNode:
			text.WriteString(n.Data)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	for _, n := range nodes {
		walk(n)
	}
	return count, text.String()
}

// Whatever a value holds, the HTML has the structure of the template's own, and
// all of the value's characters.
func TestNoInjection(t *testing.T) {
	hostile := rapid.StringOf(rapid.SampledFrom([]rune("#*-•^>+_~`[]()<>!&;:./\\\"'=1|{}ab \u00a0\U000FFF3C")))
	templates := []string{"((x))", "Hi ((x)) there", "# Title ((x))", "* one ((x))\n* ((x))", "^ ((x))", "a\n((x))\nb", "[Go](https://example.com/((x)))", "[((x))](https://example.com/)"}
	rapid.Check(t, func(t *rapid.T) {
		template := rapid.SampledFrom(templates).Draw(t, "template")
		value := "v" + hostile.Draw(t, "value") + "v"
		want, _ := elements(t, Fragment(body(t, template, "x", "v")))
		b := body(t, template, "x", value)
		got, text := elements(t, Fragment(b))
		if a := got["a"]; a > want["a"] && address.MatchString(value) {
			got["a"] = want["a"]
			if want["a"] == 0 {
				delete(got, "a")
			}
		}
		assert.Equal(t, want, got, "%q", b.Text)
		if shown := strings.ReplaceAll(value, "\U000FFF3C", "\ufffd"); !strings.Contains(template, "com/((") {
			assert.Contains(t, text, shown)
			assert.Contains(t, Text(b), shown)
		}
	})
}

func FuzzEmail(f *testing.F) {
	for _, s := range []string{"", "# a", "* a\n  * b", "^ a", "[a](b)", "![a](b)", "https://a.b", "\\", "&lpar;", "((x))", "1. ((x??* b))", "***", "[[[[", "> a", "\t* a"} {
		f.Add(s, "value")
		f.Add("a ((x))", s)
	}
	f.Fuzz(func(t *testing.T, template, value string) {
		tpl, err := message.Parse(template)
		if err != nil || !utf8.ValidString(value) || message.HasControl(value) {
			return
		}
		var v message.Values
		for _, n := range tpl.Names() {
			require.NoError(t, v.Set(n.Text, message.Text(value)))
		}
		text, spans, err := tpl.Email(v)
		if err != nil {
			return
		}
		b := Body{Text: text, Values: spans}
		h := Fragment(b)
		count, _ := elements(t, h)
		for name := range count {
			switch name {
			case "html", "head", "body", "p", "br", "h2", "h3", "hr", "blockquote", "ul", "ol", "li", "a", "table", "tbody", "tr", "td":
			default:
				t.Fatalf("%q has an element %s: %s", text, name, h)
			}
		}
		if plain := Text(b); !utf8.ValidString(plain) || strings.ContainsFunc(plain, reserved) {
			t.Fatalf("%q became %q", text, plain)
		}
	})
}

func BenchmarkEmail(b *testing.B) {
	text := Body{Text: strings.Repeat("# Title\n\nHello Al, see [the page](https://example.com/a) or https://example.com.\n\n* one\n* two\n\n", 10)}
	b.ReportAllocs()
	for b.Loop() {
		_ = HTML(text, Options{Title: "Title"})
		_ = Text(text)
	}
}
