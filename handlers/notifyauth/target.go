package notifyauth

import (
	"net/http"
	"net/url"
	"strings"
)

// Original is what the client sent, before any rewriting by a server: what it
// signed. RequestURI is the request target of the wire ([http.Request] has it
// under that name); when it is empty, URL stands in.
type Original struct {
	Method     string
	URL        *url.URL
	RequestURI string
}

// OriginalOf takes a request for its own original. That holds behind handlers
// that change URL alone, such as [http.StripPrefix], but not behind those that
// change RequestURI or Method.
func OriginalOf(r *http.Request) Original {
	return Original{Method: r.Method, URL: r.URL, RequestURI: r.RequestURI}
}

// target is a request target taken apart; its parts are slices of the
// original text.
type target struct {
	method   string
	path     string // escaped, below the base path
	query    string
	hasQuery bool
}

// target checks the original request's target and finds the part that is
// signed. It returns the code of the fault, or none.
func (v *Verifier) target(o Original) (target, Code) {
	uri := o.RequestURI
	if uri == "" && o.URL != nil {
		uri = o.URL.RequestURI()
	}
	t := target{method: o.Method}
	if !strings.HasPrefix(uri, "/") {
		// Absolute form, authority form, asterisk form: their paths may have
		// other readings than the one that is routed.
		return t, CodeTarget
	}
	t.path, t.query, t.hasQuery = strings.Cut(uri, "?")
	if !canonicalPath(t.path) || !printable(t.query) {
		return t, CodePath
	}
	below, found := strings.CutPrefix(t.path, v.basePath)
	switch {
	case found && strings.HasPrefix(below, "/"):
		t.path = below
	case !v.serveRoot:
		return t, CodeBasePath
	}
	if t.hasQuery && v.query == QueryRefuse {
		return t, CodeQuery
	}
	return t, ""
}

// canonicalPath reports whether an escaped path has one reading only: no dot
// segments, no empty segments, no backslash, fragment, blank or control byte,
// and escapes only of bytes that need one.
func canonicalPath(path string) bool {
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			if !canonicalSegment(path[i+1:]) {
				return false
			}
		case c == '%':
			if i+2 >= len(path) || !canonicalEscape(path[i+1], path[i+2]) {
				return false
			}
			i += 2
		case c == '\\', c == '#', c == '?', c <= ' ', c == 0x7f:
			return false
		}
	}
	return true
}

// canonicalSegment looks at the segment that the rest of a path begins with.
// It refuses dot segments with parameters as well ("..;x"): some servers cut
// the parameters off before they resolve dots.
func canonicalSegment(rest string) bool {
	end := strings.IndexByte(rest, '/')
	if end == 0 {
		return false // "//"
	}
	if end > 0 {
		rest = rest[:end]
	}
	dots := 0
	for dots < len(rest) && rest[dots] == '.' {
		dots++
	}
	if dots == 0 || dots > 2 {
		return true
	}
	after := rest[dots:]
	escaped := len(after) >= 3 && strings.EqualFold(after[:3], "%3b")
	return after != "" && after[0] != ';' && !escaped
}

// canonicalEscape refuses escapes of unreserved characters (RFC 3986, section
// 2.3), of separators and of control bytes; those are read differently by
// different servers.
func canonicalEscape(hi, lo byte) bool {
	h, ok1 := unhex(hi)
	l, ok2 := unhex(lo)
	if !ok1 || !ok2 {
		return false
	}
	switch c := h<<4 | l; {
	case isAlphanumeric(c), c == '-', c == '.', c == '_', c == '~':
		return false
	case c == '/', c == '\\', c < ' ', c == 0x7f:
		return false
	}
	return true
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func printable(query string) bool {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// appendCanonical appends what req signs: the method, a blank and the path,
// with the query when that is signed. decoded asks for the reading of servers
// that decode the path first; it has none when there is no escape to decode or
// when the decoded path holds a "%" again, which would be ambiguous.
func (t *target) appendCanonical(dst []byte, query QueryPolicy, decoded bool) (_ []byte, ok bool) {
	dst = append(dst, t.method...)
	dst = append(dst, ' ')
	if decoded {
		if dst, ok = appendDecoded(dst, t.path); !ok {
			return dst, false
		}
	} else {
		dst = append(dst, t.path...)
	}
	if query == QuerySigned && t.hasQuery {
		dst = append(dst, '?')
		dst = append(dst, t.query...)
	}
	return dst, true
}

func appendDecoded(dst []byte, path string) (_ []byte, ok bool) {
	if strings.IndexByte(path, '%') < 0 {
		return dst, false
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			h, _ := unhex(path[i+1]) // canonicalPath has seen both digits
			l, _ := unhex(path[i+2])
			if c = h<<4 | l; c == '%' {
				return dst, false
			}
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, true
}
