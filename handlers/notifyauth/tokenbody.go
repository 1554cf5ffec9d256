package notifyauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// isTokenBody reports whether a body, given in pieces, has the form of a
// token's signing input: two base64url parts, the first of which is a JSON
// object. One secret makes the MACs of tokens and of bodies alike, so the pay
// of such a body would be the signature of a token whose claims the body's
// author chose. A whole token as a body is harmless: it has two dots.
//
// Other verifiers of the same secrets are less strict than this package, so
// blanks, padding, the standard alphabet and spare bits don't hide the form.
func isTokenBody(pieces ...[]byte) bool {
	dots, before := 0, 0
	for _, piece := range pieces {
		for _, c := range piece {
			switch class := bodyClass[c]; {
			case class == foreign:
				return false // nearly always the first byte: JSON begins with one
			case class == dot:
				dots++
			case class == letter && dots == 0:
				before++
			}
		}
	}
	if dots != 1 || before == 0 {
		return false
	}
	return isObject(headerText(pieces, before))
}

// headerText collects the letters before the dot, in the URL alphabet.
func headerText(pieces [][]byte, letters int) []byte {
	text := make([]byte, 0, letters)
	for _, piece := range pieces {
		for _, c := range piece {
			switch {
			case c == '.':
				return text
			case c == '+':
				c = '-'
			case c == '/':
				c = '_'
			case bodyClass[c] != letter:
				continue
			}
			text = append(text, c)
		}
	}
	return text
}

func isObject(text []byte) bool {
	decoded, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil {
		return false
	}
	decoded = bytes.TrimLeft(bytes.TrimPrefix(decoded, []byte("\uFEFF")), " \t\r\n")
	return bytes.HasPrefix(decoded, []byte("{")) && json.Valid(decoded)
}

// Classes of bytes in a body.
const (
	foreign = iota
	letter
	skipped
	dot
)

var bodyClass = func() (table [256]uint8) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/") {
		table[c] = letter
	}
	for _, c := range []byte("= \t\r\n") {
		table[c] = skipped
	}
	table['.'] = dot
	return table
}()
