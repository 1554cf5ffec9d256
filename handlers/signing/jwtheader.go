package signing

import (
	"errors"
	"fmt"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	requestAlg = "RS512"
	requestTyp = "JWT"
	maxHeader  = 2 << 10 // bytes, decoded
	maxKid     = 256     // bytes
	// maxEcho is how much of a body is repeated in a refusal, in bytes: enough
	// to see what was sent instead of a JWT, too little to be one.
	maxEcho = 16

	headerPrefix = "JWT header is not valid. "
	claimsPrefix = "JWT payload is not valid. "
	// pattern is what the real service says that it compares bodies with.
	pattern = `/^[a-zA-Z0-9\-_]+?\.[a-zA-Z0-9\-_]+?\.[a-zA-Z0-9\-_]+?$/`
)

// split takes a JWT apart.
func split(body []byte) (jws.Compact, *refusal) {
	parts, err := jws.Split(body, jws.MaxDocument)
	if err == nil {
		return parts, nil
	}
	echo := body
	if len(echo) > maxEcho {
		echo = echo[:maxEcho]
	}
	text := strings.ToValidUTF8(string(echo), "")
	if len(echo) < len(body) {
		text += "…"
	}
	return parts, badRequest(codePattern, payloadPrefix+`"value" with value "`+text+`" fails to match the required pattern: `+pattern)
}

func headerFault(code, text string) *refusal { return badRequest("header_"+code, headerPrefix+text) }

// readHeader reads a JWT's header and returns its kid. The texts are those of
// the real service, which validates with Joi.
func readHeader(encoded []byte) (kid string, ref *refusal) {
	data, err := jws.AppendDecode(nil, encoded)
	switch {
	case err != nil:
		return "", headerFault("encoding", `"value" must be base64url without padding`)
	case len(data) > maxHeader:
		return "", headerFault("length", fmt.Sprintf(`"value" must not be longer than %d bytes`, maxHeader))
	}
	var h members
	if err := h.read(data, jws.Limits{Depth: 4}, "alg", "typ", "kid", "crit", "b64", "zip"); err != nil {
		return "", headerFault(string(jws.CodeOf(err)), jsonFault(err))
	}
	if ref := h.mustBe("alg", requestAlg); ref != nil {
		return "", ref
	}
	if ref := h.mustBe("typ", requestTyp); ref != nil {
		return "", ref
	}
	kid, text := h.text("kid", maxKid)
	if text != "" {
		return "", headerFault("kid", text)
	}
	// No extension is understood. Keys that a header holds or points to are
	// ignored.
	for _, name := range [...]string{"crit", "b64", "zip"} {
		if h[name] != nil {
			return "", headerFault("extension", `"`+name+`" is not allowed`)
		}
	}
	return kid, nil
}

func (m members) mustBe(name, want string) *refusal {
	switch v := m[name]; {
	case v == nil:
		return headerFault(name, `"`+name+`" is required`)
	case !v.Text().Is(want):
		return headerFault(name, oneOf(name, []string{want}))
	}
	return nil
}

// members are those of a JSON object that have a meaning.
type members map[string]*jws.Value

// read reads an object, of which it keeps the members with these names. It may
// be called once.
func (m *members) read(data []byte, limits jws.Limits, names ...string) error {
	*m = make(members, len(names))
	return jws.Object(data, limits, func(name jws.Text, value jws.Value) error {
		for _, known := range names {
			if name.Is(known) {
				(*m)[known] = &value
			}
		}
		return nil
	})
}

// text returns a member that must be a text with characters in it, or says
// what is wrong with it.
func (m members) text(name string, limit int) (text, wrong string) {
	return textOf(m[name], name, limit)
}

func textOf(v *jws.Value, name string, limit int) (text, wrong string) {
	switch {
	case v == nil:
		return "", `"` + name + `" is required`
	case v.Kind != jws.KindString:
		return "", `"` + name + `" must be a string`
	}
	switch text = v.Text().String(); {
	case text == "":
		return "", `"` + name + `" is not allowed to be empty`
	case limit > 0 && len(text) > limit:
		return "", fmt.Sprintf(`"%s" length must be less than or equal to %d characters long`, name, limit)
	}
	return text, ""
}

// errStop ends the reading of an array.
var errStop = errors.New("signing: stop")

var jsonFaults = map[jws.Code]string{
	jws.CodeNotObject: "must be of type object",
	jws.CodeUTF8:      "must be valid UTF-8",
	jws.CodeDuplicate: "has two members of one name",
	jws.CodeCaseTwin:  "has two members whose names differ in case only",
	jws.CodeDepth:     "is nested too deeply",
	jws.CodeMembers:   "has too many members",
}

// jsonFault says what is wrong with a JSON text, without quoting it.
func jsonFault(err error) string {
	if text, ok := jsonFaults[jws.CodeOf(err)]; ok {
		return `"value" ` + text
	}
	return `"value" must be valid JSON`
}
