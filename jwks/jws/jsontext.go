package jws

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is a JSON string, a slice of the text that was read.
type Text struct {
	raw     []byte // between the quotes
	escaped bool   // holds a backslash
}

// Text returns a string's text; for other kinds it is empty.
func (v Value) Text() Text {
	if v.Kind != KindString {
		return Text{}
	}
	return Text{raw: v.Raw[1 : len(v.Raw)-1], escaped: v.escaped}
}

// Is reports whether the text, escapes resolved, equals s.
func (t Text) Is(s string) bool {
	if !t.escaped {
		return string(t.raw) == s
	}
	// Resolving never makes text longer.
	if len(s) > len(t.raw) {
		return false
	}
	return string(t.Append(nil)) == s
}

// Empty reports whether the text has no characters.
func (t Text) Empty() bool { return len(t.raw) == 0 }

// String returns the text with its escapes resolved.
func (t Text) String() string {
	if !t.escaped {
		return string(t.raw)
	}
	return string(t.Append(nil))
}

// Append appends the text, escapes resolved, to dst.
func (t Text) Append(dst []byte) []byte {
	if !t.escaped {
		return append(dst, t.raw...)
	}
	for rest := t.raw; len(rest) > 0; {
		var r rune
		r, rest = next(rest)
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// next returns the first character of valid raw text and what follows it.
func next(raw []byte) (rune, []byte) {
	if raw[0] != '\\' {
		r, size := utf8.DecodeRune(raw)
		return r, raw[size:]
	}
	switch c := raw[1]; c {
	case 'u':
		r, raw := hex4(raw[2:6]), raw[6:]
		if utf16.IsSurrogate(r) {
			return utf16.DecodeRune(r, hex4(raw[2:6])), raw[6:]
		}
		return r, raw
	case 'b':
		return '\b', raw[2:]
	case 'f':
		return '\f', raw[2:]
	case 'n':
		return '\n', raw[2:]
	case 'r':
		return '\r', raw[2:]
	case 't':
		return '\t', raw[2:]
	default:
		return rune(c), raw[2:]
	}
}

// hex4 returns the value of four hexadecimal digits, -1 when they aren't.
func hex4(digits []byte) rune {
	var r rune
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// fold maps all characters that are equal under simple case folding to one of
// them, the smallest.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	smallest := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		smallest = min(smallest, f)
	}
	return smallest
}

// foldedHash is FNV-1a over the folded characters.
func (t Text) foldedHash() uint32 {
	const offset, prime = 2166136261, 16777619
	hash := uint32(offset)
	for rest := t.raw; len(rest) > 0; {
		var r rune
		if c := rest[0]; c < utf8.RuneSelf && c != '\\' {
			r, rest = rune(c), rest[1:]
		} else {
			r, rest = next(rest)
		}
		hash = (hash ^ uint32(fold(r))) * prime //nolint:gosec // characters are positive
	}
	return hash
}

// compare reports whether two texts are the same, or else the same but for
// case.
func (t Text) compare(u Text) (same, twin bool) {
	same = true
	a, b := t.raw, u.raw
	for len(a) > 0 && len(b) > 0 {
		var x, y rune
		x, a = next(a)
		y, b = next(b)
		if x != y {
			if fold(x) != fold(y) {
				return false, false
			}
			same = false
		}
	}
	if len(a) > 0 || len(b) > 0 {
		return false, false
	}
	return same, !same
}

// text reads a string, quotes included.
func (s *scanner) text() (escaped, ok bool) {
	s.pos++
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, true
		case c == '\\':
			escaped = true
			if !s.escape() {
				return false, false
			}
		case c < ' ':
			return false, s.fail(CodeSyntax, "a string holds a control character")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return false, s.fail(CodeUTF8, "a string is not valid UTF-8")
			}
			s.pos += size
		}
	}
	return false, s.fail(CodeSyntax, "a string has no end")
}

// escape reads one escape, or the two of a surrogate pair.
func (s *scanner) escape() bool {
	rest := s.data[s.pos:]
	if len(rest) < 2 {
		return s.fail(CodeSyntax, "a string has no end")
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return true
	case 'u':
	default:
		return s.fail(CodeSyntax, "a string holds an unknown escape")
	}
	r, ok := escapedUnit(rest)
	if !ok {
		return s.fail(CodeSyntax, "a string holds an escape without four hexadecimal digits")
	}
	s.pos += 6
	if !utf16.IsSurrogate(r) {
		return true
	}
	low, ok := escapedUnit(rest[6:])
	if !ok || utf16.DecodeRune(r, low) == unicode.ReplacementChar {
		return s.fail(CodeUTF8, "a string holds half a surrogate pair")
	}
	s.pos += 6
	return true
}

// escapedUnit reads \uXXXX.
func escapedUnit(raw []byte) (rune, bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	r := hex4(raw[2:6])
	return r, r >= 0
}
