package jwks

import "slices"

// update takes over what a source has, and logs what is new about it.
func (s *Set) update(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, u := s.union.Load(), s.unite()
	s.union.Store(u)
	close(before.replaced)
	s.logChange(i)
	if len(u.conflicts) > 0 && !slices.Equal(before.conflicts, u.conflicts) {
		s.log.Warn("keys of different sources of the set clash", "skipped", u.conflicts)
	}
}

// logChange writes a line for every change of a source's state or keys, once.
// The lock is held.
func (s *Set) logChange(i int) {
	src := s.sources[i]
	st, snap, old := src.Status(), src.Snapshot(), &s.told[i]
	log := s.log.With("source", st.Kind, "location", st.Location)
	if st.State != old.state {
		old.state = st.State
		switch st.State {
		case StateFailing:
			if !st.UsableUntil.IsZero() {
				log = log.With("until", st.UsableUntil)
			}
			log.Warn("keys can't be refreshed; those at hand stay in use", "error", st.Error)
		case StateAbsent:
			log.Error("keys can't be loaded; tokens can't be verified until they are", "error", st.Error)
		case StateExpired:
			log.Error("keys couldn't be refreshed for too long and are no longer used", "error", st.Error, "last_success", st.LastSuccess)
		case StateOK:
			log.Info("keys are loaded and fresh", "key_ids", st.KeyIDs)
		case StateWaiting:
		}
	}
	if !snap.Loaded {
		return
	}
	if old.keys != nil && !sameKeys(old.keys, snap.Keys) {
		log.Info("keys have changed", "added", without(snap.Keys, old.keys), "removed", without(old.keys, snap.Keys))
	}
	old.keys = snap.Keys
	if len(snap.Skipped) > 0 && !slices.Equal(old.skipped, snap.Skipped) {
		log.Warn("some keys of the document can't be used", "skipped", snap.Skipped)
	}
	old.skipped = snap.Skipped
}

// sameKeys compares without regard to order.
func sameKeys(a, b Keys) bool {
	return len(a) == len(b) && len(without(a, b)) == 0
}

// without returns the ids of those of a that b has not.
func without(a, b Keys) []string {
	had := make(map[keyID]*Key, len(b))
	for _, k := range b {
		had[k.id()] = k
	}
	ids := []string{}
	for _, k := range a {
		if old := had[k.id()]; old == nil || !k.same(old) {
			ids = append(ids, k.Kid)
		}
	}
	return ids
}
