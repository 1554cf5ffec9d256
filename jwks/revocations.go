package jwks

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// revocations are the entries of a list, and what they are of a token.
type revocations map[string]revokes

type revokes uint8

const (
	revokesID revokes = 1 << iota
	revokesSubject
)

// have reports whether a claim of the token is on the list.
func (entries revocations) have(c Claims, name string, kind revokes) bool {
	value, ok := c.top(name)
	if !ok {
		return false
	}
	var buffer [128]byte
	return entries[string(value.Text().Append(buffer[:0]))]&kind != 0
}

// parseRevocations reads the text of a list.
func parseRevocations(text []byte) (revocations, error) {
	if len(text) > MaxRevocationBytes {
		return nil, fmt.Errorf("it is longer than %d MiB", MaxRevocationBytes>>20)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	entries := make(revocations, min(bytes.Count(text, []byte("\n"))+1, MaxRevocations))
	// The entries are slices of one string.
	number, count := 0, 0
	for line := range strings.Lines(string(text)) {
		number++
		entry, kind, err := parseRevocation(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", number, err)
		}
		if entry == "" {
			continue
		}
		if count++; count > MaxRevocations {
			return nil, fmt.Errorf("line %d is beyond the %d entries that a list may have", number, MaxRevocations)
		}
		entries[entry] |= kind
	}
	return entries, nil
}

// parseRevocation reads one line. Those without entry are empty.
func parseRevocation(line string) (entry string, kind revokes, err error) {
	line = strings.TrimSuffix(line, "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case len(line) > MaxRevocationLine:
		return "", 0, fmt.Errorf("has %d bytes, more than %d", len(line), MaxRevocationLine)
	case !utf8.ValidString(line):
		return "", 0, errors.New("is not valid UTF-8")
	}
	line = strings.Trim(line, " \t")
	comment := strings.HasPrefix(line, "#")
	for _, r := range line {
		// A carriage return by itself in a comment would make the rest of the
		// file a comment.
		if unicode.IsControl(r) && (!comment || r != '\t') {
			return "", 0, fmt.Errorf("holds the control character %U", r)
		}
	}
	if comment || line == "" {
		return "", 0, nil
	}
	kind = revokesID | revokesSubject
	entry = line
	if id, ok := strings.CutPrefix(line, "jti:"); ok {
		entry, kind = id, revokesID
	} else if subject, ok := strings.CutPrefix(line, "sub:"); ok {
		entry, kind = subject, revokesSubject
	}
	if entry = strings.TrimLeft(entry, " "); entry == "" {
		return "", 0, fmt.Errorf("has nothing after %q", line)
	}
	return entry, kind, nil
}
