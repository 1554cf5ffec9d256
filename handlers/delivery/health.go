package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// storageState logs when storage goes away and when it comes back, once each.
// Reads and writes have a state each: a full disk takes writes only.
type storageState struct {
	logger *slog.Logger
	what   string // "read" or "write"
	down   atomic.Bool
}

// note takes the result of a call to the outbox.
func (s *storageState) note(err error) {
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		if s.down.CompareAndSwap(false, true) {
			s.logger.Error("delivery waits for storage", slog.String("to", s.what), slog.Any("error", err))
		}
	case s.down.Load():
		if s.down.CompareAndSwap(true, false) {
			s.logger.Info("storage is back, delivery goes on", slog.String("to", s.what))
		}
	}
}
