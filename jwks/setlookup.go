package jwks

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Key implements [KeySource]. An empty kid means a token without one, which a
// set with exactly one key accepts. That key verifies tokens with any key id
// when it has none itself, as keys in PEM do.
//
// An unknown key id makes the sources look for new keys; Key waits for that, and
// for the first load of every source, for 2 s at most or until ctx ends. Before
// Start it waits as well, because requests may come before the load that Start
// begins. [ErrUnknownKid] means that the sources were asked, or have been
// lately. [ErrUnavailable] means that the key can't be told: a source has no
// keys or too old ones, or the wait was in vain.
func (s *Set) Key(ctx context.Context, kid string) (*Key, error) { return s.key(ctx, keyID{kid: kid}) }

// KeyOf finds a key of an issuer, as Key does in all else. Where no key says
// whose it is, that is any; where one does, it is a key that names this issuer.
func (s *Set) KeyOf(ctx context.Context, issuer, kid string) (*Key, error) {
	return s.key(ctx, keyID{issuer, kid})
}

func (s *Set) key(ctx context.Context, id keyID) (*Key, error) {
	if k, err := s.find(id); !errors.Is(err, ErrUnknownKid) {
		return k, err
	}
	var p patience
	defer p.end()
	if k, err := s.findAfterStart(ctx, &p, id); !errors.Is(err, ErrUnknownKid) {
		return k, err
	}
	if id.kid == "" && len(s.union.Load().keys) > 0 {
		// There are several: newer ones would not tell which.
		return nil, s.unknown()
	}
	return s.findAfterRefresh(ctx, &p, id)
}

// find looks among the keys at hand.
func (s *Set) find(id keyID) (*Key, error) {
	u := s.union.Load()
	k, err := u.Index.find(id)
	if err != nil {
		// Which of the two errors it is, only the sources can tell.
		return nil, ErrUnknownKid
	}
	if until, ages := u.until[k]; ages && !s.clock().Before(until) {
		return nil, s.away
	}
	return k, nil
}

// findAfterStart waits for the first load of all sources, if there is one that
// hasn't ended, and looks again.
func (s *Set) findAfterStart(ctx context.Context, p *patience, id keyID) (*Key, error) {
	if !s.beginning() {
		return nil, ErrUnknownKid
	}
	if s.waiters.Add(1) > maxStartWaiters {
		s.waiters.Add(-1)
		return nil, s.away
	}
	inVain := s.await(ctx, s.begun, p, id)
	s.waiters.Add(-1)
	k, err := s.find(id)
	if inVain && errors.Is(err, ErrUnknownKid) {
		return nil, s.away
	}
	return k, err
}

// beginning reports whether a source has yet to load for the first time.
func (s *Set) beginning() bool {
	select {
	case <-s.begun:
		return false
	default:
		return slices.ContainsFunc(s.sources, func(src Source) bool { return !src.Snapshot().Loaded })
	}
}

// findAfterRefresh asks the sources for newer keys and looks again.
func (s *Set) findAfterRefresh(ctx context.Context, p *patience, id keyID) (*Key, error) {
	// A load that was on its way already may have read the document before the
	// key was added to it; hence a second round, which starts a load of its own
	// if the limiter lets it.
	for range 2 {
		waits, crowded := s.askSources()
		inVain := s.awaitAll(ctx, waits, p, id)
		k, err := s.find(id)
		switch {
		case !errors.Is(err, ErrUnknownKid):
			return k, err
		case inVain || crowded:
			return nil, s.away
		case len(waits) == 0:
			return nil, s.unknown()
		}
	}
	return nil, s.unknown()
}

// wait is the end of a load, and the way to leave its queue.
type wait struct {
	done    <-chan struct{}
	release func()
}

func (s *Set) askSources() (waits []wait, crowded bool) {
	for _, src := range s.sources {
		r, ok := src.(Refresher)
		if !ok {
			continue
		}
		switch done, release, verdict := r.Refresh(); verdict {
		case Joined:
			waits = append(waits, wait{done, release})
		case Crowded:
			crowded = true
		case Limited:
		}
	}
	return waits, crowded
}

// awaitAll waits for the loads until the key is there, and reports whether it
// gave up before they ended.
func (s *Set) awaitAll(ctx context.Context, waits []wait, p *patience, id keyID) (inVain bool) {
	defer func() {
		for _, w := range waits {
			w.release()
		}
	}()
	for _, w := range waits {
		if s.await(ctx, w.done, p, id) {
			return true
		}
	}
	return false
}

// await waits for done, or the key whichever source brings it, and reports
// whether it gave up before.
func (s *Set) await(ctx context.Context, done <-chan struct{}, p *patience, id keyID) (inVain bool) {
	for {
		replaced := s.union.Load().replaced
		if _, err := s.find(id); err == nil {
			return false
		}
		select {
		case <-done:
			return false
		case <-replaced:
		case <-p.over():
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// patience is the time that one look-up has for all that it waits for. It begins
// with the first wait.
type patience struct{ timer *time.Timer }

func (p *patience) over() <-chan time.Time {
	if p.timer == nil {
		p.timer = time.NewTimer(maxRefreshWait)
	}
	return p.timer.C
}

func (p *patience) end() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// unknown tells a key that doesn't exist from one that can't be known.
func (s *Set) unknown() error {
	now := s.clock()
	keys := 0
	for _, src := range s.sources {
		snap := src.Snapshot()
		if !snap.usable(now) {
			return s.away
		}
		keys += len(snap.Keys)
	}
	if keys == 0 {
		return s.away
	}
	return ErrUnknownKid
}
