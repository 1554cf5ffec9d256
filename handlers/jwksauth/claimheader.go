package jwksauth

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/jwks"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// What headers can't carry. The texts say what is wrong with a claim.
var (
	errControl  = errors.New("holds a control character")
	errBlanks   = errors.New("begins or ends with a blank")
	errComma    = errors.New("is a list with a comma in an element: the format JSON can carry it")
	errElement  = errors.New("is a list with an empty element: the format JSON can carry it")
	errCompound = errors.New("holds an object, or an array in an array: the format JSON can carry it")
)

// setHeaders sets the headers that the claims give, all or none.
func (a *Authenticator) setHeaders(h http.Header, c jwks.Claims) error {
	if len(a.claims) == 0 {
		return nil
	}
	values := make([]string, len(a.claims))
	for i := range a.claims {
		m := &a.claims[i]
		value, ok := c.Lookup(m.Claim)
		if !ok {
			continue
		}
		var err error
		if values[i], err = m.Format.render(value); err != nil {
			return fmt.Errorf("the claim %s can't be handed on as %s: it %w", m.Claim, m.Header, err)
		}
	}
	for i := range a.claims {
		if values[i] != "" {
			h[a.claims[i].Header] = values[i : i+1 : i+1]
		}
	}
	return nil
}

// render returns the value of a header, empty for none.
func (f Format) render(value jws.Value) (string, error) {
	switch {
	case value.Kind == jws.KindNull,
		value.Kind == jws.KindString && value.Text().Empty(),
		value.Kind == jws.KindArray && empty(value):
		return "", nil
	case f == JSON:
		return renderJSON(value.Raw)
	case value.Kind == jws.KindArray:
		return renderList(value)
	}
	return renderOne(value)
}

func renderOne(value jws.Value) (string, error) {
	switch value.Kind {
	case jws.KindString:
		s := value.Text().String()
		return s, checkText(s)
	case jws.KindObject, jws.KindArray:
		return "", errCompound
	default:
		return string(value.Raw), nil
	}
}

func renderList(array jws.Value) (string, error) {
	var out strings.Builder
	var fault error
	eachElement(array, func(element jws.Value) bool {
		var s string
		s, fault = renderOne(element)
		switch {
		case fault != nil:
		case s == "", element.Kind == jws.KindNull:
			fault = errElement
		case strings.Contains(s, ","):
			fault = errComma
		case out.Len() > 0:
			out.WriteByte(',')
			out.WriteString(s)
		default:
			out.WriteString(s)
		}
		return fault == nil
	})
	if fault != nil {
		return "", fault
	}
	return out.String(), nil
}

// checkText finds what HTTP forbids in a header's value, removes from it, or
// what servers that read headers as ISO 8859-1 or UTF-8 act on.
func checkText(s string) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errControl
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return errBlanks
	}
	return nil
}

// renderJSON returns a JSON text in ASCII. In JSON, characters outside of it
// are in strings only.
func renderJSON(raw []byte) (string, error) {
	if bytes.ContainsFunc(raw, unicode.IsControl) {
		return "", errControl
	}
	if bytes.IndexFunc(raw, isWide) < 0 {
		return string(raw), nil
	}
	out := make([]byte, 0, 2*len(raw))
	for _, r := range string(raw) {
		if !isWide(r) {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return string(out), nil
}

func isWide(r rune) bool { return r >= utf8.RuneSelf }
