package notifications

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{
		`null`: "None", `true`: "True", `false`: "False", `1.50`: "1.50", `"a"`: "a", `"it's"`: `"its"`, `"\"it's\""`: `"it\s"`,
		`"a\\b\n\r\t\u0001\u00a0\u200b"`: `a\\b\n\r\t\x01\xa0\u200b`, `"é – 💙"`: "é – 💙", `"\udb40\udc01"`: `\U000e0001`,
		`[1, ["a"], {}]`: "[1, [a], {}]", `{"a": null, "b": [true]}`: "{a: None, b: [True]}",
	} {
		v, err := readJSON([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, v.quoted(), text)
	}
	v, err := readJSON([]byte(`"` + strings.Repeat("é", 5000) + `"`))
	require.NoError(t, err)
	assert.True(t, utf8.ValidString(v.quoted()))
	assert.LessOrEqual(t, len(v.quoted()), maxQuoted+len("…"))
}

// Whatever is sent is read or refused, and a refusal has texts that are text.
func FuzzV2Request(f *testing.F) {
	for _, body := range []string{
		``, `null`, `[]`, `{}`, v2SMS(), v2Email(), v2SMS("scheduled_for", "2016-01-25T12:00"), v2SMS("reference", strings.Repeat("x", 1001)),
		`{"phone_number":"07890x32109","template":"x"}`, `{"personalisation":{"a":[1,{"file":""}],"A ":null}}`,
		v2Body("content", "x", "reference", "\x00", "postage", 1), `{"a":1,"a":2}`, "[[[[[[", `"\ud800"`,
	} {
		f.Add([]byte(body))
	}
	s := newServer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, schema := range []v2Schema[v2Message]{v2SMSSchema, v2EmailSchema, v2LetterSchema, v2PrecompiledSchema} {
			m, ref := readV2(s.api, schema, body)
			if ref != nil {
				assert.Equal(t, 400, ref.status)
				if ref.code == codeInvalidJSON {
					assert.NotEmpty(t, ref.text)
					continue
				}
				assert.NotEmpty(t, ref.errors)
				for _, e := range ref.errors {
					assert.NotEmpty(t, e.Message)
					assert.True(t, utf8.ValidString(e.Message))
				}
				continue
			}
			assert.True(t, json.Valid(body))
			assert.LessOrEqual(t, utf8.RuneCountInString(m.reference), maxReference)
			if m.to.channel == storage.SMS {
				assert.True(t, strings.HasPrefix(m.to.address, "+"))
			}
			if m.template != "" {
				_, ok := parseUUID(m.template)
				assert.True(t, ok)
			}
		}
	})
}
