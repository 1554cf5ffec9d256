package message

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFragments(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		// The check values of section 2.2 of the wire reference.
		{strings.Repeat("à", 160), 1},
		{strings.Repeat("à", 161), 2},
		{strings.Repeat("à", 307), 3},
		{strings.Repeat("ÿ", 70), 1},
		{strings.Repeat("ÿ", 71), 2},
		{strings.Repeat("ÿ", 135), 3},
		{strings.Repeat("^", 80), 1},
		{strings.Repeat("^", 81), 2},
		{strings.Repeat("a", 158) + "|", 1},
		{strings.Repeat("a", 159) + "|", 2},
		{strings.Repeat("à", 70) + "ÿ", 2},

		{"", 0},
		{"a", 1},
		{strings.Repeat("a", 306), 2},
		{strings.Repeat("ÿ", 134), 2},
		{strings.Repeat("€", 80), 1},
		{strings.Repeat("€", 81), 2},
		{strings.Repeat("a", 918), 6},
		{strings.Repeat("ŵ", 918), 14},
	} {
		assert.Equal(t, c.want, Fragments(c.text), "%d x %.4q…", Characters(c.text), c.text)
	}
}

func TestSMS(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"GSM-7", "Hello, £5 @ é ñ Δ", "Hello, £5 @ é ñ Δ"},
		{"extension", `^{}\[~]|€`, `^{}\[~]|€`},
		{"Welsh", "Ŵyn, tŷ, ẁ ỳ Ÿ", "Ŵyn, tŷ, ẁ ỳ Ÿ"},
		{"dashes", "a – b — c", "a - b - c"},
		{"quotes", "‘a’ “b”", `'a' "b"`},
		{"ellipsis", "wait…", "wait..."},
		{"no-break space and tab", "a\u00a0b\tc", "a b c"},
		{"zero width", "a\u200bb\u200cc\u200dd\u2060e\ufefff\u180eg", "abcdefg"},
		{"accents", "ō ş č Ł", "o s c ?"},
		{"two accents", "ế", "e"},
		{"decomposed stays composed", "e\u0301 u\u0308", "é ü"},
		{"lone accent", "q\u0308", "q"},
		{"emoji", "ok 😀", "ok ?"},
		{"emoji of two with a joiner", "👩\u200d🚒", "??"},
		{"flag", "🇬🇧", "??"},
		{"CJK", "你好", "??"},
		{"bidi override", "a\u202eb", "a?b"},
		{"escape of GSM-7 is no character", "a\x1bb", "a?b"},
		{"dropped between spaces", "a \u200b b", "a b"},
		{"dropped at the end of a line", "a \u200b\nb", "a\nb"},

		{"runs", "a   b \t c", "a b c"},
		{"around", "  \n a \n ", "a"},
		{"ends of lines", "a  \n  b", "a\nb"},
		{"one blank line", "a\n\nb", "a\n\nb"},
		{"many blank lines", "a\n \n\n\t\nb", "a\n\nb"},
		{"line ends", "a\r\nb\rc\vd\fe\u2028f", "a\nb\nc\nd\ne\nf"},
		{"before punctuation", "a , b . c", "a, b. c"},
		{"punctuation that begins a line", "a\n, b", "a\n, b"},
		{"nothing", " \n\t", ""},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, SMS(c.text)) })
	}
}

func TestEmailAndSubject(t *testing.T) {
	body, _, err := mustParse(t, "\r\n a  b\r\n\r\n\r c \n").Email(Values{})
	require.NoError(t, err)
	assert.Equal(t, "a  b\n\n\n c", body)
	assert.Equal(t, "a b Bcc: c", Subject(" a\r\n b\nBcc:  c "), "a subject can't add a header")
	body, _, err = mustParse(t, " \r\n").Email(Values{})
	require.NoError(t, err)
	assert.Empty(t, body)
}
