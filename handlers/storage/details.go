package storage

import (
	"encoding/json"
	"fmt"
)

// Encode returns the details as back ends keep them: a JSON object, or nothing
// for none.
func (d Details) Encode() (string, error) {
	d.ScheduledFor = normalTime(d.ScheduledFor)
	if d == (Details{}) {
		return "", nil
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("%w: details of a notification: %w", ErrInvalid, err)
	}
	return string(b), nil
}

// DecodeDetails reads what Encode returned. Members that it doesn't know, which
// a newer version may have written, are ignored.
func DecodeDetails(text string) (Details, error) {
	var d Details
	if text == "" {
		return d, nil
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Details{}, fmt.Errorf("the stored details of a notification can't be read: %w", err)
	}
	d.ScheduledFor = normalTime(d.ScheduledFor)
	return d, nil
}
