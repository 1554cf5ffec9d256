package jwks

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// form takes the token apart. One that is too long is read on as far as any
// token may be.
func (e *explainer) form(token []byte) bool {
	const name = "token form"
	parts, err := jws.Split(token, e.v.maxToken)
	switch code := jws.CodeOf(err); {
	case err == nil:
		e.ok(name, "three parts, %d characters", len(token))
	case code == jws.CodeLength:
		e.fail(name, formPrefix+Code(code), "it has %d characters; at most %d are accepted", len(token), e.v.maxToken)
		if parts, err = jws.Split(token, jws.MaxDocument); err != nil {
			return false
		}
	case code == jws.CodeParts:
		e.fail(name, formPrefix+Code(code), "%s", partsText(token))
		return false
	default:
		e.fail(name, formPrefix+Code(code), "%s", foreignText(token, err))
		return false
	}
	e.parts = parts
	return true
}

func partsText(token []byte) string {
	switch n := bytes.Count(token, []byte{'.'}) + 1; {
	case len(token) == 0:
		return "there is none"
	case n == 5:
		return "it has five parts, as encrypted tokens (JWE) have; only signed ones can be verified"
	case n == 3 && token[len(token)-1] == '.':
		return "its third part is empty: it has no signature"
	case n == 3:
		return "one of its three parts is empty"
	default:
		return counted(n, "part") + " between dots, expected 3"
	}
}

// foreignText says which character no token has.
func foreignText(token []byte, err error) string {
	e, ok := err.(*jws.Error) //nolint:errorlint // Split returns it bare
	if !ok || e.Offset >= len(token) {
		return formText(err)
	}
	what := quote(string(token[e.Offset : e.Offset+1]))
	switch token[e.Offset] {
	case ' ', '\t':
		what = "a blank: something else was copied with it"
	case '\r', '\n':
		what = "a line break"
	case '=':
		what = "'=': tokens are base64url without padding (RFC 7515, section 2)"
	case '+', '/':
		what = "of the standard base64 alphabet: tokens are base64url, with - and _ instead (RFC 7515, section 2)"
	}
	return "character " + strconv.Itoa(e.Offset+1) + " is " + what
}

func formText(err error) string { return strings.TrimPrefix(err.Error(), "jws: ") }

func (e *explainer) header() {
	const name = "header"
	decoded, err := jws.AppendDecode(nil, e.parts.Header)
	if err == nil {
		e.token.Header, err = jws.ParseHeader(decoded)
	}
	if err != nil {
		e.fail(name, formPrefix+Code(jws.CodeOf(err)), "%s", formText(err))
		e.skip("alg", "the header can't be read")
		e.skip("typ", "the header can't be read")
		return
	}
	e.hasHeader = true
	h := e.token.Header
	kid := "no kid"
	if h.Kid != "" {
		kid = "kid " + quote(h.Kid)
	}
	e.ok(name, "a JSON object with %s", kid)

	if slices.Contains(e.v.policy.Algorithms, h.Alg) {
		e.ok("alg", "%s", quote(h.Alg))
	} else {
		e.fail("alg", CodeAlgorithm, "%s is not allowed; allowed: %s%s", quote(h.Alg), strings.Join(e.v.policy.Algorithms, ", "), algHint(h.Alg))
	}
	typ := "none"
	if h.Typ != "" {
		typ = quote(h.Typ)
	}
	if e.v.policy.acceptsType(h.Typ) {
		e.ok("typ", "%s", typ)
	} else {
		e.fail("typ", CodeType, "%s is not accepted; accepted: %s", typ, typesText(e.v.policy.Types))
	}
}

func algHint(alg string) string {
	switch _, known := algorithms[alg]; {
	case known:
		return ""
	case strings.EqualFold(alg, "none"):
		return " (the token is not signed)"
	case strings.HasPrefix(strings.ToUpper(alg), "HS"):
		return " (it is signed with a shared secret, not with a key of a key set)"
	}
	for name := range algorithms {
		if strings.EqualFold(name, alg) {
			return " (names are compared exactly)"
		}
	}
	return ""
}

func typesText(types []string) string {
	texts := make([]string, len(types))
	for i, t := range types {
		if texts[i] = quote(t); t == "" {
			texts[i] = "none"
		}
	}
	return strings.Join(texts, ", ")
}

func (e *explainer) claimsForm() {
	const name = "claims"
	decoded, err := jws.AppendDecode(nil, e.parts.Claims)
	if err == nil {
		e.token.Claims, err = parseClaims(decoded)
	}
	if err != nil {
		e.token.Claims = Claims{}
		e.fail(name, formPrefix+Code(jws.CodeOf(err)), "%s", formText(err))
		return
	}
	e.hasClaims = true
	e.ok(name, "a JSON object with %s", counted(len(e.token.Claims.members), "member"))
}
