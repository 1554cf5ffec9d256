// Package email makes the parts of an email from the text of a notification:
// its HTML and its plain text. The text is written in the subset of Markdown
// that GOV.UK Notify knows: headings ("#" and "##"), lists ("*", "-", "•" and
// "1."), inset text ("^"), horizontal rules ("---"), links ("[text](address)"
// and addresses that begin with http:// or https://) and line breaks. There
// are neither images nor HTML, emphasis stays as it is written, and email
// addresses are not linked.
//
// The values of placeholders are text whatever they hold: no value can make a
// heading, a list or HTML, or change what the template's links lead to beyond
// the place where the template puts it. A value that is an address of the web
// is linked as any other.
package email

// Body is the text of an email as storage keeps it.
type Body struct {
	Text string // Notification.Body
	// Values says where in Text the values of placeholders are, as
	// (*message.Template).Email returned it: Notification.Details.Values. When it
	// does not fit the text, all of the text is taken for a value.
	Values string
}

// Options are what an HTML document needs besides its body.
type Options struct {
	// Title is the document's title, the subject of the email.
	Title string
	// Lang is the language of the text as a BCP 47 tag, empty for "en".
	Lang string
}

// HTML returns the complete HTML document of an email: its styles are inline
// and it loads nothing from anywhere.
func HTML(b Body, o Options) string { return document(fragment(parse(b)), o) }

// Fragment returns the HTML of the text alone, without a document around it, as
// previews of templates show it.
func Fragment(b Body) string { return fragment(parse(b)) }

// Text returns the plain text part of an email. It ends with a line break.
func Text(b Body) string { return plain(parse(b)) }
