//go:build unix && !linux

package pgtest

import (
	"errors"
	"time"
)

// CPUTime is known on Linux only.
func (s *Server) CPUTime() (time.Duration, error) {
	return 0, errors.New("the processor time of the server is known on Linux only")
}
