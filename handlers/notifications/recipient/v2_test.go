package recipient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	uk := func(number string) Phone { return Phone{Number: number, SameCode: true} }
	crown := func(number string) Phone { return Phone{Number: number, SameCode: true, International: true} }
	landline := func(number string) Phone { return Phone{Number: number, SameCode: true, Landline: true} }
	abroad := func(number string) Phone { return Phone{Number: number, International: true} }
	p := phones(t, "GB", false)
	for text, want := range map[string]Phone{
		// The check values of section 2.2 of the wire reference.
		"7723456789":          uk("+447723456789"),
		"07723-456-789":       uk("+447723456789"),
		"00447723456789":      uk("+447723456789"),
		"+44 (0)7723 456 789": uk("+447723456789"),
		"07700900000":         uk("+447700900000"),
		"07700900003":         uk("+447700900003"),
		"+447700900999":       uk("+447700900999"),

		"07723456789":      uk("+447723456789"),
		"07723 456789":     uk("+447723456789"),
		"00 44 7723456789": uk("+447723456789"),
		"447723456789":     uk("+447723456789"),
		"+447723456789":    uk("+447723456789"),
		"+44 7723 456 789": uk("+447723456789"),
		"+07723456789":     uk("+447723456789"),
		"0000007723456789": uk("+447723456789"),
		"+4407900900123":   uk("+447900900123"),
		"+00447723456789":  uk("+447723456789"),
		"044 7723456789":   uk("+447723456789"),
		"\u200b\t\t+44 (0)7723 456 789\ufeff \r\n": uk("+447723456789"),

		"++447723456789":    uk("+447723456789"),
		"0+447723456789":    uk("+447723456789"),
		"0+44(0)7723456789": uk("+447723456789"),
		"07723+456789":      uk("+447723456789"),

		"07797800123":   crown("+447797800123"), // Jersey
		"+447797292290": crown("+447797292290"),
		"07624 494949":  crown("+447624494949"), // Isle of Man
		"+447781101234": crown("+447781101234"), // Guernsey

		"0117 496 0860":    landline("+441174960860"),
		"+44 117 496 0860": landline("+441174960860"),
		"020 7946 0991":    landline("+442079460991"),
		"016064 1234":      landline("+44160641234"),
		"030 1234 5678":    landline("+443012345678"),
		"0550 123 4567":    landline("+445501234567"),

		"+7 (8) (495) 123-45-67":  abroad("+74951234567"),
		"007 (8) (495) 123-45-67": abroad("+74951234567"),
		"784951234567":            abroad("+74951234567"),
		"77234567890":             abroad("+77234567890"),
		"1-202-555-0104":          abroad("+12025550104"),
		"+12025550104":            abroad("+12025550104"),
		"0012025550104":           abroad("+12025550104"),
		"+0012025550104":          abroad("+12025550104"),
		"230 5 2512345":           abroad("+23052512345"),
		"+682 50 123":             abroad("+68250123"),
		"+33122334455":            abroad("+33122334455"),
		"0033122334455":           abroad("+33122334455"),
		"+43 676 111 222 333 4":   abroad("+436761112223334"),
		"20-12-1234-1234":         abroad("+201212341234"),
		"16644913789":             abroad("+16644913789"),
	} {
		got, err := p.Parse(text)
		if assert.NoError(t, err, text) {
			assert.Equal(t, want, got, text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const (
		letters = "Must not contain letters or symbols"
		many    = "Too many digits"
		few     = "Not enough digits"
		country = "Not a valid country prefix"
		invalid = "Number is not valid – double check the phone number you entered"
	)
	p := phones(t, "GB", true)
	for text, want := range map[string]string{
		"07890x32109":            letters,
		"07723 456789...":        letters,
		"07723 ☟☜⬇⬆☞☝":           letters,
		`07";DROP TABLE;"`:       letters,
		"+44 07ab cde fgh":       letters,
		"ALPHANUM3R1C":           letters,
		"٠٧٧٠٠٩٠٠١١١":            letters,
		"077009\x0000111":        letters,
		"07700900111\xff":        letters,
		"0772345678910":          many,
		"0044772345678910":       many,
		"+44 (0)7723 456 789 10": many,
		"80100000000":            many,
		"+12345 12345 12345 6":   many,
		strings.Repeat("7", 50):  many,
		strings.Repeat("7", 999): many,
		"":                       few,
		"  ":                     few,
		"+":                      few,
		"0":                      few,
		"07":                     few,
		"077":                    few,
		"0772345678":             invalid,
		"004477234567":           invalid,
		"+44 (0)7723 456 78":     invalid,
		"1234567":                invalid,
		"+682 1234":              invalid,
		"0033877123456":          invalid,
		"0400 123 4567":          invalid,
		"0600 123 4567":          invalid,
		"0845 46 46":             invalid,
		"0900 123 4567":          invalid, // premium rate
		"0909 879 0000":          invalid,
		"0871 123 4567":          invalid,
		"07012345678":            invalid, // personal number
		"+999123456789":          country,
		"00999123456789":         country,
		"+870773111632":          country, // satellite
	} {
		got, err := p.Parse(text)
		var reason PhoneError
		if assert.ErrorAs(t, err, &reason, "%.40q became %v", text, got) {
			assert.Equal(t, want, reason.Text(), "%.40q", text)
		}
	}
}

func TestPermit(t *testing.T) {
	home, world := phones(t, "GB", false), phones(t, "GB", true)
	for text, want := range map[string]error{
		"07723456789":    nil,
		"07797800123":    nil, // Jersey
		"07700900111":    nil,
		"0117 496 0860":  ErrLandline,
		"+12025550104":   ErrInternational,
		"1-202-555-0104": ErrInternational,
	} {
		n, err := home.Parse(text)
		require.NoError(t, err)
		assert.Equal(t, want, home.Permit(n), text)
		if want == ErrInternational {
			want = nil
		}
		assert.Equal(t, want, world.Permit(n), text)
	}
	assert.EqualError(t, ErrLandline, "Not a UK mobile number")
	assert.EqualError(t, ErrInternational, "Cannot send to international mobile numbers")
}

// Every way to write a number gives the same one.
func TestParseSpellings(t *testing.T) {
	p := phones(t, "GB", false)
	spelling := func(t *rapid.T, prefixes []string, national string) string {
		var b strings.Builder
		b.WriteString(rapid.SampledFrom(prefixes).Draw(t, "prefix"))
		for _, d := range national {
			b.WriteString(rapid.SampledFrom([]string{"", "", " ", "-", "(", ")", "\u00a0", "\u200b", "\t"}).Draw(t, "separator"))
			b.WriteRune(d)
		}
		return b.String()
	}
	for _, c := range []struct {
		pattern, code string
		prefixes      []string
	}{
		{`7(4[0-35-9]|9[0-9])[0-9]{7}`, "+44", []string{"", "0", "44", "044", "+44", "0044", "+44(0)", "+44 (0) ", "+440", "00 44 0", "+0044", "000"}},
		{`770090[0][0-9]{3}`, "+44", []string{"", "0", "44", "+44", "0044", "+44 (0)"}},
		{`2025550[0-9]{3}`, "+1", []string{"+1", "001", "+001", "1"}},
		{`6[0-9]{8}`, "+33", []string{"+33", "0033", "+33 (0)", "+0033"}},
	} {
		rapid.Check(t, func(t *rapid.T) {
			national := rapid.StringMatching(c.pattern).Draw(t, "national")
			want, err := p.Parse(c.code + national)
			if err != nil {
				t.Skip("no number: ", err)
			}
			text := spelling(t, c.prefixes, national)
			if got, err := p.Parse(text); err != nil || got != want {
				t.Fatalf("%q: got %v, %v, want %v", text, got, err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"+441234123123", "07700900111", "0044 7723", "+44 (0)7723 456 789", "", "+", "+0", "00", "+1202555010", "+999", "0+447700900100",
		"((((", "+++", "\xff", "+870773111632", strings.Repeat("1", 101),
	} {
		f.Add(s)
	}
	p := phones(f, "GB", true)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := p.Parse(text)
		if err != nil {
			reason, ok := err.(PhoneError)
			if !ok || reason == ErrNotHomeNumber || reason.Text() == "unknown" {
				t.Fatalf("%q: %v is not a reason for the sender", text, err)
			}
			return
		}
		if !e164.MatchString(n.Number) {
			t.Fatalf("%q became %q, which is not E.164", text, n.Number)
		}
		if again, err := p.Parse(n.Number); err != nil || again != n {
			t.Fatalf("%q became %v, then %v, %v", text, n, again, err)
		}
		if without, err := p.Parse(n.Number[1:]); n.SameCode && (err != nil || without != n) {
			t.Fatalf("%v without +: %v, %v", n, without, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := phones(b, "GB", false)
	for _, text := range []string{"+447723456789", "07700900111", "+12025550104"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
