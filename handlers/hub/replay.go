package hub

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// maxReplays is how many JWTs are remembered, each for ten minutes at most. So
	// many aren't signed by a person in that time.
	maxReplays = 4096
	// maxKept is how much memory the signatures take that are remembered with
	// them, in bytes. Beyond it those of the oldest are forgotten.
	maxKept = 32 << 20
)

// replays remembers which JWTs were signed, and the signatures, until the JWTs
// run out. A page that lost an answer (it was closed, its connection broke, the
// card was pulled in the middle) has nothing but the same JWT to ask again with,
// for the signing service hands it out once. It gets the same signatures then:
// two different sets for one JWT never leave the hub.
//
// A JWT needs no origin beside it: its aud names the only one that may ask with
// it.
type replays struct {
	now func() time.Time

	mu   sync.Mutex
	used map[[sha256.Size]byte]*signedBefore
	kept int // bytes of signatures
	last int // number of the last that was kept
}

// signedBefore is what was signed of a JWT.
type signedBefore struct {
	until       time.Time
	number      int // in the order in which they were kept
	certificate *Certificate
	// made are the signatures of the first documents, or of all; none when they
	// were forgotten.
	made [][]byte
}

// complete tells that there is nothing left to sign. What was signed before may
// be nil.
func (b *signedBefore) complete(r *request) bool { return b != nil && len(b.made) == len(r.documents) }

// count is how many documents were signed.
func (b *signedBefore) count() int {
	if b == nil {
		return 0
	}
	return len(b.made)
}

// find returns what was signed of a request, nil when nothing was. The error
// tells that it can't be signed now.
func (s *replays) find(r *request) (*signedBefore, error) {
	if r.digest == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for digest, before := range s.used {
		if !before.until.After(now) {
			s.forget(before)
			delete(s.used, digest)
		}
	}
	before := s.used[*r.digest]
	switch {
	case before == nil && len(s.used) >= maxReplays:
		return nil, &Error{Code: CodeBusy, Message: "The hub has signed too much in the last minutes. Try again later.", RetriesLeft: -1}
	case before != nil && len(before.made) == 0:
		return nil, invalid("This JWT has been signed. The application must make a new request.")
	}
	return before, nil
}

// keep remembers what was signed, before any of it leaves the hub.
func (s *replays) keep(o *outcome) {
	if o.request.digest == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = make(map[[sha256.Size]byte]*signedBefore)
	}
	if old := s.used[*o.request.digest]; old != nil {
		s.forget(old)
	}
	s.last++
	s.used[*o.request.digest] = &signedBefore{until: o.request.expires, number: s.last, certificate: o.certificate, made: o.made}
	for s.kept += sizeOf(o.made); s.kept > maxKept; {
		s.forget(s.oldest())
	}
}

// forget lets the signatures go, but not that there were some.
func (s *replays) forget(before *signedBefore) {
	s.kept -= sizeOf(before.made)
	before.made = nil
}

func (s *replays) oldest() (first *signedBefore) {
	for _, before := range s.used {
		if len(before.made) > 0 && (first == nil || before.number < first.number) {
			first = before
		}
	}
	return first
}

func sizeOf(signatures [][]byte) (size int) {
	for _, signature := range signatures {
		size += len(signature)
	}
	return size
}
