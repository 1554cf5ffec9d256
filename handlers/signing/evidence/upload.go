package evidence

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// The algorithms: RSASSA-PKCS1-v1_5 with SHA-256, and with SHA-1.
const (
	RS256 = "RS256"
	RS1   = "RS1"
)

// Document is one of the documents whose signature was asked for.
type Document struct {
	// ID is unique among the documents of an upload. It is empty for the only
	// document of the single-payload dialect.
	ID string
	// Payload is what is signed, byte for byte.
	Payload []byte
}

// Signature is one of the signatures that came back.
type Signature struct {
	// ID is that of its document.
	ID string
	// Value is the signature in standard base64 with padding (RFC 4648, section
	// 4), as uploaded.
	Value string
}

// Upload is what was asked for and what came back.
type Upload struct {
	// Algorithm is what the request asked for: RS256 or RS1.
	Algorithm string
	// Subject is the user who was asked to sign: the request's sub.
	Subject string
	// Documents are those of the request, in its order; at least one.
	Documents  []Document
	Signatures []Signature
	// Certificate is that of the signing key: DER in standard base64 with
	// padding, as uploaded.
	Certificate string
	// Chain are certificates of authorities that may help to find a way from
	// the certificate to a trusted one, in the same form. They are trusted no
	// more than the certificate itself. At most 8.
	Chain []string
}

// single reports whether this is the dialect with one payload and no ids.
func (u *Upload) single() bool { return len(u.Documents) == 1 && u.Documents[0].ID == "" }

// match returns the index of each document's signature. There must be exactly
// one for each document, and none else.
func (u *Upload) match() ([]int, error) {
	documents := make(map[string]int, len(u.Documents))
	for i, d := range u.Documents {
		if _, twice := documents[d.ID]; twice {
			return nil, fmt.Errorf("evidence: two documents have the id %q", d.ID)
		}
		documents[d.ID] = i
	}
	order := make([]int, len(u.Documents))
	for i := range order {
		order[i] = -1
	}
	for i, s := range u.Signatures {
		switch d, asked := documents[s.ID]; {
		case !asked:
			return nil, refuse(CodeIDs, textIDs+": %s was not requested", u.name(i))
		case order[d] >= 0:
			return nil, refuse(CodeIDs, textIDs+": %s is there more than once", u.name(i))
		default:
			order[d] = i
		}
	}
	for d, s := range order {
		if s < 0 {
			return nil, refuse(CodeIDs, textIDs+": %s is missing", describe(u.Documents[d].ID, "one of them"))
		}
	}
	return order, nil
}

// name says which signature is meant.
func (u *Upload) name(signature int) string {
	return describe(u.Signatures[signature].ID, fmt.Sprintf("the id of signatures[%d]", signature))
}

// member is the name of the signature's member in the upload.
func (u *Upload) member(signature int) string {
	if u.single() {
		return `"signature"`
	}
	return fmt.Sprintf(`"signatures[%d].signature"`, signature)
}

// of says whose signature is meant.
func (u *Upload) of(document int) string {
	if u.single() {
		return "Signature"
	}
	return "Signature of document " + describe(u.Documents[document].ID, fmt.Sprintf("number %d", document+1))
}

const longestEcho = 64

// describe quotes an id when it is short and printable, so that texts can go
// anywhere, and calls it otherwise when it is not.
func describe(id, otherwise string) string {
	if id == "" || len(id) > longestEcho {
		return otherwise
	}
	for i := range len(id) {
		if c := id[i]; c < 0x20 || c > 0x7e || strings.IndexByte(`"\<>&`, c) >= 0 {
			return otherwise
		}
	}
	return `"` + id + `"`
}

var strictBase64 = base64.StdEncoding.Strict()

// decode reads standard base64 with padding in its one canonical form.
func decode(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // which DecodeString skips
		return nil, false
	}
	b, err := strictBase64.DecodeString(text)
	return b, err == nil
}
