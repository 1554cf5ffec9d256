package storage

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that there is no such object in that service.
	ErrNotFound = errors.New("storage: not found")
	// ErrExists says that the name or id is taken.
	ErrExists = errors.New("storage: already exists")
	// ErrLeaseLost says that another worker holds the notification now, or
	// that it has moved on: the late write changed nothing.
	ErrLeaseLost = errors.New("storage: lease lost")
	// ErrIdempotencyMismatch says that the idempotency key was used with a
	// different body.
	ErrIdempotencyMismatch = errors.New("storage: idempotency key used with another body")
	// ErrInvalid says that an argument can't be stored: a mistake of the caller.
	ErrInvalid = errors.New("storage: invalid argument")
	// ErrUnavailable says that the back end can't be used at the moment: not
	// open yet, closed, disk full, faulty. Callers answer 503. Every technical
	// failure that a back end returns wraps it.
	ErrUnavailable = errors.New("storage: unavailable")
)

// LimitError says which limit a creation would have exceeded. Nothing was
// stored and nothing was counted.
type LimitError struct {
	Key string
	Max int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("storage: limit %d of %q reached", e.Max, e.Key)
}

// Unavailable wraps a technical failure so that errors.Is(err, ErrUnavailable)
// holds and the cause stays visible. It returns nil for nil.
func Unavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
