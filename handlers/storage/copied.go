package storage

import (
	"encoding/json"
	"errors"
)

// CopyMark is the name in a database's table meta under which package copy keeps
// what was copied into it.
const CopyMark = "copy"

// CheckCopied refuses a database that holds a part of another one only: the
// source was in use when it was copied, and its last changes are to follow. mark
// is the value of CopyMark, nil for none.
func CheckCopied(mark []byte) error {
	var m struct {
		Live bool `json:"live"`
	}
	if mark == nil || json.Unmarshal(mark, &m) == nil && !m.Live {
		return nil
	}
	return errors.New("the database is the target of a copy that isn't complete: stop the node that uses the source, " +
		"and run `caddy signpost storage copy` with the same arguments again")
}
