package message

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func sendable() *rapid.Generator[rune] {
	return rapid.RuneFrom([]rune(gsmBasic + gsmExtended + welsh))
}

// No character added to a text makes it smaller.
func TestFragmentsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat("a", rapid.IntRange(0, 900).Draw(t, "length")) + rapid.StringOf(sendable()).Draw(t, "text")
		before := Fragments(text)
		added := string(sendable().Draw(t, "added"))
		for _, longer := range []string{text + added, added + text} {
			if after := Fragments(longer); after < before {
				t.Fatalf("%q has %d fragments, and %d with %q", text, before, after, added)
			}
		}
	})
}

// The parts have room for the text, and one fewer would not.
func TestFragmentsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "ÿ", "^"}).Draw(t, "first") +
			strings.Repeat("a", rapid.IntRange(0, MaxSMS).Draw(t, "length")) +
			strings.Repeat("|", rapid.IntRange(0, 100).Draw(t, "extended"))
		units, alone, together := len(text)+strings.Count(text, "|")+strings.Count(text, "^"), 160, 153
		if strings.Contains(text, "ÿ") {
			units, alone, together = utf8.RuneCountInString(text), 70, 67
		}
		room := func(parts int) int {
			if parts <= 1 {
				return parts * alone
			}
			return parts * together
		}
		n := Fragments(text)
		if units > room(n) || n > 0 && units <= room(n-1) {
			t.Fatalf("%d units are in %d fragments of %d", units, n, room(n))
		}
	})
}

func TestSMSProperties(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.StringOf(sendable()),
		rapid.StringOf(rapid.SampledFrom([]rune("a ,.\n\t\r\u00a0\u200b\u200d\u0301–…’ŵŠ你😀"))))
	rapid.Check(t, func(t *rapid.T) {
		text := texts.Draw(t, "text")
		sms := SMS(text)
		if again := SMS(sms); again != sms {
			t.Fatalf("%q becomes %q, then %q", text, sms, again)
		}
		for _, r := range sms {
			if !strings.ContainsRune(gsmBasic+gsmExtended+welsh, r) {
				t.Fatalf("%q is left in %q", r, sms)
			}
		}
		for _, bad := range []string{"  ", "\n\n\n", " \n", "\n ", " ,", " ."} {
			if strings.Contains(sms, bad) {
				t.Fatalf("%q is left in %q", bad, sms)
			}
		}
		if sms != strings.TrimSpace(sms) {
			t.Fatalf("%q has white space around it", sms)
		}
	})
}

// The longest message is six fragments; an emoji or a CJK character counts 1,
// a joiner nothing.
func TestCharacters(t *testing.T) {
	assert.Equal(t, 6, Fragments(strings.Repeat("a", MaxSMS)))
	for text, want := range map[string]int{"": 0, "é": 1, "ŵ": 1, "^": 1, "😀": 1, "你": 1, "a\u200d\u200bb": 2, "a…": 4} {
		assert.Equal(t, want, Characters(SMS(text)), text)
	}
}

func TestNamesOfZeroWidth(t *testing.T) {
	got, err := mustParse(t, "((first\u200bname))").Render(values(t, "First-Name\ufeff", "Al"), Inline)
	require.NoError(t, err)
	assert.Equal(t, "Al", got)
}
