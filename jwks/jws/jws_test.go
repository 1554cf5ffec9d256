package jws

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSplit(t *testing.T) {
	c, err := Split([]byte("aa.bb-_.cc"), MaxBearer)
	require.NoError(t, err)
	assert.Equal(t, "aa", string(c.Header))
	assert.Equal(t, "bb-_", string(c.Claims))
	assert.Equal(t, "cc", string(c.Signature))
	assert.Equal(t, "aa.bb-_", string(c.Signed))

	for token, want := range map[string]Code{
		"":                              CodeParts,
		"aa":                            CodeParts,
		"aa.bb":                         CodeParts,
		"aa.bb.cc.dd":                   CodeParts,
		"aa.bb.cc.":                     CodeParts,
		".bb.cc":                        CodeParts,
		"aa..cc":                        CodeParts,
		"aa.bb.":                        CodeParts,
		"..":                            CodeParts,
		strings.Repeat(".", 100):        CodeParts,
		"aa.bb.c=":                      CodeAlphabet,
		"aa.bb.c+":                      CodeAlphabet,
		"aa.bb.c/":                      CodeAlphabet,
		"aa.bb.c\n":                     CodeAlphabet,
		"aa.bb.c ":                      CodeAlphabet,
		" aa.bb.cc":                     CodeAlphabet,
		"aa.bb.c\x00":                   CodeAlphabet,
		"aa.bb.c\xff":                   CodeAlphabet,
		strings.Repeat("a", 1001):       CodeLength,
		strings.Repeat(".", 1_000_000):  CodeLength,
		`{"payload":"a","protected":1}`: CodeAlphabet,
	} {
		_, err := Split([]byte(token), 1000)
		assert.Equal(t, want, CodeOf(err), "%.40q", token)
	}
}

func TestAppendDecode(t *testing.T) {
	got, err := AppendDecode([]byte("x"), []byte("_-8"))
	require.NoError(t, err)
	assert.Equal(t, "x\xff\xef", string(got))
	for _, text := range []string{"a", "aa=", "aa==", "ab", "aaa\n", "a\raa", "+-8", "_-9"} {
		got, err := AppendDecode([]byte("x"), []byte(text))
		assert.Equal(t, CodeEncoding, CodeOf(err), text)
		assert.Equal(t, "x", string(got), text)
	}
}

func TestParseHeader(t *testing.T) {
	h, err := ParseHeader([]byte(`{"typ":"jwt","alg":"RS512","kid":"a/../b","jku":"https://evil","jwk":{"k":1},"x5c":["x"]}`))
	require.NoError(t, err)
	assert.Equal(t, Header{Alg: "RS512", Typ: "jwt", Kid: "a/../b"}, h)
	require.NoError(t, h.RequireType("JWT"))
	require.NoError(t, Header{}.RequireType("JWT"))
	assert.Equal(t, CodeTyp, CodeOf(h.RequireType("at+jwt")))

	h, err = ParseHeader([]byte(`{"\u0061lg":"HS\u0032\u0035\u0036"}`))
	require.NoError(t, err)
	assert.Equal(t, "HS256", h.Alg)

	for header, want := range map[string]Code{
		`{}`:                                 CodeAlg,
		`{"alg":""}`:                         CodeAlg,
		`{"alg":null}`:                       CodeAlg,
		`{"alg":["HS256"]}`:                  CodeAlg,
		`{"Alg":"HS256"}`:                    CodeAlg,
		`{"alg":"HS256","typ":1}`:            CodeTyp,
		`{"alg":"HS256","kid":1}`:            CodeKid,
		`{"alg":"HS256","kid":""}`:           CodeKid,
		`{"alg":"HS256","kid":"\u0000"}`:     CodeKid,
		`{"alg":"HS256","kid":"é"}`:          CodeKid,
		`{"alg":"HS256","crit":["x"]}`:       CodeCritical,
		`{"alg":"HS256","crit":[]}`:          CodeCritical,
		`{"alg":"HS256","cr\u0069t":[]}`:     CodeCritical,
		`{"alg":"HS256","b64":true}`:         CodeCritical,
		`{"alg":"HS256","zip":"DEF"}`:        CodeCritical,
		`{"alg":"HS256","alg":"none"}`:       CodeDuplicate,
		`{"alg":"HS256","ALG":"none"}`:       CodeCaseTwin,
		`{"alg":"HS256","x":[[[[1]]]]}`:      CodeDepth,
		`{"alg":"HS256"}{}`:                  CodeSyntax,
		`null`:                               CodeNotObject,
		`"x"`:                                CodeNotObject,
		``:                                   CodeSyntax,
		"\uFEFF{}":                           CodeSyntax,
		"{\"alg\":\"HS256\",\"x\":\"\xff\"}": CodeUTF8,
		`{"alg":"HS256","kid":"` + strings.Repeat("k", 129) + `"}`: CodeKid,
		`{"alg":"HS256","x":"` + strings.Repeat("k", 2048) + `"}`:  CodeLength,
	} {
		_, err := ParseHeader([]byte(header))
		assert.Equal(t, want, CodeOf(err), "%.60q", header)
	}
}

func nothing(Text, Value) error { return nil }

func TestObjectRefuses(t *testing.T) {
	for text, want := range map[string]Code{
		`{"a":1,"a":2}`:                  CodeDuplicate,
		`{"a":1,"\u0061":2}`:             CodeDuplicate,
		`{"x":{"a":1,"a":2}}`:            CodeDuplicate,
		`{"x":[{"a":1,"a":2}]}`:          CodeDuplicate,
		`{"iat":1,"IAT":2}`:              CodeCaseTwin,
		`{"task":1,"ta\u017Fk":2}`:       CodeCaseTwin, // long s
		`{"ak":1,"a` + "\u212a" + `":2}`: CodeCaseTwin, // Kelvin
		`{"é":1,"É":2}`:                  CodeCaseTwin,
		`{"x":{"a":1,"A":2}}`:            CodeCaseTwin,
		`{"a":"\ud800"}`:                 CodeUTF8,
		`{"a":"\ud800\u0041"}`:           CodeUTF8,
		`{"a":"\udc00"}`:                 CodeUTF8,
		"{\"a\xc0\xaf\":1}":              CodeUTF8,
		"{\"a\":\"\xed\xa0\x80\"}":       CodeUTF8,
		`{"a":"\x"}`:                     CodeSyntax,
		`{"a":"\u12"}`:                   CodeSyntax,
		`{"a":"\u12g4"}`:                 CodeSyntax,
		"{\"a\":\"\n\"}":                 CodeSyntax,
		`{"a":01}`:                       CodeSyntax,
		`{"a":+1}`:                       CodeSyntax,
		`{"a":1.}`:                       CodeSyntax,
		`{"a":.5}`:                       CodeSyntax,
		`{"a":1e}`:                       CodeSyntax,
		`{"a":-}`:                        CodeSyntax,
		`{"a":NaN}`:                      CodeSyntax,
		`{"a":tru}`:                      CodeSyntax,
		`{"a":1,}`:                       CodeSyntax,
		`{,}`:                            CodeSyntax,
		`{"a" 1}`:                        CodeSyntax,
		`{"a":1 "b":2}`:                  CodeSyntax,
		`{a:1}`:                          CodeSyntax,
		`{'a':1}`:                        CodeSyntax,
		`{"a":1}x`:                       CodeSyntax,
		`{"a":1}{}`:                      CodeSyntax,
		`{"a":1`:                         CodeSyntax,
		`{"a`:                            CodeSyntax,
		`{"a":"\`:                        CodeSyntax,
		`{`:                              CodeSyntax,
		`{"a":[1,]}`:                     CodeSyntax,
		`{"a":[1}`:                       CodeSyntax,
		`/**/{}`:                         CodeSyntax,
		"{}\x00":                         CodeSyntax,
		"\v{}":                           CodeSyntax,
		`[]`:                             CodeNotObject,
		`1`:                              CodeNotObject,
		`{"a":[[[[[[[[]]]]]]]]}`:         CodeDepth,
		strings.Repeat(`{"a":`, 200_000): CodeDepth,
		`{"a":[` + strings.Repeat(`1,`, 999) + `1]}`: CodeMembers,
	} {
		err := Object([]byte(text), Limits{}, nothing)
		assert.Equal(t, want, CodeOf(err), "%.60q", text)
	}
}

func TestObjectVisitsMembersInOrder(t *testing.T) {
	const text = " {\"a\":\t-1.5E+3 , \"b\\n\":\"x\\u00e9\\ud83d\\ude00\\/\" ,\"\":null,\"n\":{\"A\":[true,{\"a\":false}]},\"é\":[]}\r\n"
	type member struct {
		name, raw, text string
		kind            Kind
	}
	var got []member
	require.NoError(t, Object([]byte(text), Limits{}, func(name Text, value Value) error {
		got = append(got, member{name.String(), string(value.Raw), value.Text().String(), value.Kind})
		assert.Equal(t, string(value.Raw), text[value.Offset:value.Offset+len(value.Raw)])
		return nil
	}))
	assert.Equal(t, []member{
		{"a", "-1.5E+3", "", KindNumber},
		{"b\n", `"x\u00e9\ud83d\ude00\/"`, "xé😀/", KindString},
		{"", "null", "", KindNull},
		{"n", `{"A":[true,{"a":false}]}`, "", KindObject},
		{"é", "[]", "", KindArray},
	}, got)
}

func TestObjectStopsAtTheVisitorsError(t *testing.T) {
	calls := 0
	err := Object([]byte(`{"a":1,"b":2}`), Limits{}, func(Text, Value) error {
		calls++
		return assert.AnError
	})
	require.ErrorIs(t, err, assert.AnError)
	assert.Equal(t, 1, calls)
}

func TestNestedTwins(t *testing.T) {
	allow := Limits{NestedTwins: true}
	require.NoError(t, Object([]byte(`{"a":{"b":1,"B":2}}`), allow, nothing))
	assert.Equal(t, CodeCaseTwin, CodeOf(Object([]byte(`{"b":1,"B":2}`), allow, nothing)))
	assert.Equal(t, CodeDuplicate, CodeOf(Object([]byte(`{"a":{"b":1,"b":2}}`), allow, nothing)))
}

// Names beyond those that are kept in place, in objects that open and close.
func TestManyNames(t *testing.T) {
	var inner, outer strings.Builder
	for i := range 40 {
		inner.WriteString(`"i` + strings.Repeat("x", i) + `":1,`)
		outer.WriteString(`"o` + strings.Repeat("x", i) + `":{` + strings.TrimSuffix(inner.String(), ",") + `},`)
	}
	limits := Limits{Members: 10_000}
	whole := "{" + outer.String() + `"z":1}`
	require.NoError(t, Object([]byte(whole), limits, nothing))
	assert.Equal(t, CodeDuplicate, CodeOf(Object([]byte(whole[:len(whole)-1]+`,"o":1}`), limits, nothing)))
	assert.Equal(t, CodeDuplicate, CodeOf(Object([]byte(whole[:len(whole)-1]+`,"oxxxxxxxxxxxxxxxxxxxxxxxxxxxxx":1}`), limits, nothing)))
	assert.Equal(t, CodeCaseTwin, CodeOf(Object([]byte(whole[:len(whole)-1]+`,"OXXXXXXXXXXXXXXXXXXXXXXXXXXXXX":1}`), limits, nothing)))
}

func TestArray(t *testing.T) {
	var got []string
	require.NoError(t, Array([]byte(` [1,"b",{"c":2}] `), Limits{}, func(i int, value Value) error {
		assert.Len(t, got, i)
		got = append(got, string(value.Raw))
		return nil
	}))
	assert.Equal(t, []string{"1", `"b"`, `{"c":2}`}, got)
	none := func(int, Value) error { return nil }
	require.NoError(t, Array([]byte(`[]`), Limits{}, none))
	assert.Equal(t, CodeNotObject, CodeOf(Array([]byte(`{}`), Limits{}, none)))
	assert.Equal(t, CodeSyntax, CodeOf(Array([]byte(`[1,]`), Limits{}, none)))
	assert.Equal(t, CodeSyntax, CodeOf(Array([]byte(`[1]]`), Limits{}, none)))
	assert.Equal(t, CodeDuplicate, CodeOf(Array([]byte(`[{"a":1,"a":1}]`), Limits{}, none)))
}

func TestNumericDate(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1453680000": 1453680000, "1453680000.999": 1453680000, "1.45368e9": 1453680000,
		"9007199254740992": 1 << 53, "1568818578.0": 1568818578, "0.5": 0, "1e-400": 0, "14536800000E-1": 1453680000,
	} {
		got, ok := value(t, text).NumericDate()
		assert.True(t, ok, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"-1", "-0", "-0.5", "9007199254740993", "9007199254740994", "1e400", "99999999999999999999", `"1453680000"`, "null", "true", "[1]", "{}",
	} {
		_, ok := value(t, text).NumericDate()
		assert.False(t, ok, text)
	}
}

func value(t *testing.T, text string) Value {
	t.Helper()
	var out Value
	require.NoError(t, Object([]byte(`{"v":`+text+`}`), Limits{}, func(_ Text, v Value) error {
		out = v
		return nil
	}))
	return out
}

func TestErrorsQuoteNothing(t *testing.T) {
	_, err := Split([]byte("secret.secret.secret="), MaxBearer)
	assert.NotContains(t, err.Error(), "secret")
	assert.Equal(t, CodeUnexpected, CodeOf(assert.AnError))
}

func TestNoAllocations(t *testing.T) {
	claims := []byte(`{"iss":"26785a09-ab16-4eb0-8407-a37497a57506","iat":1453680000,"req":"x","pay":"y"}`)
	token := []byte(base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + ".aaaa")
	buffer := make([]byte, 0, 512)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		c, err := Split(token, MaxBearer)
		if err != nil {
			t.Fatal(err)
		}
		header, err := AppendDecode(buffer, c.Header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHeader(header); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := Object(claims, Limits{}, func(name Text, _ Value) error {
			if name.Is("iat") {
				n++
			}
			return nil
		}); err != nil || n != 1 {
			t.Fatal(err, n)
		}
	}))
}
