package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, tc := range map[string]struct {
		documents, signatures []string
		want                  string
	}{
		"missing":             {[]string{"a", "b"}, []string{"a"}, `: "b" is missing`},
		"none":                {[]string{"a"}, nil, `: "a" is missing`},
		"not requested":       {[]string{"a"}, []string{"a", "b"}, `: "b" was not requested`},
		"in the place of one": {[]string{"a", "b"}, []string{"a", "B"}, `: "B" was not requested`},
		"twice":               {[]string{"a", "b"}, []string{"a", "b", "a"}, `: "a" is there more than once`},
		"twice, one missing":  {[]string{"a", "b"}, []string{"a", "a"}, `: "a" is there more than once`},
		"blank":               {[]string{"a"}, []string{"a "}, `: "a " was not requested`},
		"empty":               {[]string{"a"}, []string{""}, `: the id of signatures[0] was not requested`},
		"too long to echo":    {[]string{"a"}, []string{long}, `: the id of signatures[0] was not requested`},
		"long and missing":    {[]string{long, "a"}, []string{"a"}, `: one of them is missing`},
		"unprintable":         {[]string{"a"}, []string{"a", "\x1b[2J"}, `: the id of signatures[1] was not requested`},
		"markup":              {[]string{"a"}, []string{"<b>"}, `: the id of signatures[0] was not requested`},
		"not ASCII":           {[]string{"é"}, []string{"e\u0301"}, `: the id of signatures[0] was not requested`},
		"single, with an id":  {[]string{""}, []string{"a"}, `: "a" was not requested`},
	} {
		t.Run(name, func(t *testing.T) {
			var u Upload
			for _, id := range tc.documents {
				u.Documents = append(u.Documents, Document{ID: id})
			}
			for _, id := range tc.signatures {
				u.Signatures = append(u.Signatures, Signature{ID: id})
			}
			_, err := u.match()
			refused(t, err, CodeIDs, `Invalid request payload: "signatures" must contain exactly the requested ids`+tc.want)
		})
	}
}

func TestTwoDocumentsWithOneID(t *testing.T) {
	u := Upload{Documents: []Document{{ID: "a"}, {ID: "a"}}}
	_, err := u.match()
	require.ErrorContains(t, err, "two documents")
	assert.Equal(t, CodeUnexpected, CodeOf(err), "it is no fault of the upload")
}

// Exactly the uploads whose ids are a permutation of those requested match, and
// then every document has its own signature.
func TestMatchingProperty(t *testing.T) {
	id := rapid.StringMatching(`[ab]{0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		var u Upload
		asked := rapid.SliceOfNDistinct(id, 1, 5, rapid.ID[string]).Draw(t, "asked")
		for _, id := range asked {
			u.Documents = append(u.Documents, Document{ID: id})
		}
		var given []string
		if rapid.Bool().Draw(t, "permute") {
			given = rapid.Permutation(asked).Draw(t, "given")
		} else {
			given = rapid.SliceOfN(id, 0, 6).Draw(t, "given")
		}
		for i, id := range given {
			u.Signatures = append(u.Signatures, Signature{id, fmt.Sprint(i)})
		}
		order, err := u.match()
		want, got := slices.Sorted(slices.Values(asked)), slices.Sorted(slices.Values(given))
		if !slices.Equal(want, got) {
			require.Equal(t, CodeIDs, CodeOf(err))
			return
		}
		require.NoError(t, err)
		require.Len(t, order, len(asked))
		for d, s := range order {
			require.Equal(t, asked[d], given[s])
		}
	})
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]bool{
		"YWI=": true, "YWJj": true, "+/+/": true, "": true,
		"YWI": false, "YWI==": false, "YWJ=": false /* spare bits */, "-_-_": false, "YW\nI=": false, "YWI=\n": false,
		"YWI=\r": false, " YWI=": false, "YWI= ": false, "YWI=YWI=": false, "Y WI=": false,
	} {
		_, ok := decode(text)
		assert.Equal(t, want, ok, "%q", text)
	}
}
