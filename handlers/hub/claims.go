package hub

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	maxDocuments = 250
	maxName      = 256 // of iss, sub and ids, in bytes
)

// bodyLimits bound the JSON of requests. A document has a few members.
var bodyLimits = jws.Limits{Depth: 8, Members: 4096}

// claims are those of a signature request.
type claims struct {
	issuer, subject, audience string
	expires, issued           time.Time
	notBefore                 time.Time // zero when absent
	algorithm                 string
	documents                 []Document
}

func readClaims(data []byte) (*claims, error) {
	m, err := readMembers(data, "iss", "sub", "aud", "exp", "iat", "nbf", "algorithm", "payload", "payloads")
	if err != nil {
		return nil, invalid("The JWT's claims are not one JSON object without duplicate members.")
	}
	c := &claims{audience: audienceOf(m["aud"])}
	wrong := ""
	note := func(ok bool, text string) {
		if !ok && wrong == "" {
			wrong = text
		}
	}
	var ok bool
	c.issuer, ok = m["iss"].name()
	note(ok, "iss must be a text of 1 to 256 bytes")
	c.subject, ok = m["sub"].name()
	note(ok, "sub must be a text of 1 to 256 bytes")
	note(c.audience != "", "aud must be one text")
	c.expires, ok = m["exp"].date()
	note(ok, "exp must be a number of seconds since 1970")
	c.issued, ok = m["iat"].date()
	note(ok, "iat must be a number of seconds since 1970")
	if m["nbf"].present() {
		c.notBefore, ok = m["nbf"].date()
		note(ok, "nbf must be a number of seconds since 1970")
	}
	if wrong != "" {
		return nil, invalid("The JWT's " + wrong + ".")
	}
	if c.algorithm, err = algorithmOf(m["algorithm"]); err != nil {
		return nil, err
	}
	c.documents, err = readDocuments(m["payload"], m["payloads"])
	return c, err
}

// member is a member of a JSON object that has a meaning; the zero member is
// one that is missing.
type member struct {
	jws.Value
}

func (m member) present() bool { return m.Raw != nil }

// name returns a text that can be shown in a line.
func (m member) name() (string, bool) {
	text := m.text()
	return text, text != "" && len(text) <= maxName
}

// text returns a text, empty when it is none.
func (m member) text() string {
	if !m.present() || m.Kind != jws.KindString {
		return ""
	}
	return m.Text().String()
}

// date reads a NumericDate (RFC 7519, section 2).
func (m member) date() (time.Time, bool) {
	if !m.present() || m.Kind != jws.KindNumber {
		return time.Time{}, false
	}
	seconds, ok := m.NumericDate()
	return time.Unix(seconds, 0), ok
}

// readMembers reads an object, of which it keeps the members with these names.
func readMembers(data []byte, names ...string) (map[string]member, error) {
	m := make(map[string]member, len(names))
	err := jws.Object(data, bodyLimits, func(name jws.Text, value jws.Value) error {
		for _, known := range names {
			if name.Is(known) {
				m[known] = member{value}
			}
		}
		return nil
	})
	return m, err
}

// errStop ends the reading of an array.
var errStop = errors.New("hub: stop")

// audienceOf reads aud: one text, or an array with that only element.
func audienceOf(m member) string {
	if !m.present() || m.Kind != jws.KindArray {
		return m.text()
	}
	audience := ""
	err := jws.Array(m.Raw, bodyLimits, func(i int, element jws.Value) error {
		if i > 0 {
			return errStop
		}
		audience = member{element}.text()
		return nil
	})
	if err != nil {
		return ""
	}
	return audience
}

func algorithmOf(m member) (string, error) {
	switch text := m.text(); text {
	case RS256, RS1:
		return text, nil
	case "":
		return "", invalid("The request's algorithm must be RS256 or RS1.")
	default:
		return "", &Error{Code: CodeUnsupportedAlgorithm, Message: "The request's algorithm must be RS256 or RS1.", RetriesLeft: -1}
	}
}

// readDocuments reads payload or payloads, of which there must be one, with the
// rules of the signing API.
func readDocuments(payload, payloads member) ([]Document, error) {
	switch {
	case payload.present() == payloads.present():
		return nil, invalid("The request must have either payload or payloads.")
	case payload.present():
		content, ok := decodePayload(payload)
		if !ok {
			return nil, invalid("The request's payload must be standard base64, and not empty.")
		}
		return []Document{{Content: content}}, nil
	case payloads.Kind != jws.KindArray:
		return nil, invalid("The request's payloads must be an array.")
	}
	var all []Document
	var fault error
	seen := make(map[string]bool, 16)
	err := jws.Array(payloads.Raw, bodyLimits, func(i int, element jws.Value) error {
		var d Document
		if i == maxDocuments {
			fault = invalid(fmt.Sprintf("The request's payloads must be %d at most.", maxDocuments))
		} else if d, fault = readDocument(i, element); fault == nil && seen[d.ID] {
			fault = invalid(fmt.Sprintf("The request's payloads[%d] has the id of another.", i))
		}
		if fault != nil {
			return errStop
		}
		seen[d.ID] = true
		all = append(all, d)
		return nil
	})
	switch {
	case fault != nil:
		return nil, fault
	case err != nil || len(all) == 0:
		return nil, invalid("The request's payloads must be one at least.")
	}
	return all, nil
}

func readDocument(i int, v jws.Value) (Document, error) {
	m, err := readMembers(v.Raw, "id", "payload", "display")
	if err != nil {
		return Document{}, invalid(fmt.Sprintf("The request's payloads[%d] must be an object.", i))
	}
	id, ok := m["id"].name()
	if !ok {
		return Document{}, invalid(fmt.Sprintf("The request's payloads[%d].id must be a text of 1 to 256 bytes.", i))
	}
	content, ok := decodePayload(m["payload"])
	if !ok {
		return Document{}, invalid(fmt.Sprintf("The request's payloads[%d].payload must be standard base64, and not empty.", i))
	}
	if display := m["display"]; display.present() && display.Kind != jws.KindString {
		return Document{}, invalid(fmt.Sprintf("The request's payloads[%d].display must be a text.", i))
	}
	return Document{ID: id, Content: content, Display: m["display"].text()}, nil
}

// strictBase64 also refuses spare bits other than zero.
var strictBase64 = base64.StdEncoding.Strict()

func decodePayload(m member) ([]byte, bool) {
	content, err := decodeBase64(m.text())
	return content, err == nil && len(content) > 0
}

// decodeBase64 refuses line ends, which encoding/base64 skips.
func decodeBase64(text string) ([]byte, error) {
	if at := strings.IndexAny(text, "\r\n"); at >= 0 {
		return nil, base64.CorruptInputError(at)
	}
	return strictBase64.DecodeString(text)
}
