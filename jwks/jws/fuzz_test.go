package jws

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzObject compares the reader with encoding/json: whatever it accepts is an
// object there too, with the same members; whatever it refuses and
// encoding/json takes breaks one of the stricter rules.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"iss":"x","iat":1.5,"n":{"a":[true,false,null]}}`, `{"a":"\u00e9\ud83d\ude00"}`, `{"a":1,"A":2}`,
		`{"a":"\ud800"}`, `{"a":-0.0e-1}`, ` [1] `, `null`, `{"":""}`, "{\"\xff\":1}", `{"k":1,"K":2}`, `{"a":1,"\u0061":2}`,
	} {
		f.Add([]byte(seed))
	}
	strictness := map[Code]bool{CodeUTF8: true, CodeDuplicate: true, CodeCaseTwin: true, CodeDepth: true, CodeMembers: true}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]json.RawMessage{}
		err := Object(data, Limits{}, func(name Text, value Value) error {
			got[name.String()] = json.RawMessage(value.Raw)
			if value.Kind == KindString {
				var want string
				if err := json.Unmarshal(value.Raw, &want); err != nil || value.Text().String() != want || !value.Text().Is(want) {
					t.Fatalf("%q reads %q", value.Raw, value.Text())
				}
			}
			return nil
		})
		var want map[string]json.RawMessage
		reference := json.Unmarshal(data, &want)
		isObject := reference == nil && want != nil
		if err != nil {
			if isObject && !strictness[CodeOf(err)] {
				t.Fatalf("refused as %s", CodeOf(err))
			}
			return
		}
		if !isObject {
			t.Fatalf("accepted, but encoding/json says %v", reference)
		}
		if !utf8.Valid(data) {
			t.Fatal("accepted invalid UTF-8")
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, not %d", len(got), len(want))
		}
		for name, raw := range want {
			if string(got[name]) != string(raw) {
				t.Fatalf("member %q is %q, not %q", name, got[name], raw)
			}
		}
	})
}

// FuzzSplit: what is accepted is put together again to the same bytes, so that
// a token has one spelling.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"a.b.c", "eyJh.eyJp.c2ln", "..", "aaaa.aaaa.aa=", "aa.aa.ab"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		c, err := Split(token, MaxBearer)
		if err != nil {
			return
		}
		parts := make([]string, 0, 3)
		for _, part := range [][]byte{c.Header, c.Claims, c.Signature} {
			raw, err := AppendDecode(nil, part)
			if err != nil {
				return
			}
			parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
		}
		if strings.Join(parts, ".") != string(token) {
			t.Fatalf("%q has another spelling: %q", token, parts)
		}
	})
}
