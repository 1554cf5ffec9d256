package jwksauth

import (
	"bytes"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/jwks"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// ClaimText returns a claim as a text, for placeholders and the like: a string
// as it is, a number or an object as its JSON text, true or false, and the
// elements of an array with commas between them. A claim that is absent or
// null has none. name is as of [jwks.Claims.Lookup].
func ClaimText(c jwks.Claims, name string) (string, bool) {
	value, ok := c.Lookup(name)
	if !ok || value.Kind == jws.KindNull {
		return "", false
	}
	if value.Kind != jws.KindArray {
		return text(value), true
	}
	var all []string
	eachElement(value, func(element jws.Value) bool {
		all = append(all, text(element))
		return true
	})
	return strings.Join(all, ","), true
}

// HasClaim reports whether a claim is one of the values, or an array that has
// one of them among its elements. Strings are compared exactly, numbers, true
// and false by their JSON text, so that 1 is not 1.0. Without values it reports
// whether the claim is there, and neither null nor an empty string, array or
// object.
func HasClaim(c jwks.Claims, name string, values ...string) bool {
	value, ok := c.Lookup(name)
	switch {
	case !ok:
		return false
	case len(values) == 0:
		return !empty(value)
	case value.Kind != jws.KindArray:
		return isOneOf(value, values)
	}
	found := false
	eachElement(value, func(element jws.Value) bool {
		found = isOneOf(element, values)
		return !found
	})
	return found
}

// text returns a string as it is, and any other value's JSON text.
func text(value jws.Value) string {
	if value.Kind == jws.KindString {
		return value.Text().String()
	}
	return string(value.Raw)
}

func isOneOf(value jws.Value, values []string) bool {
	switch value.Kind {
	case jws.KindString:
		return slices.ContainsFunc(values, value.Text().Is)
	case jws.KindNumber, jws.KindBool:
		return slices.Contains(values, string(value.Raw))
	default:
		return false
	}
}

func empty(value jws.Value) bool {
	switch value.Kind {
	case jws.KindNull:
		return true
	case jws.KindString:
		return value.Text().Empty()
	case jws.KindArray, jws.KindObject:
		// It is JSON: between the brackets there is nothing, or blanks.
		return len(bytes.TrimSpace(value.Raw[1:len(value.Raw)-1])) == 0
	default:
		return false
	}
}

// eachElement visits the elements of an array until visit returns false. The
// array has been read before, as a part of the claims.
func eachElement(array jws.Value, visit func(jws.Value) bool) {
	more := true
	_ = jws.Array(array.Raw, jws.Limits{}, func(_ int, element jws.Value) error {
		more = more && visit(element)
		return nil
	})
}
