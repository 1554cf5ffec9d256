package jws

import "strings"

// Header holds the header parameters that a verifier acts on.
type Header struct {
	Alg string // compare it with the key's own; never pick a key type by it
	Typ string // empty when absent
	Kid string // empty when absent; an opaque map key and nothing else
}

const (
	headerDepth = 4
	maxKid      = 128
)

// ParseHeader reads a decoded JOSE header: at most 2 KiB, one object as
// [Object] wants it, nested four deep at most. alg must be present; alg, typ
// and kid must be text, kid of 1 to 128 printable ASCII characters. crit, b64
// (RFC 7797) and zip are refused: no extension is understood here. jku, jwk,
// x5u, x5c and everything else is ignored: keys never come from tokens.
func ParseHeader(data []byte) (Header, error) {
	var h Header
	if len(data) > maxHeader {
		return h, &Error{Code: CodeLength, Offset: maxHeader, text: "the header is too long"}
	}
	err := Object(data, Limits{Depth: headerDepth}, func(name Text, value Value) error {
		switch {
		case name.Is("alg"):
			if value.Kind != KindString {
				return &Error{Code: CodeAlg, Offset: value.Offset, text: "the header's alg is no text"}
			}
			h.Alg = known(value.Text())
		case name.Is("typ"):
			if value.Kind != KindString {
				return &Error{Code: CodeTyp, Offset: value.Offset, text: "the header's typ is no text"}
			}
			h.Typ = known(value.Text())
		case name.Is("kid"):
			if value.Kind != KindString {
				return &Error{Code: CodeKid, Offset: value.Offset, text: "the header's kid is no text"}
			}
			if h.Kid = value.Text().String(); !validKid(h.Kid) {
				return &Error{Code: CodeKid, Offset: value.Offset, text: "the header's kid is not 1 to 128 printable ASCII characters"}
			}
		case name.Is("crit"), name.Is("b64"), name.Is("zip"):
			return &Error{Code: CodeCritical, Offset: value.Offset, text: "the header asks for an extension: crit, b64 or zip"}
		}
		return nil
	})
	if err != nil {
		return Header{}, err
	}
	if h.Alg == "" {
		return Header{}, &Error{Code: CodeAlg, text: "the header has no alg"}
	}
	return h, nil
}

// RequireType checks that typ, when present, is one of the types, in any case
// (RFC 7515, section 4.1.9).
func (h Header) RequireType(types ...string) error {
	if h.Typ == "" {
		return nil
	}
	for _, t := range types {
		if strings.EqualFold(h.Typ, t) {
			return nil
		}
	}
	return &Error{Code: CodeTyp, text: "the header's typ is none of those that are accepted"}
}

// known returns usual values without making a string.
func known(t Text) string {
	for _, s := range [...]string{"HS256", "RS512", "JWT", "at+jwt"} {
		if t.Is(s) {
			return s
		}
	}
	return t.String()
}

func validKid(kid string) bool {
	if kid == "" || len(kid) > maxKid {
		return false
	}
	for i := range len(kid) {
		if kid[i] < ' ' || kid[i] > '~' {
			return false
		}
	}
	return true
}
