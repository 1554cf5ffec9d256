package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/jwks"
)

// keyDocument is a JWK set as it stands in a file. Members and keys that aren't
// known here are kept as they are.
type keyDocument struct {
	members []documentMember // in their order; that of the keys has no value
	keys    []json.RawMessage
}

type documentMember struct {
	name  string
	value json.RawMessage
}

const keysMember = "keys"

func parseKeyDocument(text []byte) (keyDocument, error) {
	var doc keyDocument
	// It says what was found when it isn't JSON at all.
	if _, _, err := jwks.Parse(text, jwks.Limits{}); err != nil {
		return doc, err
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if !bytes.HasPrefix(text, []byte("{")) {
		return doc, errors.New(`found PEM, expected a JWK set ({"keys": [...]}), such as jwks generate writes`)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return doc, err
	}
	isSet := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return doc, err
		}
		m := documentMember{name: fmt.Sprint(name)}
		if m.name == keysMember {
			isSet = true
			err = d.Decode(&doc.keys)
		} else {
			err = d.Decode(&m.value)
		}
		if err != nil {
			return doc, err
		}
		doc.members = append(doc.members, m)
	}
	if !isSet {
		return doc, errors.New(`found a single JWK, expected a JWK set: write it as {"keys": [...]}`)
	}
	return doc, nil
}

func (doc keyDocument) encode() ([]byte, error) {
	members := doc.members
	if !slices.ContainsFunc(members, func(m documentMember) bool { return m.name == keysMember }) {
		members = append(slices.Clone(members), documentMember{name: keysMember})
	}
	var compact, out bytes.Buffer
	for i, m := range members {
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		compact.WriteByte("{,"[min(i, 1)])
		compact.Write(name)
		compact.WriteByte(':')
		if m.name != keysMember {
			compact.Write(m.value)
			continue
		}
		compact.WriteByte('[')
		compact.Write(bytes.Join(rawBytes(doc.keys), []byte{','}))
		compact.WriteByte(']')
	}
	compact.WriteByte('}')
	// Not through Marshal, which would change escapes in members that are kept.
	if err := json.Indent(&out, compact.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func rawBytes(all []json.RawMessage) [][]byte {
	out := make([][]byte, len(all))
	for i, raw := range all {
		out[i] = raw
	}
	return out
}

// kidOf returns a key's id, empty when it has none.
func kidOf(raw json.RawMessage) string {
	var members map[string]json.RawMessage
	var kid string
	if json.Unmarshal(raw, &members) != nil || json.Unmarshal(members["kid"], &kid) != nil {
		return ""
	}
	return kid
}

// kids lists the ids of the keys, for people.
func (doc keyDocument) kids() string {
	all := make([]string, len(doc.keys))
	for i, raw := range doc.keys {
		all[i] = printable(kidOf(raw))
	}
	return strings.Join(all, ", ")
}

// lacks refuses the id of a key that is there.
func (doc keyDocument) lacks(kid string) error {
	if slices.ContainsFunc(doc.keys, func(raw json.RawMessage) bool { return kidOf(raw) == kid }) {
		return fmt.Errorf("a key with the kid %q is in the file already: choose another one with --kid", kid)
	}
	return nil
}

// with adds a key.
func (doc keyDocument) with(k *jwks.Key) (keyDocument, error) {
	if err := doc.lacks(k.Kid); err != nil {
		return doc, err
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return doc, err
	}
	doc.keys = append(slices.Clone(doc.keys), raw)
	return doc, nil
}

// without removes a key.
func (doc keyDocument) without(kid string) (keyDocument, error) {
	kept := slices.DeleteFunc(slices.Clone(doc.keys), func(raw json.RawMessage) bool { return kidOf(raw) == kid })
	switch gone := len(doc.keys) - len(kept); {
	case kid == "", gone == 0:
		return doc, fmt.Errorf("no key of the file has the kid %q; there are: %s", kid, doc.kids())
	case gone > 1:
		return doc, fmt.Errorf("%d keys of the file have the kid %q: remove the right one by hand", gone, kid)
	}
	doc.keys = kept
	return doc, nil
}
