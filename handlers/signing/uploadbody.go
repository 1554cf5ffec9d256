package signing

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// maxChain is the number of certificates that may come along.
const maxChain = 8

func uploadFault(wrong string) *refusal { return badRequest(codeUpload, payloadPrefix+wrong) }

// readUpload reads {"signatures": [{"id", "signature"}], "certificate",
// "chain"?}; for the dialect with one payload also {"signature",
// "certificate"}. Whether the ids are those requested, and all the rest, is
// the evidence's affair.
func readUpload(body []byte, single bool) (u evidence.Upload, ref *refusal) {
	m, err := readWithArray(body, "signatures", "signature", "certificate", "chain")
	if err != nil {
		if jws.CodeOf(err) == jws.CodeSyntax {
			return u, badRequest(codeUpload, textJSON)
		}
		return u, uploadFault(jsonFault(err))
	}
	var wrong string
	switch {
	case single && m["signature"] != nil && m["signatures"] != nil:
		wrong = `"value" contains a conflict between exclusive peers [signature, signatures]`
	case single && m["signatures"] == nil:
		var value string
		value, wrong = m.text("signature", 0)
		u.Signatures = []evidence.Signature{{Value: value}}
	default:
		u.Signatures, wrong = readSignatures(m["signatures"], single)
	}
	if wrong != "" {
		return u, uploadFault(wrong)
	}
	if u.Certificate, wrong = m.text("certificate", 0); wrong != "" {
		return u, uploadFault(wrong)
	}
	if u.Chain, wrong = readChain(m["chain"]); wrong != "" {
		return u, uploadFault(wrong)
	}
	return u, nil
}

// readSignatures reads the list. The only payload of its dialect has no id, so
// whichever the signer gave its signature doesn't matter.
func readSignatures(v *jws.Value, single bool) (all []evidence.Signature, wrong string) {
	switch {
	case v == nil:
		return nil, `"signatures" is required`
	case v.Kind != jws.KindArray:
		return nil, `"signatures" must be an array`
	}
	_ = jws.Array(v.Raw, bodyLimits, func(i int, element jws.Value) error { // it was read once, as a part of the whole
		var s evidence.Signature
		switch name := fmt.Sprintf("signatures[%d]", i); {
		case i == maxDocuments:
			wrong = fmt.Sprintf(`"signatures" must contain less than or equal to %d items`, maxDocuments)
		case element.Kind != jws.KindObject:
			wrong = `"` + name + `" must be of type object`
		default:
			s, wrong = readSignature(element, name, single)
		}
		if wrong != "" {
			return errStop
		}
		all = append(all, s)
		return nil
	})
	return all, wrong
}

func readSignature(v jws.Value, name string, single bool) (s evidence.Signature, wrong string) {
	var m members
	_ = m.read(v.Raw, bodyLimits, "id", "signature") // as above
	if !single {
		if s.ID, wrong = textOf(m["id"], name+".id", maxName); wrong != "" {
			return s, wrong
		}
	}
	s.Value, wrong = textOf(m["signature"], name+".signature", 0)
	return s, wrong
}

func readChain(v *jws.Value) (all []string, wrong string) {
	switch {
	case v == nil || v.Kind == jws.KindNull:
		return nil, ""
	case v.Kind != jws.KindArray:
		return nil, `"chain" must be an array`
	}
	_ = jws.Array(v.Raw, bodyLimits, func(i int, element jws.Value) error { // as above
		if i == maxChain {
			wrong = fmt.Sprintf(`"chain" must contain less than or equal to %d items`, maxChain)
			return errStop
		}
		var text string
		if text, wrong = textOf(&element, fmt.Sprintf("chain[%d]", i), 0); wrong != "" {
			return errStop
		}
		all = append(all, text)
		return nil
	})
	return all, wrong
}

// signature is one of an answer.
type signature struct {
	ID        string `json:"id"`
	Signature string `json:"signature"`
}

// result is what GET /signatureresponse answers: in the shape of the request,
// and in the order of its documents.
func (c *claims) result(u *evidence.Upload) []byte {
	var v any
	if c.single {
		v = struct {
			Signature   string `json:"signature"`
			Certificate string `json:"certificate"`
		}{u.Signatures[0].Value, u.Certificate}
	} else {
		values := make(map[string]string, len(u.Signatures))
		for _, s := range u.Signatures {
			values[s.ID] = s.Value
		}
		all := make([]signature, len(c.documents))
		for i, d := range c.documents {
			all[i] = signature{ID: d.id, Signature: values[d.id]}
		}
		v = struct {
			Signatures  []signature `json:"signatures"`
			Certificate string      `json:"certificate"`
		}{all, u.Certificate}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // texts always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
