package jws

import (
	"bytes"
	"encoding/base64"
	"slices"
)

// Length limits for Split, in bytes.
const (
	// MaxBearer is for tokens in a header.
	MaxBearer = 8 << 10
	// MaxDocument is for tokens that are a request's body.
	MaxDocument = 1 << 20
)

// maxHeader bounds the decoded header, in bytes.
const maxHeader = 2 << 10

// Compact is a token taken apart. Its fields are slices of the token, in
// base64url.
type Compact struct {
	Header    []byte
	Claims    []byte
	Signature []byte
	// Signed is what the signature covers: header, dot, claims.
	Signed []byte
}

// Split takes a token apart: at most limit bytes, only base64url characters
// and dots, exactly two dots, no empty part. The dots are counted before
// anything is done with the parts.
func Split(token []byte, limit int) (Compact, error) {
	if len(token) > limit {
		return Compact{}, &Error{Code: CodeLength, Offset: limit, text: "the token is too long"}
	}
	var foreign uint8
	for _, c := range token {
		foreign |= isForeign[c]
	}
	if foreign != 0 {
		return Compact{}, &Error{Code: CodeAlphabet, Offset: foreignAt(token), text: "the token holds a character other than A-Z a-z 0-9 - _ and dot"}
	}
	first, second := bytes.IndexByte(token, '.'), bytes.LastIndexByte(token, '.')
	if bytes.Count(token, []byte{'.'}) != 2 || first == 0 || second == first+1 || second == len(token)-1 {
		return Compact{}, &Error{Code: CodeParts, text: "the token has not exactly three non-empty parts between dots"}
	}
	return Compact{
		Header:    token[:first],
		Claims:    token[first+1 : second],
		Signature: token[second+1:],
		Signed:    token[:second],
	}, nil
}

// isForeign is 1 for bytes that no token has.
var isForeign = func() (table [256]uint8) {
	for i := range table {
		table[i] = 1
	}
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") {
		table[c] = 0
	}
	return table
}()

func foreignAt(token []byte) int {
	return slices.IndexFunc(token, func(c byte) bool { return isForeign[c] != 0 })
}

// strict refuses padding and spare bits other than zero, by which one token
// would have several spellings. It skips line breaks.
var strict = base64.RawURLEncoding.Strict()

// AppendDecode appends the bytes that canonical, unpadded base64url text
// stands for to dst. On an error it returns dst as it was.
func AppendDecode(dst, text []byte) ([]byte, error) {
	if at := max(bytes.IndexByte(text, '\n'), bytes.IndexByte(text, '\r')); at >= 0 {
		return dst, &Error{Code: CodeEncoding, Offset: at, text: "base64url text holds a line break"}
	}
	out, err := strict.AppendDecode(dst, text)
	if err != nil {
		offset := 0
		if at, ok := err.(base64.CorruptInputError); ok { //nolint:errorlint // AppendDecode returns it bare
			offset = int(at)
		}
		return dst, &Error{Code: CodeEncoding, Offset: offset, text: "a part is not canonical, unpadded base64url"}
	}
	return out, nil
}
