package hub

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	// shownFor is how long a web site may see certificates without another
	// question: a working day.
	shownFor = 12 * time.Hour
	// cardWatch is how often the hub looks whether the card is still there, as
	// long as there is such a consent.
	cardWatch = 5 * time.Second
)

// shown remembers which certificates the user has shown to which web site, so
// that one batch needs one consent: for shownFor at most, and not after the card
// was taken out.
type shown struct {
	now func() time.Time

	mu       sync.Mutex
	known    map[string]shownTo // by origin
	watching bool               // somebody looks after the card
}

type shownTo struct {
	sum   [sha256.Size]byte // of the certificates
	until time.Time
}

func (s *shown) has(origin string, certificates []*Certificate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, ok := s.known[origin]
	return ok && to.sum == sumOf(certificates) && s.now().Before(to.until)
}

// add remembers a consent. watch tells that the card must be looked after from
// now on, until idle says that it needn't any more.
func (s *shown) add(origin string, certificates []*Certificate) (watch bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]shownTo)
	}
	s.known[origin] = shownTo{sumOf(certificates), s.now().Add(shownFor)}
	watch, s.watching = !s.watching, true
	return watch
}

// forget ends all consents.
func (s *shown) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// endWithCard forgets all consents when a signer's error says that there is no
// card.
func (s *shown) endWithCard(err error) {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeNoCard {
		s.forget()
	}
}

// idle reports whether there is no consent any more, and nothing to look after.
func (s *shown) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for origin, to := range s.known {
		if !now.Before(to.until) {
			delete(s.known, origin)
		}
	}
	s.watching = len(s.known) > 0
	return !s.watching
}

// sumOf stands for a list of certificates: another card needs another consent.
func sumOf(certificates []*Certificate) [sha256.Size]byte {
	hash := sha256.New()
	for _, c := range certificates {
		sum := sha256.Sum256(c.Leaf.Raw)
		hash.Write(sum[:])
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// remember keeps the consent to show certificates, and looks after the card from
// then on: nothing tells a hub that one was taken out and put in again between
// two requests. It is called while the signer is in use.
func (h *Hub) remember(origin string, certificates []*Certificate) {
	if h.shown.add(origin, certificates) {
		h.watchers.Go(h.watchCard)
	}
}

// watchCard ends the consents when the card has gone, and itself with the last
// of them.
func (h *Hub) watchCard() {
	ticker := time.NewTicker(h.cardWatch)
	defer ticker.Stop()
	for !h.shown.idle() {
		select {
		case <-ticker.C:
			h.status(h.closing) // which forgets them
		case <-h.closing.Done():
			return
		}
	}
}
