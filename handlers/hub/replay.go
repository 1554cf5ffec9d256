package hub

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxReplays is how many JWTs are remembered, each for ten minutes at most. So
// many aren't signed by a person in that time.
const maxReplays = 4096

// replays remembers which JWTs were signed, until they run out.
type replays struct {
	now func() time.Time

	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time // until when
}

// claim takes a JWT. It can be given back as long as nothing of it was signed.
func (s *replays) claim(r *request) error {
	if r.digest == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for digest, until := range s.used {
		if !until.After(now) {
			delete(s.used, digest)
		}
	}
	switch _, used := s.used[*r.digest]; {
	case used:
		return invalid("This JWT has been signed. The application must make a new request.")
	case len(s.used) >= maxReplays:
		return &Error{Code: CodeBusy, Message: "The hub has signed too much in the last minutes. Try again later.", RetriesLeft: -1}
	}
	if s.used == nil {
		s.used = make(map[[sha256.Size]byte]time.Time)
	}
	s.used[*r.digest] = r.expires
	return nil
}

// release gives a JWT back.
func (s *replays) release(r *request) {
	if r.digest == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, *r.digest)
}
