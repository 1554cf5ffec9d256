package jwks

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Claims are the claims of a token, as they were signed. Don't change the
// bytes that its methods return.
type Claims struct {
	raw     []byte
	members []member
}

type member struct {
	name  jws.Text
	value jws.Value
}

// usualClaims is how many claims most tokens have at most.
const usualClaims = 12

func parseClaims(raw []byte) (Claims, error) {
	c := Claims{raw: raw, members: make([]member, 0, usualClaims)}
	err := c.read(raw)
	return c, err
}

func (c *Claims) read(raw []byte) error {
	return jws.Object(raw, jws.Limits{}, func(name jws.Text, value jws.Value) error {
		c.members = append(c.members, member{name, value})
		return nil
	})
}

// JSON returns the claims' JSON text, byte for byte as signed.
func (c Claims) JSON() []byte { return c.raw }

// Decode decodes the claims as encoding/json does. It finds members in any
// case, but no object of verified claims has two that differ in case only.
func (c Claims) Decode(into any) error {
	if c.raw == nil {
		return errors.New("jwks: there are no claims")
	}
	return json.Unmarshal(c.raw, into)
}

// Lookup finds a claim: by its whole name, or else, where the name has dots,
// inside of objects: "realm.roles" is the member roles of the claim realm.
// Names are compared exactly. A name that holds dots itself, such as an
// address, can be any part of that.
func (c Claims) Lookup(name string) (jws.Value, bool) {
	if value, ok := c.top(name); ok {
		return value, true
	}
	for dot := strings.LastIndexByte(name, '.'); dot > 0; dot = strings.LastIndexByte(name[:dot], '.') {
		outer, ok := c.top(name[:dot])
		if !ok || outer.Kind != jws.KindObject {
			continue
		}
		var inner Claims
		// It was read once, as a part of the whole.
		if err := inner.read(outer.Raw); err != nil {
			continue
		}
		if value, ok := inner.Lookup(name[dot+1:]); ok {
			return value, true
		}
	}
	return jws.Value{}, false
}

func (c Claims) top(name string) (jws.Value, bool) {
	for i := range c.members {
		if c.members[i].name.Is(name) {
			return c.members[i].value, true
		}
	}
	return jws.Value{}, false
}

// Text returns a claim that is a string.
func (c Claims) Text(name string) (string, bool) {
	value, ok := c.Lookup(name)
	if !ok || value.Kind != jws.KindString {
		return "", false
	}
	return value.Text().String(), true
}

// Texts returns a claim that is an array of strings, or a string as the only
// element.
func (c Claims) Texts(name string) ([]string, bool) {
	value, ok := c.Lookup(name)
	if !ok {
		return nil, false
	}
	return texts(value)
}

func texts(value jws.Value) ([]string, bool) {
	switch value.Kind {
	case jws.KindString:
		return []string{value.Text().String()}, true
	case jws.KindArray:
		var all []string
		err := jws.Array(value.Raw, jws.Limits{}, func(_ int, element jws.Value) error {
			if element.Kind != jws.KindString {
				return errNoText
			}
			all = append(all, element.Text().String())
			return nil
		})
		return all, err == nil
	default:
		return nil, false
	}
}

var errNoText = errors.New("jwks: not a string")

// Time returns a claim that is a NumericDate (RFC 7519, section 2): a number of
// seconds from 0 to 2^53, fractions allowed.
func (c Claims) Time(name string) (time.Time, bool) {
	value, ok := c.Lookup(name)
	if !ok {
		return time.Time{}, false
	}
	return date(value)
}

func date(value jws.Value) (time.Time, bool) {
	seconds, ok := value.NumericDate()
	if !ok {
		return time.Time{}, false
	}
	for _, c := range value.Raw {
		if c < '0' || c > '9' {
			f, err := strconv.ParseFloat(string(value.Raw), 64)
			_, fraction := math.Modf(f)
			return time.Unix(seconds, int64(fraction*float64(time.Second))), err == nil
		}
	}
	return time.Unix(seconds, 0), true
}
