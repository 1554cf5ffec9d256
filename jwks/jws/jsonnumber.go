package jws

import (
	"math"
	"strconv"
)

// maxDate is the largest NumericDate: beyond 2^53 not every whole number of
// seconds is a float64, which is what most senders compute with.
const maxDate = 1 << 53

// exactDigits is how many digits always fit an int64.
const exactDigits = 18

// NumericDate returns the whole seconds of a NumericDate (RFC 7519, section
// 2), its fraction cut off. It refuses everything but numbers from 0 to 2^53.
func (v Value) NumericDate() (seconds int64, ok bool) {
	if v.Kind != KindNumber {
		return 0, false
	}
	if len(v.Raw) <= exactDigits {
		for _, c := range v.Raw {
			if c < '0' || c > '9' {
				return floatDate(v.Raw)
			}
			seconds = seconds*10 + int64(c-'0')
		}
		return seconds, seconds <= maxDate
	}
	return floatDate(v.Raw)
}

// floatDate reads the forms with a fraction or an exponent as other
// implementations do.
func floatDate(raw []byte) (int64, bool) {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.Signbit(f) || f > maxDate {
		return 0, false
	}
	return int64(f), true
}

// number reads a number (RFC 8259, section 6).
func (s *scanner) number() bool {
	const missing = "a JSON value is missing"
	if s.peek() == '-' {
		s.pos++
	}
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case '1' <= c && c <= '9':
		s.digits()
	default:
		return s.fail(CodeSyntax, missing)
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail(CodeSyntax, "a number has no digits after its point")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail(CodeSyntax, "a number has no digits in its exponent")
		}
	}
	return true
}

func (s *scanner) digits() bool {
	at := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > at
}
