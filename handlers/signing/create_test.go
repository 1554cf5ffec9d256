package signing

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// textCase is one of testdata/texts.json: a good request, signed anew after
// the changes, and what is said to it.
type textCase struct {
	Name         string
	Header       map[string]any
	RemoveHeader []string
	RawHeader    string
	Claims       map[string]any
	RemoveClaims []string
	RawClaims    string
	Key          string
	Status       int
	Message      *string
}

func (c *textCase) token(t *testing.T, f *fixture) string {
	t.Helper()
	edit := func(good, with map[string]any, without []string, raw string) string {
		if raw != "" {
			return raw
		}
		maps.Copy(good, with)
		for _, name := range without {
			delete(good, name)
		}
		return toJSON(t, good)
	}
	key := c.Key
	if key == "" {
		key = "test-4096"
	}
	return signJSON(t, key,
		edit(map[string]any{"alg": "RS512", "typ": "JWT", "kid": "test-4096"}, c.Header, c.RemoveHeader, c.RawHeader),
		edit(f.goodClaims(nil), c.Claims, c.RemoveClaims, c.RawClaims))
}

func TestTexts(t *testing.T) { // G3 to G6, and all the others
	data, err := os.ReadFile(filepath.Join("testdata", "texts.json"))
	require.NoError(t, err)
	var cases []textCase
	require.NoError(t, json.Unmarshal(data, &cases))
	f := newFixture(t, nil)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			f.clock.t = vectorTime
			w := f.post(t, c.token(t, f))
			if c.Message == nil {
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				return
			}
			requireRefusal(t, w, c.Status, *c.Message)
			if c.Status == http.StatusServiceUnavailable {
				assert.Equal(t, "5", w.Header().Get("Retry-After"))
			}
		})
	}
}

func TestVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "signing_jwts.json"))
	require.NoError(t, err)
	var vectors struct {
		Cases []struct{ ID, Token, Expect, Class, Note, Scope string }
	}
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.Len(t, vectors.Cases, 66)
	f := newFixture(t, nil)
	for _, v := range vectors.Cases {
		t.Run(v.ID+" "+v.Note, func(t *testing.T) {
			w := f.post(t, v.Token)
			if v.Expect == "accept" {
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				return
			}
			require.Equal(t, http.StatusBadRequest, w.Code, w.Body)
			assert.Contains(t, w.Body.String(), `{"statusCode":400,"error":"Bad Request","message":"`)
			assert.NotContains(t, w.Body.String(), v.Token)
			assert.NotContains(t, f.log.String(), v.Token)
		})
	}
}

func TestPattern(t *testing.T) { // G2
	f := newFixture(t, nil)
	good := f.mint(t, nil)
	unsigned := good[:strings.LastIndexByte(good, '.')+1]
	const start = `Invalid request payload: "value" with value "`
	const end = `" fails to match the required pattern: /^[a-zA-Z0-9\-_]+?\.[a-zA-Z0-9\-_]+?\.[a-zA-Z0-9\-_]+?$/`
	for body, echo := range map[string]string{
		unsigned:                unsigned[:16] + "…",
		good + "\n":             good[:16] + "…",
		" " + good:              " " + good[:15] + "…",
		good + ".x":             good[:16] + "…",
		`"` + good + `"`:        `"` + good[:15] + "…",
		"":                      "",
		"a.b":                   "a.b",
		"..":                    "..",
		"<b>\x00\xff\"é":        "<b>\x00\"é",
		strings.Repeat("é", 20): strings.Repeat("é", 8) + "…",
		"aaaaaaaaaaaaaaaé.b.":   "aaaaaaaaaaaaaaa…",
	} {
		requireRefusal(t, f.post(t, body), 400, start+echo+end)
	}
}

func TestNumberOfPayloads(t *testing.T) { // G7
	f := newFixture(t, nil)
	const tooMany = `JWT payload is not valid. "payloads" must contain less than or equal to 250 items`
	for _, n := range []int{1, 64, 250, 251, 400, 1000, 1363, 1364, 1365, 4095, 4096, 5000, 8500} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("document-%d", i)
		}
		sent := f.mint(t, map[string]any{"payloads": payloads(ids...)})
		require.Less(t, len(sent), 1<<20)
		w := f.post(t, sent)
		if n <= 250 {
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			continue
		}
		requireRefusal(t, w, 400, tooMany)
	}
	// What is wrong first comes first, wherever the payloads stand.
	many := `[` + strings.Repeat(`{"id":"a","payload":"YQ=="},`, 25_000) + `{}]`
	const header = `{"alg":"RS512","typ":"JWT","kid":"test-4096"}`
	for claims, message := range map[string]string{
		`{"payloads":` + many + `,"iss":"client-1"}`:                     `"sub" is required`,
		`{"payloads":` + many + `,"iss":"client-1","sub":"1","sub":"2"}`: `"value" has two members of one name`,
		`{"x":{"payloads":[1]},"y":"payloads","payloads":` + many + `}`:  `"iss" is required`,
		`{"x":` + many + `,"payloads":[{"id":"a","payload":"YQ=="}]}`:    `"value" has too many members`,
		`{"x":"\\\",\"payloads","y":"\"","payloads":` + many + `}`:       `"iss" is required`,
	} {
		requireRefusal(t, f.post(t, signJSON(t, "test-4096", header, claims)), 400, "JWT payload is not valid. "+message)
	}
	good := strings.TrimSuffix(toJSON(t, f.goodClaims(map[string]any{"payloads": nil})), "}")
	smallest := good + `,"payloads" : [` + strings.Repeat(`{"id":"a","payload":"YQ=="},`, 250) + strings.Repeat(`[],`, 200_000) + `1] }`
	requireRefusal(t, f.post(t, signJSON(t, "test-4096", header, smallest)), 400, `JWT payload is not valid. "payloads[1]" contains a duplicate value`)
}

func TestCutArray(t *testing.T) {
	for data, want := range map[string]string{
		`{"a":[1,2,3,4]}`:                         `{"a":[1,2]}`,
		` { "b" : "]" , "a" : [ 1 , 2 , 3 ] } `:   ` { "b" : "]" , "a" : [ 1 , 2 ] } `,
		`{"a":[[1,2,3],{"a":[1,2,3]},"],\"",4]}`:  `{"a":[[1,2,3],{"a":[1,2,3]}]}`,
		`{"b":[1,2,3],"a":[1,2,3],"b":[1,2,3]}`:   `{"b":[1,2,3],"a":[1,2],"b":[1,2,3]}`,
		`{"b":{"a":[1,2,3]},"b":"a","c":[1,2,3]}`: `{"b":{"a":[1,2,3]},"b":"a","c":[1,2,3]}`,
		`{"a":[1,2]}`:         `{"a":[1,2]}`,
		`{"a":[]}`:            `{"a":[]}`,
		`{"a":{"x":[1,2,3]}}`: `{"a":{"x":[1,2,3]}}`,
		`["a",[1,2,3]]`:       `["a",[1,2]]`, // no object; it is refused
		`{"a":[1,2,3`:         `{"a":[1,2,3`,
		`{"a":["`:             `{"a":["`,
		`{"a\`:                `{"a\`,
		`]]`:                  `]]`,
		``:                    ``,
	} {
		assert.Equal(t, want, string(cutArray([]byte(data), "a", 2)), data)
	}
}

func TestTheLargestRequest(t *testing.T) {
	f := newFixture(t, nil)
	text := strings.Repeat("x", 1800)
	documents := make([]any, 250)
	for i := range documents {
		documents[i] = map[string]any{"id": fmt.Sprintf("00000000-0000-0000-0000-%012d", i), "payload": b64(text)}
	}
	token := f.mint(t, map[string]any{"payloads": documents})
	require.Greater(t, len(token), 800<<10)
	require.Equal(t, http.StatusOK, f.post(t, token).Code)
}

func TestBytesAfterTheJSONOrBefore(t *testing.T) {
	f := newFixture(t, nil)
	header := `{"alg":"RS512","typ":"JWT","kid":"test-4096"}`
	claims := toJSON(t, f.goodClaims(nil))
	for _, c := range [][2]string{{header + " x", claims}, {"\ufeff" + header, claims}, {header, claims + "{}"}, {header, "\ufeff" + claims}} {
		require.Equal(t, http.StatusBadRequest, f.post(t, signJSON(t, "test-4096", c[0], c[1])).Code)
	}
}

func TestProfileINT2022(t *testing.T) {
	f := newFixture(t, nil)
	f = newFixture(t, func(c *Config) {
		withMock(t, f.clock.now)(c)
		c.Profile = ProfileINT2022
	})
	good := f.mint(t, map[string]any{"iss": "somebody", "aud": "https://elsewhere.example", "exp": 1, "iat": 1 << 40, "payloads": []any{}})
	forged := good[:strings.LastIndexByte(good, '.')] + ".AAAA"
	w := f.post(t, forged)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	again := f.post(t, forged)
	require.Equal(t, http.StatusOK, again.Code)
	token := tokenOf(t, w)
	require.Equal(t, forged, f.download(t, token).Body.String())
	requireRefusal(t, f.result(t, token), 404, "Could not find the specified signature response")
	requireRefusal(t, f.upload(t, token, "{}"), 404, "No signature request for specified token") // nowhere to return to
	requireRefusal(t, f.post(t, f.mint(t, map[string]any{"sub": nil})), 400, `JWT payload is not valid. "sub" is required`)

	token = f.downloaded(t, map[string]any{"payloads": []any{}})
	requireRefusal(t, f.upload(t, token, `{"signatures":[],"certificate":"AAAA"}`), 400, "Signature request holds nothing to sign")
}

func TestOneAlgorithm(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SignatureAlgorithms = []string{"RS1"} })
	requireRefusal(t, f.post(t, f.mint(t, nil)), 400, `JWT payload is not valid. "algorithm" must be [RS1]`)
}

// TestStates: only the state counts of a query, and it comes back as it is.
func TestStates(t *testing.T) {
	f := newFixture(t, nil)
	for query, want := range map[string]*string{
		"":                         nil,
		"?":                        nil,
		"?x=%zz":                   nil,
		"?x=1;2":                   nil,
		"?%zz&;&=&&x":              nil,
		"?States=1&STATE=2":        nil,
		"?x=%zz&state=a":           new("a"),
		"?state=a&x=1;state=2&%zz": new("a"),
		"?state":                   new(""),
		"?state=":                  new(""),
		"?st%61te=%20+%26":         new("  &"),
		"?state=a%3Bb=c":           new("a;b=c"),
		"?state=" + strings.Repeat("%e2%82%ac", 85): new(strings.Repeat("€", 85)),
	} {
		state, given, ref := readState(strings.TrimPrefix(query, "?"))
		require.Nil(t, ref, query)
		require.Equal(t, want != nil, given, query)
		if given {
			assert.Equal(t, *want, state)
		}
		r := f.call(t, http.MethodPost, "/signaturerequest"+query, f.mint(t, nil), "Content-Type", "text/plain")
		require.Equal(t, http.StatusOK, r.Code, query)
	}
	for query, message := range map[string]string{
		"state=%zz":                         `"state" must be encoded as in a URL`,
		"x=%zz&state=%":                     `"state" must be encoded as in a URL`,
		"state=a&state=a":                   `"state" must be a string`,
		"state=a&st%61te=":                  `"state" must be a string`,
		"state=%ff":                         `"state" must be valid UTF-8`,
		"state=" + strings.Repeat("x", 257): `"state" length must be less than or equal to 256 characters long`,
	} {
		requireRefusal(t, f.call(t, http.MethodPost, "/signaturerequest?"+query, f.mint(t, nil), "Content-Type", "text/plain"), 400, "Invalid request query: "+message)
	}
}

func TestRateLimit(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RateLimit = 3 })
	for range 2 {
		require.Equal(t, http.StatusOK, f.post(t, f.mint(t, nil)).Code)
	}
	w := f.post(t, f.mint(t, nil))
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "20", w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"throttled","details":{"coding":[
		{"system":"https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode","version":"1","code":"TOO_MANY_REQUESTS","display":"Too Many Requests"}]}}]}`, w.Body.String())
	assert.Equal(t, http.StatusOK, f.post(t, f.mint(t, map[string]any{"iss": "client-3"})).Code, "another client")
	f.clock.add(20 * time.Second)
	assert.Equal(t, http.StatusOK, f.post(t, f.mint(t, nil)).Code)
}

// TestMutations changes one character of a good JWT, anywhere.
func TestMutations(t *testing.T) {
	f := newFixture(t, nil)
	good := f.mint(t, nil)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/"
	for range 400 {
		at := rand.N(len(good))
		c := alphabet[rand.N(len(alphabet))]
		if c == good[at] {
			continue
		}
		w := f.post(t, good[:at]+string(c)+good[at+1:])
		require.Equal(t, http.StatusBadRequest, w.Code, "%d %q", at, c)
	}
	require.Equal(t, http.StatusOK, f.post(t, good).Code)
}

func TestSignatureOfAnotherLength(t *testing.T) {
	f := newFixture(t, nil)
	good := f.mint(t, nil)
	at := strings.LastIndexByte(good, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(good[at:])
	require.NoError(t, err)
	for _, other := range [][]byte{signature[1:], append([]byte{0}, signature...), make([]byte, 512), {1}} {
		requireRefusal(t, f.post(t, good[:at]+base64.RawURLEncoding.EncodeToString(other)), 400, "JWT signature is not valid")
	}
}
