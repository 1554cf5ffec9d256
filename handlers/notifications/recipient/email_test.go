package recipient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEmail(t *testing.T) {
	for text, want := range map[string]string{
		"al@example.com":                    "al@example.com",
		" al@example.com\n":                 "al@example.com",
		"Al.B+tag@Example.COM":              "Al.B+tag@example.com",
		"o'brien@example.co.uk":             "o'brien@example.co.uk",
		"a@b-c.example.museum":              "a@b-c.example.museum",
		"a@xn--bcher-kva.example":           "a@xn--bcher-kva.example",
		"a@bücher.example":                  "a@bücher.example",
		"simulate-delivered@notify.example": "simulate-delivered@notify.example",
		strings.Repeat("a", 64) + "@ex.uk":  strings.Repeat("a", 64) + "@ex.uk",
	} {
		got, err := NormaliseEmail(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{
		"", "@", "al", "al@", "@example.com", "al@example", "al@@example.com", "a@b@example.com",
		"al@example..com", "al@.example.com", "al@example.com.", "al@-example.com", "al@example-.com", "al@example.c",
		"al@127.0.0.1", "al@[127.0.0.1]", "al@example.123",
		".al@example.com", "al.@example.com", "a..l@example.com",
		"Al <al@example.com>", "<al@example.com>", `"al"@example.com`, "al(x)@example.com", "al@example.com, b@example.com",
		"a l@example.com", "al@exa mple.com", "al@example.com\r\nBcc: b@example.com", "al\x00@example.com", "al@exam\x00ple.com",
		"al\u202e@example.com", "ål@example.com", "al@exa_mple.com", "al@example.com\xff", "al;@example.com", "al@" + "exa%6dple.com",
		strings.Repeat("a", 65) + "@example.com",
		"al@" + strings.Repeat("a", 64) + ".com",
		"al@" + strings.Repeat("a.", 130) + "com",
		strings.Repeat("a", 1<<20) + "@example.com",
	} {
		_, err := NormaliseEmail(text)
		assert.EqualError(t, err, "Not a valid email address", "%.60q", text)
	}
}

func FuzzEmail(f *testing.F) {
	for _, s := range []string{"al@example.com", "Al <al@example.com>", "a@bücher.example", "a@b", "\x00@\x00.\x00", "a@xn--.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := NormaliseEmail(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, " \t\r\n\x00<>\",;:()[]\\") || strings.Count(got, "@") != 1 || len(got) > maxEmail {
			t.Fatalf("%q became %q", text, got)
		}
		if again, err := NormaliseEmail(got); err != nil || again != got {
			t.Fatalf("%q became %q, then %q, %v", text, got, again, err)
		}
	})
}
