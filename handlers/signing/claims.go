package signing

import (
	"fmt"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	algorithmRS1   = evidence.RS1
	algorithmRS256 = evidence.RS256

	maxDocuments = 250
	maxName      = 256 // of iss, sub and ids, in bytes
)

// bodyLimits bound the JSON of claims and uploads. A document has a few
// members. More of them would take too long to compare.
var bodyLimits = jws.Limits{Depth: 8, Members: 4096}

// claims are those of a signature request.
type claims struct {
	issuer, subject string
	audience        []string
	expires, issued time.Time
	notBefore       time.Time // zero when absent
	algorithm       string
	// single tells the dialect with one payload and no ids.
	single    bool
	documents []document
}

// document is one that is to be signed.
type document struct {
	id      string
	payload string // standard base64
}

func claimFault(code, text string) *refusal { return badRequest("claim_"+code, claimsPrefix+text) }

// readClaims reads what POST /signaturerequest must hold, and says what is
// wrong first, in the words of the real service.
func readClaims(encoded []byte, algorithms []string, mayBeEmpty bool) (c claims, ref *refusal) {
	decoded := newBuffer(int64(len(encoded)))
	defer decoded.recycle()
	data, err := jws.AppendDecode(decoded.data[:0], encoded)
	if err != nil {
		return c, claimFault("encoding", `"value" must be base64url without padding`)
	}
	m, err := readWithArray(data, "payloads", "iss", "sub", "aud", "exp", "iat", "nbf", "algorithm", "payload")
	if err != nil {
		return c, claimFault(string(jws.CodeOf(err)), jsonFault(err))
	}
	var wrong string
	if c.issuer, wrong = m.text("iss", maxName); wrong != "" {
		return c, claimFault("iss", wrong)
	}
	if c.subject, wrong = m.text("sub", maxName); wrong != "" {
		return c, claimFault("sub", wrong)
	}
	if c.audience, wrong = m.audience(); wrong != "" {
		return c, claimFault("aud", wrong)
	}
	if c.expires, wrong = m.date("exp"); wrong != "" {
		return c, claimFault("exp", wrong)
	}
	if c.issued, wrong = m.date("iat"); wrong != "" {
		return c, claimFault("iat", wrong)
	}
	if m["nbf"] != nil {
		if c.notBefore, wrong = m.date("nbf"); wrong != "" {
			return c, claimFault("nbf", wrong)
		}
	}
	switch v := m["algorithm"]; {
	case v == nil:
		return c, claimFault("algorithm", `"algorithm" is required`)
	case !slices.ContainsFunc(algorithms, v.Text().Is):
		return c, claimFault("algorithm", oneOf("algorithm", algorithms))
	default:
		c.algorithm = v.Text().String()
	}
	if wrong = c.readDocuments(m["payload"], m["payloads"], mayBeEmpty); wrong != "" {
		return c, claimFault("payload", wrong)
	}
	return c, nil
}

// readWithArray reads an object with one more member, whose array may have any
// number of elements: of those beyond maxDocuments one is left, as that is
// enough to say that there are too many. Data is changed then.
func readWithArray(data []byte, array string, names ...string) (m members, err error) {
	names = append(names, array)
	if err = m.read(data, bodyLimits, names...); jws.CodeOf(err) != jws.CodeMembers {
		return m, err
	}
	cut := cutArray(data, array, maxDocuments+1)
	if len(cut) == len(data) {
		return m, err
	}
	var shorter members
	err = shorter.read(cut, bodyLimits, names...)
	return shorter, err
}

// cutArray removes what follows the first n elements of the array that is a
// member of an object. The text has not been checked, and nothing may come of
// it but the refusal of a text with so many elements.
func cutArray(data []byte, name string, n int) []byte {
	depth, elements, from := 0, 0, 0
	inside := false // the array is open
	named := false  // the last string of the object was the name
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			start := i + 1
			for i = start; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 1 && i < len(data) {
				named = string(data[start:i]) == name
			}
		case '{', '[':
			inside = inside || depth == 1 && named && data[i] == '['
			depth++
		case ',':
			if inside && depth == 2 {
				if elements++; elements == n {
					from = i
				}
			}
		case '}', ']':
			if depth--; inside && depth == 1 {
				if from == 0 {
					return data
				}
				return slices.Delete(data, from, i)
			}
		}
	}
	return data
}

// audience reads aud: one string, or an array of strings.
func (m members) audience() (all []string, wrong string) {
	v := m["aud"]
	if v == nil || v.Kind != jws.KindArray {
		one, wrong := m.text("aud", 0)
		return []string{one}, wrong
	}
	_ = jws.Array(v.Raw, bodyLimits, func(_ int, element jws.Value) error { // it was read once, as a part of the whole
		if element.Kind != jws.KindString {
			wrong = `"aud" must be a string`
		}
		all = append(all, element.Text().String())
		return nil
	})
	if wrong == "" && len(all) == 0 {
		wrong = `"aud" must contain at least 1 items`
	}
	return all, wrong
}

// date reads a NumericDate (RFC 7519, section 2).
func (m members) date(name string) (t time.Time, wrong string) {
	v := m[name]
	switch {
	case v == nil:
		return t, `"` + name + `" is required`
	case v.Kind != jws.KindNumber:
		return t, `"` + name + `" must be a number`
	}
	seconds, ok := v.NumericDate()
	switch {
	case ok:
		return time.Unix(seconds, 0), ""
	case v.Raw[0] == '-':
		return t, `"` + name + `" must be greater than or equal to 0`
	}
	return t, `"` + name + `" must be a safe number`
}

// readDocuments reads payload or payloads, of which there must be one.
func (c *claims) readDocuments(payload, payloads *jws.Value, mayBeEmpty bool) (wrong string) {
	switch {
	case payload != nil && payloads != nil:
		return `"value" contains a conflict between exclusive peers [payload, payloads]`
	case payload == nil && payloads == nil:
		return `"value" must contain at least one of [payload, payloads]`
	case payload != nil:
		c.single = true
		text, wrong := payloadOf(payload, "payload")
		c.documents = []document{{payload: text}}
		return wrong
	case payloads.Kind != jws.KindArray:
		return `"payloads" must be an array`
	}
	seen := make(map[string]struct{}, 16)
	_ = jws.Array(payloads.Raw, bodyLimits, func(i int, element jws.Value) error { // as above
		var d document
		if i == maxDocuments {
			wrong = fmt.Sprintf(`"payloads" must contain less than or equal to %d items`, maxDocuments)
		} else if d, wrong = readDocument(i, element); wrong == "" {
			if _, twice := seen[d.id]; twice {
				wrong = fmt.Sprintf(`"payloads[%d]" contains a duplicate value`, i)
			}
		}
		if wrong != "" {
			return errStop
		}
		seen[d.id] = struct{}{}
		c.documents = append(c.documents, d)
		return nil
	})
	if wrong == "" && len(c.documents) == 0 && !mayBeEmpty {
		wrong = `"payloads" must contain at least 1 items`
	}
	return wrong
}

func readDocument(i int, v jws.Value) (d document, wrong string) {
	name := fmt.Sprintf("payloads[%d]", i)
	if v.Kind != jws.KindObject {
		return d, `"` + name + `" must be of type object`
	}
	var m members
	_ = m.read(v.Raw, bodyLimits, "id", "payload", "display") // as above
	if d.id, wrong = textOf(m["id"], name+".id", maxName); wrong != "" {
		return d, wrong
	}
	if v := m["display"]; v != nil && v.Kind != jws.KindString {
		return d, `"` + name + `.display" must be a string`
	}
	d.payload, wrong = payloadOf(m["payload"], name+".payload")
	return d, wrong
}

func payloadOf(v *jws.Value, name string) (text, wrong string) {
	if text, wrong = textOf(v, name, 0); wrong != "" {
		return text, wrong
	}
	if _, err := decodeBase64(strictBase64, text); err != nil {
		wrong = `"` + name + `" must be a valid base64 string`
	}
	return text, wrong
}

// decoded returns the documents as they are signed.
func (c *claims) decoded() ([]evidence.Document, error) {
	all := make([]evidence.Document, len(c.documents))
	for i, d := range c.documents {
		payload, err := decodeBase64(strictBase64, d.payload)
		if err != nil {
			return nil, fmt.Errorf("signing: a stored payload is no base64: %w", err)
		}
		all[i] = evidence.Document{ID: d.id, Payload: payload}
	}
	return all, nil
}
