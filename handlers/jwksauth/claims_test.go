package jwksauth

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// raw is a JSON text that is signed as it is, but for blanks between values,
// which encoding/json takes out.
func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestClaimText(t *testing.T) {
	c := claimsOf(t, map[string]any{
		"string": "Zoë, \"x\"\n", "empty": "", "number": raw("1.50e2"), "yes": true, "no": false, "null": nil,
		"array": raw(`["a","b,c",1,true,null,{"x":1},[2]]`), "none": raw(`[]`), "object": raw(`{"a":{"b":"deep"},"c":[1]}`),
		"realm.roles": "whole", "realm": raw(`{"roles":["x"],"other":["y","z"]}`), "absent": raw("null"),
	})
	for name, want := range map[string]string{
		"string": "Zoë, \"x\"\n", "empty": "", "number": "1.50e2", "yes": "true", "no": "false",
		"array": `a,b,c,1,true,null,{"x":1},[2]`, "none": "", "object": `{"a":{"b":"deep"},"c":[1]}`,
		"object.a": `{"b":"deep"}`, "object.a.b": "deep", "object.c": "1",
		"realm.roles": "whole", "realm.other": "y,z",
	} {
		got, ok := ClaimText(c, name)
		require.True(t, ok, name)
		assert.Equal(t, want, got, name)
	}
	for _, name := range []string{"null", "absent", "nothing", "object.x", "string.x", "", "String"} {
		got, ok := ClaimText(c, name)
		assert.False(t, ok, name)
		assert.Empty(t, got, name)
	}
	_, ok := ClaimText(jwks.Claims{}, "sub")
	assert.False(t, ok)
}

func TestHasClaim(t *testing.T) {
	c := claimsOf(t, map[string]any{
		"string": "a", "escaped": "é<", "empty": "", "number": raw("7"), "zero": raw("0"), "yes": true, "no": false, "absent": raw("null"),
		"array": raw(`["a","b",7,true,null,["nested"],{"c":"d"}]`), "none": raw("[ ]"), "object": raw(`{"a":["x"]}`), "void": raw("{}"),
		"admin": raw(`["administrator"]`),
	})
	for _, yes := range [][]string{
		{"string"}, {"string", "a"}, {"string", "x", "a"}, {"escaped", "é<"}, {"empty", ""}, {"number", "7"}, {"number"}, {"zero"}, {"no"}, {"no", "false"},
		{"yes", "true"}, {"array"}, {"array", "b"}, {"array", "x", "7"}, {"array", "true"}, {"object"}, {"object.a", "x"},
	} {
		assert.True(t, HasClaim(c, yes[0], yes[1:]...), "%q", yes)
	}
	for _, no := range [][]string{
		{"string", "A"}, {"string", "a "}, {"string", ""}, {"string", "x", "y"}, {"empty"}, {"number", "7.0"}, {"number", "07"}, {"yes", "1"},
		{"absent"}, {"absent", ""}, {"absent", "null"}, {"missing"}, {"missing", ""}, {"array", "null"}, {"array", "nested"}, {"array", "a,b"},
		{"array", `{"c":"d"}`}, {"none"}, {"none", ""}, {"void"}, {"void", "{}"}, {"object", `{"a":["x"]}`}, {"admin", "admin"},
	} {
		assert.False(t, HasClaim(c, no[0], no[1:]...), "%q", no)
	}
}

func TestClaimHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		claim any
		comma string // "!" for refused
		json  string
	}{
		"string":                  {"someone", "someone", `"someone"`},
		"inner blanks and commas": {"Doe, Jo", "Doe, Jo", `"Doe, Jo"`},
		"UTF-8":                   {raw(`"Zoë 😀"`), "Zoë 😀", `"Zo\u00eb \ud83d\ude00"`},
		"escaped":                 {raw(`"a\u00e9\/\"\\"`), `aé/"\`, `"a\u00e9\/\"\\"`},
		"last of its size":        {raw("\"\uffff\""), "\uffff", `"\uffff"`},
		"number":                  {raw("-1.50E+2"), "-1.50E+2", "-1.50E+2"},
		"true":                    {true, "true", "true"},
		"false":                   {false, "false", "false"},
		"null":                    {raw("null"), "", ""},
		"empty string":            {"", "", ""},
		"empty array":             {raw("[]"), "", ""},
		"array":                   {raw(`["a","b c",3,true]`), "a,b c,3,true", `["a","b c",3,true]`},
		"array of one":            {raw(`["a"]`), "a", `["a"]`},
		"array of UTF-8":          {raw(`["é","ü"]`), "é,ü", `["\u00e9","\u00fc"]`},
		"object":                  {raw(`{"a":"é","b":[]}`), "!", `{"a":"\u00e9","b":[]}`},
		"empty object":            {raw(`{}`), "!", `{}`},
		"line feed":               {raw(`"a\nb"`), "!", `"a\nb"`},
		"carriage return":         {raw(`"a\rX-Admin: 1"`), "!", `"a\rX-Admin: 1"`},
		"escaped NUL":             {raw(`"\u0000"`), "!", `"\u0000"`},
		"escaped C1":              {raw(`"a\u0085b"`), "!", `"a\u0085b"`},
		"tab":                     {raw(`"a\tb"`), "!", `"a\tb"`},
		"DEL":                     {"a\x7fb", "!", "!"},
		"C1":                      {"a\u0085b", "!", "!"},
		"DEL in array":            {raw("[\"a\x7f\"]"), "!", "!"},
		"DEL in object":           {raw("{\"a\x7f\":1}"), "!", "!"},
		"leading blank":           {" a", "!", `" a"`},
		"trailing blank":          {"a ", "!", `"a "`},
		"only a blank":            {" ", "!", `" "`},
		"no-break space":          {"\u00a0a", "!", `"\u00a0a"`},
		"comma in array":          {raw(`["a","b,c"]`), "!", `["a","b,c"]`},
		"empty element":           {raw(`["a",""]`), "!", `["a",""]`},
		"null element":            {raw(`[null]`), "!", `[null]`},
		"blank element":           {raw(`["a"," b"]`), "!", `["a"," b"]`},
		"nested array":            {raw(`["a",["b"]]`), "!", `["a",["b"]]`},
		"object in array":         {raw(`[{}]`), "!", `[{}]`},
	} {
		for format, want := range map[Format]string{Comma: c.comma, JSON: c.json} {
			t.Run(name+"/"+format.String(), func(t *testing.T) {
				a := authenticator(t, Config{Claims: []ClaimHeader{{"sub", "x-subject", Comma}, {"c", "x-claim", format}}})
				r := get("/", append(bearer(mint(t, map[string]any{"c": c.claim})), "X-Claim", "evil", "X-Subject", "evil")...)
				got := code(t, a, r)
				if want == "!" {
					require.Equal(t, CodeClaimValue, got)
					assert.NotContains(t, r.Header, "X-Claim")
					assert.NotContains(t, r.Header, "X-Subject", "all or none")
					return
				}
				require.Empty(t, got)
				expected := http.Header{"X-Subject": {"someone"}}
				if want != "" {
					expected["X-Claim"] = []string{want}
				}
				assert.Equal(t, expected, r.Header)
				if format == JSON && want != "" {
					assert.JSONEq(t, mustJSON(t, c.claim), want)
				}
			})
		}
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// TestClaimsWithBlanks: line breaks between values, which encoding/json would
// not write.
func TestClaimsWithBlanks(t *testing.T) {
	a := authenticator(t, Config{Claims: []ClaimHeader{{"c", "X-Claim", JSON}}})
	for text, want := range map[string]Code{
		`{"iss": "https://id.example.org", "exp": 1800000300, "c" : [1, 2 ]}`:     "",
		"{\"iss\":\"https://id.example.org\",\"exp\":1800000300,\"c\":[1,\n2]}":   CodeClaimValue,
		"{\"iss\":\"https://id.example.org\",\"exp\":1800000300,\"c\":\n[1]\n}":   "",
		"{\"iss\":\"https://id.example.org\",\"exp\":1800000300,\"c\":[ \t\n]\n}": "",
	} {
		r := get("/", bearer(sign(t, text))...)
		assert.Equal(t, want, code(t, a, r), text)
	}
	r := get("/", bearer(sign(t, `{"iss": "https://id.example.org", "exp": 1800000300, "c" : [1, 2 ]}`))...)
	require.Empty(t, code(t, a, r))
	assert.Equal(t, "[1, 2 ]", r.Header.Get("X-Claim"), "as it was signed")
}

func TestHeadersDontShareTheirValues(t *testing.T) {
	a := authenticator(t, Config{Claims: []ClaimHeader{{"sub", "X-A", Comma}, {"iss", "X-B", Comma}}})
	r := get("/", bearer(mint(t, nil))...)
	require.Empty(t, code(t, a, r))
	r.Header.Add("X-A", "more")
	assert.Equal(t, []string{"https://id.example.org"}, r.Header["X-B"])
}
