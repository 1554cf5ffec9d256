package jwksauth

import "fmt"

// SourceKind is a kind of place for tokens.
type SourceKind uint8

// The kinds of places.
const (
	Header SourceKind = iota
	// Cookie and Query have more ways to leak a token or to be abused from
	// other sites than Header has.
	Cookie
	Query
)

// ParseSourceKind reads "header", "cookie" or "query".
func ParseSourceKind(text string) (SourceKind, error) {
	switch text {
	case "header":
		return Header, nil
	case "cookie":
		return Cookie, nil
	case "query":
		return Query, nil
	}
	return Header, fmt.Errorf("jwksauth: unknown place for tokens %q: use header, cookie or query", text)
}

func (k SourceKind) String() string {
	switch k {
	case Header:
		return "header"
	case Cookie:
		return "cookie"
	case Query:
		return "query"
	default:
		return fmt.Sprintf("SourceKind(%d)", uint8(k))
	}
}

// Format says how a claim is written into a header.
type Format uint8

// The formats. A claim that is absent, null, an empty string or an empty array
// sets no header in either. A claim that holds what its format can't carry is
// refused with the token, so that no two values look the same.
const (
	// Comma writes strings as they are, in UTF-8, numbers as they were signed,
	// and arrays of these as a list with commas. It refuses objects, arrays in
	// arrays, control characters, blanks at either end, and in lists also
	// commas, null and empty elements.
	Comma Format = iota
	// JSON writes the JSON text as it was signed, but for characters outside
	// ASCII, which are written as \u escapes. It refuses control characters
	// that aren't escaped: DEL, C1 and line breaks between values.
	JSON
)

// ParseFormat reads "comma" or "json"; the empty text is Comma.
func ParseFormat(text string) (Format, error) {
	switch text {
	case "", "comma":
		return Comma, nil
	case "json":
		return JSON, nil
	}
	return Comma, fmt.Errorf("jwksauth: unknown format of claims %q: use comma or json", text)
}

func (f Format) String() string {
	switch f {
	case Comma:
		return "comma"
	case JSON:
		return "json"
	default:
		return fmt.Sprintf("Format(%d)", uint8(f))
	}
}
