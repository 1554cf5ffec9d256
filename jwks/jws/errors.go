package jws

import "errors"

// Code names the rule that a token breaks. Codes are a small fixed set of
// lower-case words, so they may be labels of metrics.
type Code string

// The rules.
const (
	CodeLength     Code = "length"     // longer than the caller allows
	CodeAlphabet   Code = "alphabet"   // a byte other than A-Z a-z 0-9 - _ .
	CodeParts      Code = "parts"      // not three parts, or an empty one
	CodeEncoding   Code = "encoding"   // not canonical, unpadded base64url
	CodeSyntax     Code = "syntax"     // not JSON (RFC 8259), or bytes after it
	CodeNotObject  Code = "not_object" // JSON, but no object
	CodeUTF8       Code = "utf8"       // invalid UTF-8, or half of a surrogate pair
	CodeDuplicate  Code = "duplicate"  // two members of one name
	CodeCaseTwin   Code = "case_twin"  // two members whose names differ in case only
	CodeDepth      Code = "depth"      // nested too deeply
	CodeMembers    Code = "members"    // too many members or elements
	CodeAlg        Code = "alg"        // alg is missing or no text
	CodeTyp        Code = "typ"        // typ is no text
	CodeKid        Code = "kid"        // kid is not 1 to 128 printable ASCII characters
	CodeCritical   Code = "crit"       // crit, b64 or zip is present
	CodeUnexpected Code = "unexpected" // an error that isn't from here
)

// Error is the refusal of a token or a JSON text. It quotes nothing of it.
type Error struct {
	Code   Code
	Offset int // in bytes, of the text that was being read
	text   string
}

func (e *Error) Error() string { return "jws: " + e.text }

// CodeOf returns the code of an error of this package, and CodeUnexpected for
// any other.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeUnexpected
}
