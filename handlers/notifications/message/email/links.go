package email

import (
	"net/url"
	"regexp"
	"strings"
)

// address finds what Notify takes for an address of the web in a text, without
// the ">" that may follow it.
var address = regexp.MustCompile(`https?://[^\s<>]+[^<>.,:"')\]\s]`)

// linkify makes links of the addresses in a text.
func linkify(text string) []inline {
	var out []inline
	for text != "" {
		at := address.FindStringIndex(text)
		if at == nil {
			return append(out, inline{text: text})
		}
		if at[0] > 0 {
			out = append(out, inline{text: text[:at[0]]})
		}
		found := text[at[0]:at[1]]
		out = append(out, inline{text: found, href: target(found), bare: true})
		text = text[at[1]:]
	}
	return out
}

// link makes a link of "[label](destination)"; where it leads nowhere that a
// link in an email may lead to, only its text.
func link(label, destination, title string) []inline {
	href := target(destination)
	if strings.TrimSpace(label) == "" {
		label = destination
	}
	if href == "" {
		if destination != "" && destination != label {
			label += ": " + destination
		}
		return []inline{{text: label}}
	}
	return []inline{{text: label, href: href, title: title, bare: label == destination || label == href}}
}

// domain is what a destination without a scheme must begin with: a host name of
// two labels or more.
var domain = regexp.MustCompile(`^(?i)[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(:[0-9]+)?([/?#]|$)`)

// target returns the address that a link leads to, escaped as a URL must be;
// empty when none of its schemes may be linked.
func target(destination string) string {
	if domain.MatchString(destination) {
		destination = "http://" + destination
	}
	escaped := escapeURL(destination)
	u, err := url.Parse(escaped)
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return ""
		}
	case "mailto", "tel":
		if u.Opaque == "" {
			return ""
		}
	default:
		return ""
	}
	return escaped
}

// escapeURL percent-encodes what no URL may hold (RFC 3986 section 2), and
// leaves what is encoded already.
func escapeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("-._~:/?#[]@!$&()*+,;=%", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func blank(l line) bool {
	for _, i := range l {
		if strings.TrimSpace(i.text) != "" {
			return false
		}
	}
	return true
}
