package message

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEmailSpans(t *testing.T) {
	for _, c := range []struct {
		name, template string
		values         []any
		body, spans    string
	}{
		{"no placeholder", "Hello", nil, "Hello", ""},
		{"one", "Hi ((x)).", []any{"x", "Al"}, "Hi Al.", "3,2"},
		{"two", "((x)) and ((x))", []any{"x", "Al"}, "Al and Al", "0,2,5,2"},
		{"adjacent", "a((x))((x))b", []any{"x", "é"}, "aééb", "1,4"},
		{"empty", "a((x))b", []any{"x", ""}, "ab", ""},
		{"condition", "a((x??b))", []any{"x", "yes"}, "ab", ""},
		{"list", "a((x))c", []any{"x", List("b", "cd")}, "a\n\n* b\n* cdc", "5,1,3,2"},
		{"white space around", " \r\n ((x))\n((x))", []any{"x", "\n b \r\n"}, "b \n\n\n b", "0,3,1,3"},
		{"only white space", "((x))", []any{"x", " \n"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, spans, err := mustParse(t, c.template).Email(values(t, c.values...))
			require.NoError(t, err)
			assert.Equal(t, c.body, body)
			assert.Equal(t, c.spans, spans)
		})
	}
}

func TestEmailTooLarge(t *testing.T) {
	tpl := mustParse(t, strings.Repeat("((a))", MaxPlaceholders))
	_, _, err := tpl.Email(values(t, "a", strings.Repeat("x", MaxRenderedBytes/MaxPlaceholders+1)))
	assert.ErrorIs(t, err, ErrTooLarge)
}

// The spans are where the values are, and the body is what Render makes.
func TestEmailProperty(t *testing.T) {
	white := rapid.StringOf(rapid.SampledFrom([]rune("a \n")))
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOf(rapid.SampledFrom([]rune("XYZ"))).Draw(t, "value")
		template := white.Draw(t, "before") + "((v))" + white.Draw(t, "between") + "((v))" + white.Draw(t, "after")
		tpl, err := Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		var v Values
		if err := v.Set("v", Text(value)); err != nil {
			t.Fatal(err)
		}
		rendered, err := tpl.Render(v, Bullets)
		if err != nil {
			t.Fatal(err)
		}
		body, spans, err := tpl.Email(v)
		if err != nil || body != strings.TrimSpace(rendered) {
			t.Fatalf("%q: %q, %v; Render has %q", template, body, err, rendered)
		}
		var marked strings.Builder
		rest, inValue := body, false
		if spans != "" {
			for number := range strings.SplitSeq(spans, ",") {
				n, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				if inValue {
					marked.WriteString(strings.ToLower(rest[:n]))
				} else {
					marked.WriteString(rest[:n])
				}
				rest, inValue = rest[n:], !inValue
			}
		}
		marked.WriteString(rest)
		if got := marked.String(); got != strings.ToLower(body) || inValue {
			t.Fatalf("%q %s leaves %q", body, spans, got)
		}
	})
}
