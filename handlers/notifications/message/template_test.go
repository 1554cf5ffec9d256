package message

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func mustParse(t testing.TB, text string) *Template {
	t.Helper()
	tpl, err := Parse(text)
	require.NoError(t, err)
	return tpl
}

func values(t testing.TB, pairs ...any) Values {
	t.Helper()
	var v Values
	for i := 0; i < len(pairs); i += 2 {
		value, ok := pairs[i+1].(Value)
		if !ok {
			value = Text(pairs[i+1].(string))
		}
		require.NoError(t, v.Set(pairs[i].(string), value))
	}
	return v
}

func TestRender(t *testing.T) {
	list := List("a", "b", "c")
	for _, c := range []struct {
		name, template string
		values         []any
		style          Style
		want           string
	}{
		{name: "no placeholder", template: "Hello", want: "Hello"},
		{name: "empty", template: "", want: ""},
		{name: "one", template: "Your code is ((code))", values: []any{"code", "123"}, want: "Your code is 123"},
		{name: "at the start and adjacent", template: "((a))((b))", values: []any{"a", "1", "b", "2"}, want: "12"},
		{name: "repeated", template: "((a)) ((A)) ((a))", values: []any{"a", "x"}, want: "x x x"},
		{name: "case", template: "((NAME))", values: []any{"name", "Al"}, want: "Al"},
		{name: "spaces, underscores and hyphens", template: "((First name))", values: []any{"FIRST_NA-ME", "Al"}, want: "Al"},
		{name: "case beyond ASCII", template: "((Größe))", values: []any{"GRÖSSE", "x", "größe", "L"}, want: "L"},
		{name: "name over lines", template: "((first\nname))", values: []any{"first name", "Al"}, want: "Al"},
		{name: "three pairs keep one", template: "(((x)))", values: []any{"x", "1"}, want: "(1)"},
		{name: "four pairs keep two", template: "((((x))))", values: []any{"x", "1"}, want: "((1))"},
		{name: "more before than after", template: "(((x))", values: []any{"x", "1"}, want: "(1"},
		{name: "more after than before", template: "((x)))", values: []any{"x", "1"}, want: "1)"},
		{name: "single pair", template: "(x)", want: "(x)"},
		{name: "empty pair", template: "(())", want: "(())"},
		{name: "no end", template: "((x", want: "((x"},
		{name: "half an end", template: "((x)", want: "((x)"},
		{name: "end of one, then one", template: "((x) ((y))", values: []any{"y", "1"}, want: "((x) 1"},
		{name: "start in a start", template: "((a ((b))", values: []any{"b", "1"}, want: "((a 1"},
		{name: "closed twice", template: "((a)) b))", values: []any{"a", "1"}, want: "1 b))"},
		{name: "value with a placeholder stays", template: "((a)) ((b))", values: []any{"a", "((b))", "b", "1"}, want: "((b)) 1"},
		{name: "value with format verbs stays", template: "((a))", values: []any{"a", "%s {env.HOME} $1 \\1"}, want: "%s {env.HOME} $1 \\1"},
		{name: "values don't join to one", template: "((a))((b))", values: []any{"a", "((", "b", "c))"}, want: "((c))"},
		{name: "empty value", template: "a((x))b", values: []any{"x", ""}, want: "ab"},

		{name: "condition yes", template: "a((f?? b))", values: []any{"f", "yes"}, want: "a b"},
		{name: "condition no", template: "a((f?? b))", values: []any{"f", "no"}, want: "a"},
		{name: "condition empty", template: "a((f?? b))", values: []any{"f", ""}, want: "a"},
		{name: "condition other", template: "a((f?? b))", values: []any{"f", "2"}, want: "a"},
		{name: "condition with more marks", template: "((f??really??yes))", values: []any{"f", "y"}, want: "really??yes"},
		{name: "condition without text", template: "a((f??))b", values: []any{"f", "y"}, want: "ab"},
		{name: "condition and value of one name", template: "((f??on )) ((F))", values: []any{"f", "Show"}, want: "on  Show"},
		{name: "one mark is a name", template: "((f?b))", values: []any{"f?b", "1"}, want: "1"},

		{name: "list inline", template: "((l)).", values: []any{"l", list}, want: "a, b and c."},
		{name: "list of two", template: "((l))", values: []any{"l", List("a", "b")}, want: "a and b"},
		{name: "list of one", template: "((l))", values: []any{"l", List("a")}, want: "a"},
		{name: "list of none", template: "x((l))", values: []any{"l", List()}, want: "x"},
		{name: "list with blanks", template: "((l))", values: []any{"l", List("", " a ", " ", "b")}, want: "a and b"},
		{name: "list as bullets", template: "Bring:((l))", values: []any{"l", list}, style: Bullets, want: "Bring:\n\n* a\n* b\n* c"},
		{name: "list as a condition", template: "((l??x))", values: []any{"l", List("yes")}, want: "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := mustParse(t, c.template).Render(values(t, c.values...), c.style)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestConditionWords(t *testing.T) {
	tpl := mustParse(t, "((f??x))")
	for _, word := range []string{"yes", "y", "true", "t", "1", "include", "show", "YES", "True", "Include"} {
		got, err := tpl.Render(values(t, "f", word), Inline)
		require.NoError(t, err)
		assert.Equal(t, "x", got, word)
	}
	for _, word := range []string{"no", "n", "false", "f", "0", "", " yes", "yes ", "yess", "1.0", "on"} {
		got, err := tpl.Render(values(t, "f", word), Inline)
		require.NoError(t, err)
		assert.Empty(t, got, word)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"too long":              strings.Repeat("a", MaxTemplateBytes+1),
		"too many placeholders": strings.Repeat("((a))", MaxPlaceholders+1),
		"not UTF-8":             "a\xff",
		"NUL":                   "a\x00",
		"escape":                "a\x1b",
		"C1 control":            "a\u009b",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(text)
			assert.ErrorContains(t, err, "message: the template ")
		})
	}
	_, err := Parse(strings.Repeat("((a))", MaxPlaceholders))
	require.NoError(t, err)
	_, err = Parse("tab\tline\nreturn\rvertical\vform\f")
	require.NoError(t, err)
}

func TestNames(t *testing.T) {
	tpl := mustParse(t, "((b)) ((a??x)) ((B)) (( First name )) ((first_name)) ((b??y))")
	assert.Equal(t, []Name{{"b", "b"}, {"a", "a"}, {"First name", "firstname"}}, tpl.Names())
}

func TestCheck(t *testing.T) {
	subject, body := mustParse(t, "((b)) ((a))"), mustParse(t, "((A)) ((c)) ((flag??x))")
	missing, surplus := values(t, "A", "1", "z", "2", "y", "3").Check(subject, body)
	assert.Equal(t, []string{"b", "c", "flag"}, missing)
	assert.Equal(t, []string{"z", "y"}, surplus)

	missing, surplus = values(t, "A", "", "b", "", "c", "", "F-L-A-G", "").Check(subject, body)
	assert.Empty(t, missing, "an empty text is a value")
	assert.Empty(t, surplus)
}

func TestSetTwice(t *testing.T) {
	v := values(t, "First name", "a")
	require.ErrorContains(t, v.Set("first_NAME", Text("b")), `"First name" and "first_NAME" are the same placeholder`)
	got, err := mustParse(t, "((firstname))").Render(v, Inline)
	require.NoError(t, err)
	assert.Equal(t, "a", got, "the first one stays")
}

func TestRenderTooLarge(t *testing.T) {
	tpl := mustParse(t, strings.Repeat("((a))", MaxPlaceholders))
	fits := strings.Repeat("x", MaxRenderedBytes/MaxPlaceholders)
	got, err := tpl.Render(values(t, "a", fits), Inline)
	require.NoError(t, err)
	assert.Len(t, got, MaxRenderedBytes)
	_, err = tpl.Render(values(t, "a", fits+"x"), Inline)
	assert.ErrorIs(t, err, ErrTooLarge)
}

// A template assembled from literal parts and placeholders renders to the
// parts with the values, whatever the values hold.
func TestRenderProperty(t *testing.T) {
	literal := rapid.StringOf(rapid.RuneFrom([]rune("ab ?*.é\n")))
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"one", "Two words", "three_3"}
		var v Values
		texts := map[string]string{}
		for _, n := range names {
			texts[n] = rapid.StringOf(rapid.RuneFrom([]rune("ab()?12"))).Draw(t, n)
			if err := v.Set(strings.ToUpper(n), Text(texts[n])); err != nil {
				t.Fatal(err)
			}
		}
		var template, want strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			s := literal.Draw(t, "literal")
			n := rapid.SampledFrom(names).Draw(t, "name")
			template.WriteString(s + "((" + n + "))")
			want.WriteString(s + texts[n])
		}
		tpl, err := Parse(template.String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := tpl.Render(v, Inline)
		if err != nil || got != want.String() {
			t.Fatalf("%q: got %q, %v, want %q", template.String(), got, err, want.String())
		}
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"", "((a))", "(((a)))", "((a??b))", "((a??b??c))", "((((", "))))", "((a)(b))", "((\xff))", "((a\n))", "(( ))"} {
		f.Add(s, "a", "((a))")
	}
	f.Fuzz(func(t *testing.T, template, name, value string) {
		tpl, err := Parse(template)
		if err != nil {
			return
		}
		var v Values
		if err := v.Set(name, Text(value)); err != nil {
			t.Fatal(err)
		}
		missing, _ := v.Check(tpl)
		if len(missing) > len(tpl.Names()) {
			t.Fatalf("%d of %d names are missing", len(missing), len(tpl.Names()))
		}
		got, err := tpl.Render(v, Inline)
		if err != nil {
			return
		}
		if len(tpl.Names()) == 0 && got != template {
			t.Fatalf("a template without placeholders became %q", got)
		}
		if !utf8.ValidString(value) {
			return
		}
		sms := SMS(got)
		if again := SMS(sms); again != sms {
			t.Fatalf("SMS is not idempotent: %q, then %q", sms, again)
		}
		for _, r := range sms {
			if weightOf(r) == unsupported {
				t.Fatalf("%q is left in %q", r, sms)
			}
		}
		if n := Fragments(sms); (n == 0) != (sms == "") {
			t.Fatalf("%q has %d fragments", sms, n)
		}
	})
}

func BenchmarkParseRender(b *testing.B) {
	v := values(b, "code", "123456", "service", "Booking reminders")
	b.ReportAllocs()
	for b.Loop() {
		tpl, err := Parse("Your code for ((service)) is ((code)). It is valid for 15 minutes.")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tpl.Render(v, Inline); err != nil {
			b.Fatal(err)
		}
	}
}
