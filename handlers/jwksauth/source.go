package jwksauth

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// found is the token of a request, if count is 1. It may be empty.
type found struct {
	source *TokenSource
	token  string
	count  int
}

func (f *found) add(s *TokenSource, token string) {
	f.source, f.token = s, token
	f.count++
}

// addMany notes more than one token.
func (f *found) addMany() { f.count += 2 }

// find looks for tokens in all places.
func (a *Authenticator) find(r *http.Request) found {
	var f found
	for i := range a.sources {
		s := &a.sources[i]
		switch s.Kind {
		case Header:
			s.findInHeader(r.Header, &f)
		case Cookie:
			s.findInCookies(r.Header, &f)
		case Query:
			s.findInQuery(r.URL.RawQuery, &f)
		}
	}
	return f
}

// remove takes the token out of the request.
func (s *TokenSource) remove(r *http.Request) {
	switch s.Kind {
	case Header:
		delete(r.Header, s.Name)
	case Cookie:
		s.removeFromCookies(r.Header)
	case Query:
		r.URL.RawQuery = s.withoutToken(r.URL.RawQuery)
		if path, query, ok := strings.Cut(r.RequestURI, "?"); ok {
			r.RequestURI = path
			if query = s.withoutToken(query); query != "" {
				r.RequestURI += "?" + query
			}
		}
	}
}

func (s *TokenSource) findInHeader(h http.Header, f *found) {
	lines := h[s.Name]
	switch {
	case len(lines) == 0, len(lines) == 1 && lines[0] == "":
		return
	case len(lines) > 1:
		f.addMany()
		return
	}
	// A comma joins what were several lines.
	value, list := lines[0], strings.Contains(lines[0], ",")
	if s.Scheme == "" {
		if list {
			f.addMany()
		} else {
			f.add(s, value)
		}
		return
	}
	token, ok := afterScheme(value, s.Scheme)
	switch {
	case ok && !list:
		f.add(s, token)
	case ok, list && s.inList(value):
		f.addMany()
	}
}

// inList reports whether some element of a list has the scheme: whoever takes
// the list apart would find a token.
func (s *TokenSource) inList(value string) bool {
	for element := range strings.SplitSeq(value, ",") {
		if _, ok := afterScheme(textproto.TrimString(element), s.Scheme); ok {
			return true
		}
	}
	return false
}

// afterScheme returns what follows the scheme and spaces (RFC 9110, section
// 11.4). Anything else after the scheme is left for the verifier to refuse:
// such a value is a faulty token and not none.
func afterScheme(value, scheme string) (token string, ok bool) {
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	if rest != "" && notifyauth.IsToken(rest[:1]) {
		return "", false // a longer scheme
	}
	return strings.TrimLeft(rest, " "), true
}

func (s *TokenSource) findInCookies(h http.Header, f *found) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if value, ok := s.cookie(pair); ok {
				f.add(s, value)
			}
		}
	}
}

// cookie returns the value of a cookie of the source's name, as net/http reads
// it. But net/http overlooks cookies with foreign characters in their values,
// which are faulty tokens here.
func (s *TokenSource) cookie(pair string) (value string, ok bool) {
	name, value, _ := strings.Cut(textproto.TrimString(pair), "=")
	if textproto.TrimString(name) != s.Name {
		return "", false
	}
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}

func (s *TokenSource) removeFromCookies(h http.Header) {
	lines := h["Cookie"]
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		rest := without(line, ";", func(pair string) bool {
			_, ok := s.cookie(pair)
			return ok
		})
		if rest != line {
			// The blank behind a semicolon that isn't there any more.
			if rest = strings.TrimLeft(rest, " \t"); rest == "" {
				continue
			}
		}
		kept = append(kept, rest)
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func (s *TokenSource) findInQuery(query string, f *found) {
	if query == "" {
		return
	}
	for parameter := range strings.SplitSeq(query, "&") {
		if value, ok := s.parameter(parameter); ok {
			f.add(s, value)
		}
	}
}

// parameter returns the value of a query parameter of the source's name. Where
// url.ParseQuery overlooks a parameter that others may see (it is behind a
// semicolon, or its escapes are faulty), it returns raw text that no token has.
func (s *TokenSource) parameter(text string) (value string, ok bool) {
	if strings.Contains(text, ";") {
		for part := range strings.SplitSeq(text, ";") {
			if s.isParameter(part) {
				return text, true
			}
		}
		return "", false
	}
	if !s.isParameter(text) {
		return "", false
	}
	_, raw, _ := strings.Cut(text, "=")
	if value, err := url.QueryUnescape(raw); err == nil {
		return value, true
	}
	return raw, true
}

func (s *TokenSource) isParameter(text string) bool {
	raw, _, _ := strings.Cut(text, "=")
	name, err := url.QueryUnescape(raw)
	return err == nil && name == s.Name
}

func (s *TokenSource) withoutToken(query string) string {
	return without(query, "&", func(parameter string) bool {
		_, ok := s.parameter(parameter)
		return ok
	})
}

// without drops parts of a text. The bytes of the others stay as they are.
func without(text, separator string, drop func(part string) bool) string {
	parts := strings.Split(text, separator)
	kept := parts[:0]
	for _, part := range parts {
		if !drop(part) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, separator)
}
