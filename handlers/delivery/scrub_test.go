package delivery

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"+447700900417":       "***417",
		"07700900417":         "***417",
		"123456":              "***",
		"":                    "***",
		"jane@example.org":    "j***@example.org",
		"jane@x@example.org":  "j***@example.org",
		"@example.org":        "***@example.org",
		"ünal@example.org":    "ü***@example.org",
		"not an address at @": "n***@",
	} {
		assert.Equal(t, want, Mask(in), in)
	}
}

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"the provider answered 503":  "the provider answered 503",
		"code 30003: unreachable":    "code 30003: unreachable",
		"number +44 7700 900-417 is": "number ***417 is",
		"to (07700) 900417":          "to (***417",
		"no such box: jane.doe@example.org, sorry": "no such box: j***@example.org, sorry",
		"line\r\nbreak\x00and\x1b[31m":             "line break and [31m",
		"bad \xff byte":                            "bad \uFFFD byte",
		"bidi \u202e override":                     "bidi override",
	} {
		assert.Equal(t, want, scrub(in), in)
	}
	n := &storage.Notification{To: "+447700900417", Body: "Your code is 58213", Subject: "Code"}
	assert.Equal(t, "*** refused: ***: ***", scrubFor("447700900417 refused: Code: Your code is 58213", n))
}

func FuzzScrub(f *testing.F) {
	for _, s := range []string{"", "+44 7700 900417", strings.Repeat("é", 500), "a@b", "\xff\x00", "1234567@1234567"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := scrub(s)
		assert.True(t, utf8.ValidString(out))
		assert.LessOrEqual(t, len(out), maxReason+len("…"))
		assert.NotRegexp(t, `\d{7}`, out)
		assert.NotContains(t, out, "\n")
	})
}
