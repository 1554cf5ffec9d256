package recipient

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func phones(t testing.TB, region string, international bool) *Phones {
	t.Helper()
	p, err := NewPhones(region, international)
	require.NoError(t, err)
	return p
}

func TestHomeNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"07700900111":              "+447700900111", // reserved for drama
		"+447700900000":            "+447700900000",
		"7723456789":               "+447723456789",
		"07723-456-789":            "+447723456789",
		"00447723456789":           "+447723456789",
		"0044 7723 456789":         "+447723456789",
		"+44 (0)7723 456 789":      "+447723456789",
		"+4407723456789":           "+447723456789",
		"+07723456789":             "+447723456789",
		"0447723456789":            "+447723456789",
		"447723456789":             "+447723456789",
		" 07723\u00a0456\t789\r\n": "+447723456789",
		"07723\u200b456789":        "+447723456789",
		"+441234123123":            "+441234123123", // the developer page's example
		"+441481960194":            "+441481960194", // Guernsey shares +44
	} {
		for _, international := range []bool{false, true} {
			got, err := phones(t, "GB", international).Normalise(text)
			require.NoError(t, err, text)
			assert.Equal(t, want, got, text)
		}
	}
}

func TestRefusedAtHome(t *testing.T) {
	const (
		letters = "Invalid phone number: Must not contain letters or symbols"
		notUK   = "Invalid phone number: Not a UK mobile number"
		many    = "Invalid phone number: Too many digits"
		few     = "Invalid phone number: Not enough digits"
	)
	p := phones(t, "gb", false)
	for text, want := range map[string]string{
		"invalid":                  letters,
		"07890x32109":              letters,
		"07723.456.789":            letters,
		"07723/456789":             letters,
		"07723456789 ext 1":        letters,
		"07723456789;ext=1":        letters,
		"tel:+447723456789":        letters,
		"07700+900111":             letters,
		"++447700900111":           letters,
		"٠٧٧٠٠٩٠٠١١١":              letters, // Arabic digits
		"０７７００９００１１１":              letters, // full-width digits
		"07700900111\x00":          letters,
		"07700900\u202e111":        letters,
		"07700 900111\xff":         letters,
		strings.Repeat("0a", 1000): letters,

		"":                        few,
		"+":                       few,
		"()":                      few,
		"+44":                     few,
		"0":                       few,
		"7700900":                 few,
		"0770090011":              few,
		"+44770090011":            few,
		"077009001111":            many,
		"+4477009001111":          many,
		strings.Repeat("7", 50):   many,
		strings.Repeat("7", 1000): many,

		// The cases of the API's own tests in March 2016.
		"712345678910":           many,
		"0712345678910":          many,
		"0044712345678910":       many,
		"+44 (0)7123 456 789 10": many,
		"0712345678":             few,
		"004471234567":           few,
		"00447123456":            few,
		"07123 456 78":           few,
		"08081 570364":           notUK,
		"+44 8081 570364":        notUK,
		"0117 496 0860":          notUK,
		"+44 117 496 0860":       notUK,
		"020 7946 0991":          notUK,
		"+44 20 7946 0991":       notUK,
		"07123 456789...":        letters,
		"07123 ☟☜⬇⬆☞☝":           letters,
		`07";DROP TABLE;"`:       letters,
		"+44 07ab cde fgh":       letters,

		"123":            notUK,
		"12025550104":    notUK,
		"+12025550104":   notUK,
		"0012025550104":  notUK,
		"+33612345678":   notUK,
		"+999123456789":  notUK,
		"+3361234567":    notUK, // as a home number it would be valid
		"003361234567":   notUK,
		"09012345678":    notUK, // premium rate
		"0871 123 4567":  notUK, // premium rate
		"0845 123 4567":  notUK, // shared cost
		"09999999999":    notUK, // no valid line, in the range of premium rate
		"5012345678":     notUK,
		"+44 4000000000": notUK,
	} {
		_, err := p.Normalise(text)
		assert.EqualError(t, err, want, "%.40q", text)
		var reason PhoneError
		assert.ErrorAs(t, err, &reason)
	}
}

func TestInternational(t *testing.T) {
	p := phones(t, "GB", true)
	for text, want := range map[string]string{
		"+12025550104":  "+12025550104",
		"0012025550104": "+12025550104",
		"12025550104":   "+12025550104",
		"+33612345678":  "+33612345678",
	} {
		got, err := p.Normalise(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for text, want := range map[string]PhoneError{
		"+999123456789":   ErrUnknownCountry,
		"+1900":           ErrNotEnoughDigits,
		"+3361234567":     ErrNotEnoughDigits,
		"+33612345678901": ErrTooManyDigits,
		"+19005550123":    ErrNotValid, // premium rate
		"+12005550123":    ErrNotValid,
		"09012345678":     ErrNotHomeNumber,
	} {
		_, err := p.Normalise(text)
		assert.Equal(t, want, err, text)
	}
	assert.EqualError(t, ErrUnknownCountry, "Invalid phone number: Not a valid country prefix")
	assert.EqualError(t, ErrNotValid, "Invalid phone number: Not a valid phone number")
}

func TestOtherRegion(t *testing.T) {
	p := phones(t, "FR", false)
	got, err := p.Normalise("06 12 34 56 78")
	require.NoError(t, err)
	assert.Equal(t, "+33612345678", got)
	_, err = p.Normalise("+447723456789")
	assert.Equal(t, ErrNotHomeNumber, err)

	for _, region := range []string{"", "XX", "GBR", "44"} {
		_, err := NewPhones(region, false)
		assert.ErrorContains(t, err, "ISO 3166-1", region)
	}
}

// Every way to write a UK mobile number gives one number.
func TestSpellings(t *testing.T) {
	p := phones(t, "GB", false)
	rapid.Check(t, func(t *rapid.T) {
		national := rapid.StringMatching(`7[1-57-9][0-9]{8}`).Draw(t, "national")
		prefix := rapid.SampledFrom([]string{"", "0", "44", "044", "+44", "0044", "+44(0)", "+440"}).Draw(t, "prefix")
		var b strings.Builder
		b.WriteString(prefix)
		for _, d := range national {
			b.WriteString(rapid.SampledFrom([]string{"", "", " ", "-", "(", ")", "\u00a0"}).Draw(t, "separator"))
			b.WriteRune(d)
		}
		got, err := p.Normalise(b.String())
		if err != nil || got != "+44"+national {
			t.Fatalf("%q: got %q, %v", b.String(), got, err)
		}
	})
}

// What plainUK takes, libphonenumber and our rules take for the same number.
func TestPlainUK(t *testing.T) {
	for _, international := range []bool{false, true} {
		p := phones(t, "GB", international)
		rapid.Check(t, func(t *rapid.T) {
			compact := rapid.SampledFrom([]string{"", "0", "44", "+44", "0044", "+", "+0", "1", "+1"}).Draw(t, "prefix") +
				rapid.StringMatching(`[0-9]{8,11}`).Draw(t, "national")
			national, ok := p.plainUK(compact)
			if !ok {
				return
			}
			if got, err := p.parse(compact, false); err != nil || got != "+44"+national {
				t.Fatalf("%q: got %q, %v", compact, got, err)
			}
		})
	}
	for _, compact := range []string{"+447700900111", "07700900111", "7700900111", "00447700900111", "447700900111"} {
		_, ok := phones(t, "GB", false).plainUK(compact)
		assert.True(t, ok, compact)
		_, ok = phones(t, "FR", true).plainUK(compact)
		assert.False(t, ok, compact)
	}
}

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{5,14}$`)

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{
		"+441234123123", "07700900111", "0044 7723", "+44 (0)7723 456 789", "٠٧٧", "", "+", "+0", "00", "+1202555010",
		"((((", "+++", "999", "\xff", strings.Repeat("1", 101),
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	home, world := phones(f, "GB", false), phones(f, "GB", true)
	f.Fuzz(func(t *testing.T, text string, international bool) {
		p := home
		if international {
			p = world
		}
		got, err := p.Normalise(text)
		if err != nil {
			if reason, ok := err.(PhoneError); !ok || reason.reason() == "unknown" {
				t.Fatalf("%q: %v is not a reason for the sender", text, err)
			}
			return
		}
		if !e164.MatchString(got) {
			t.Fatalf("%q became %q, which is not E.164", text, got)
		}
		if !international && !strings.HasPrefix(got, "+44") {
			t.Fatalf("%q became %q, which is not a UK number", text, got)
		}
		if again, err := p.Normalise(got); err != nil || again != got {
			t.Fatalf("%q became %q, then %q, %v", text, got, again, err)
		}
	})
}

func ExamplePhones_Normalise() {
	p, err := NewPhones("GB", false)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Normalise("07700 900 111"))
	fmt.Println(p.Normalise("07700"))
	// Output:
	// +447700900111 <nil>
	//  Invalid phone number: Not enough digits
}

func BenchmarkNormalise(b *testing.B) {
	p := phones(b, "GB", false)
	for _, text := range []string{"+447723456789", "+441234123123", "07723 456 789", "08001111222"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Normalise(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
