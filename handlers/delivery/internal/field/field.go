// Package field finds values in decoded JSON by dotted paths.
package field

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Path leads to a value: member names and array indexes.
type Path []string

// Parse reads a path such as "messages.0.id"; the empty text is the nil path.
func Parse(s string) (Path, error) {
	if s == "" {
		return nil, nil
	}
	path := strings.Split(s, ".")
	if slices.Contains(path, "") {
		return nil, fmt.Errorf("the path %q is not names joined by dots, such as message.id", s)
	}
	return path, nil
}

// Text returns the string or number at the path; false when there is none.
// Numbers are as written if v was decoded with UseNumber.
func (p Path) Text(v any) (string, bool) {
	for _, name := range p {
		switch container := v.(type) {
		case map[string]any:
			v = container[name]
		case []any:
			i, err := strconv.ParseUint(name, 10, 31)
			if err != nil || i >= uint64(len(container)) {
				return "", false
			}
			v = container[i]
		default:
			return "", false
		}
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}
