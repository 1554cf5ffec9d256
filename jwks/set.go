package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxRefreshWait is how long a request waits for keys that are being loaded.
const maxRefreshWait = 2 * time.Second

var errSourceReused = errors.New("jwks: a source can be started once only, and not after Close")

// SetConfig configures a [Set].
type SetConfig struct {
	// Name tells the set from others, in logs and status. Required.
	Name string
	// Issuer is whose keys these are: the "iss" of the tokens that they verify.
	// Empty leaves it to the policy of the verifier.
	Issuer string
	// Sources are where the keys come from; at least one. The set owns them.
	Sources []Source
	// Logger is told of changes of state; default: none.
	Logger *slog.Logger
	// Clock is the time; default [time.Now].
	Clock func() time.Time
}

// Set is the union of the keys of several sources, all of one issuer. It is a
// [KeySource], safe for concurrent use; a look-up of a known key id takes no
// lock and waits for nothing.
//
// What a source fails to load, it doesn't lose: the keys from before stay, for
// as long as the source's own rules allow.
type Set struct {
	name, issuer string
	sources      []Source
	log          *slog.Logger
	clock        func() time.Time

	union atomic.Pointer[union]

	mu      sync.Mutex // orders rebuilds and log lines
	started bool
	told    []told // what the log knows of each source
}

// told is the state of a source as last logged.
type told struct {
	state   State
	keys    Keys
	skipped []Skipped
}

// union is the keys of all sources that have usable ones.
type union struct {
	*Index

	// until is when a key must no longer be used; absent when it doesn't age.
	until     map[*Key]time.Time
	conflicts []Skipped
}

// NewSet makes a set. It does no I/O: see [Set.Start]. Keys that need no
// loading are there at once.
func NewSet(cfg SetConfig) (*Set, error) {
	if cfg.Name == "" {
		return nil, errors.New("jwks: a key set needs a name")
	}
	if len(cfg.Sources) == 0 {
		return nil, fmt.Errorf("jwks: key set %q has no source of keys", cfg.Name)
	}
	s := &Set{
		name: cfg.Name, issuer: cfg.Issuer, sources: slices.Clone(cfg.Sources),
		log: cfg.Logger, clock: cfg.Clock, told: make([]told, len(cfg.Sources)),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	s.log = s.log.With("key_set", s.name)
	for i := range s.told {
		s.told[i].state = StateWaiting
	}
	s.union.Store(s.unite())
	return s, nil
}

// Name returns the set's name.
func (s *Set) Name() string { return s.name }

// Issuer returns whose keys these are; empty when the set isn't bound.
func (s *Set) Issuer() string { return s.issuer }

// Start loads the keys of all sources, at the same time, and keeps them fresh
// until Close. It returns when every first load has ended, at the latest after
// the time of the slowest source (5 s for a URL) or when ctx ends. The error
// joins the first loads that failed; the set runs all the same and tries again,
// so a caller may log the error and go on. A set is started once.
func (s *Set) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return fmt.Errorf("jwks: key set %q was started before", s.name)
	}
	s.started = true
	s.mu.Unlock()

	errs := make([]error, len(s.sources))
	var wg sync.WaitGroup
	for i, src := range s.sources {
		wg.Go(func() {
			errs[i] = src.Start(ctx, func() { s.update(i) })
			s.update(i)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("jwks: key set %q: %w", s.name, err)
	}
	return nil
}

// Close ends the background work of all sources; when it returns, no goroutine
// and no connection of theirs is left. Look-ups go on to answer from the keys at
// hand, for requests that are still running.
func (s *Set) Close() error {
	errs := make([]error, len(s.sources))
	for i, src := range s.sources {
		errs[i] = src.Close()
	}
	return errors.Join(errs...)
}

// Key implements [KeySource]. An empty kid means a token without one, which a
// set with exactly one key accepts. That key verifies tokens with any key id
// when it has none itself, as keys in PEM do.
//
// An unknown key id makes the sources look for new keys; Key waits for that for
// 2 s at most, or until ctx ends. [ErrUnknownKid] means that the sources were
// asked, or have been lately. [ErrUnavailable] means that the key can't be told:
// a source has no keys or too old ones, or the wait was in vain.
func (s *Set) Key(ctx context.Context, kid string) (*Key, error) {
	if k, err := s.find(ctx, kid); !errors.Is(err, ErrUnknownKid) {
		return k, err
	}
	if kid == "" && len(s.union.Load().keys) > 0 {
		// There are several: newer ones would not tell which.
		return nil, s.unknown()
	}
	return s.findAfterRefresh(ctx, kid)
}

// find looks among the keys at hand.
func (s *Set) find(ctx context.Context, kid string) (*Key, error) {
	u := s.union.Load()
	k, err := u.Key(ctx, kid)
	if err != nil {
		// Which of the two errors it is, only the sources can tell.
		return nil, ErrUnknownKid
	}
	if until, ages := u.until[k]; ages && !s.clock().Before(until) {
		return nil, ErrUnavailable
	}
	return k, nil
}

// findAfterRefresh asks the sources for newer keys and looks again.
func (s *Set) findAfterRefresh(ctx context.Context, kid string) (*Key, error) {
	var timeout <-chan time.Time
	// A load that was on its way already may have read the document before the
	// key was added to it; hence a second round, which starts a load of its own
	// if the limiter lets it.
	for range 2 {
		waits, crowded := s.askSources()
		if len(waits) > 0 && timeout == nil {
			timer := time.NewTimer(maxRefreshWait)
			defer timer.Stop()
			timeout = timer.C
		}
		inVain := s.await(ctx, waits, timeout, kid)
		k, err := s.find(ctx, kid)
		switch {
		case !errors.Is(err, ErrUnknownKid):
			return k, err
		case inVain || crowded:
			return nil, ErrUnavailable
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

// await waits for the loads until the key is there, and reports whether it gave
// up before they ended.
func (s *Set) await(ctx context.Context, waits []wait, timeout <-chan time.Time, kid string) (inVain bool) {
	defer func() {
		for _, w := range waits {
			w.release()
		}
	}()
	for _, w := range waits {
		select {
		case <-w.done:
			if _, err := s.find(ctx, kid); err == nil {
				return false
			}
		case <-timeout:
			return true
		case <-ctx.Done():
			return true
		}
	}
	return false
}

// unknown tells a key that doesn't exist from one that can't be known.
func (s *Set) unknown() error {
	now := s.clock()
	keys := 0
	for _, src := range s.sources {
		snap := src.Snapshot()
		if !snap.usable(now) {
			return ErrUnavailable
		}
		keys += len(snap.Keys)
	}
	if keys == 0 {
		return ErrUnavailable
	}
	return ErrUnknownKid
}

// Keys returns the keys in use, sorted by key id.
func (s *Set) Keys() Keys {
	u := s.union.Load()
	now := s.clock()
	keys := slices.DeleteFunc(slices.Clone(u.Index.Keys()), func(k *Key) bool {
		until, ages := u.until[k]
		return ages && !now.Before(until)
	})
	slices.SortFunc(keys, func(a, b *Key) int { return cmp.Compare(a.Kid, b.Kid) })
	return keys
}

// Status describes the set and its sources.
func (s *Set) Status() Status {
	keys := s.Keys()
	st := Status{
		Name: s.name, Issuer: s.issuer, Ready: len(keys) > 0,
		KeyIDs:    keys.ids(),
		Conflicts: slices.Clone(s.union.Load().conflicts),
		Sources:   make([]SourceStatus, len(s.sources)),
	}
	for i, src := range s.sources {
		st.Sources[i] = src.Status()
	}
	return st
}

// unite makes one index of the keys of the sources.
func (s *Set) unite() *union {
	now := s.clock()
	var all Keys
	ages := make(map[*Key]time.Time)
	for _, src := range s.sources {
		snap := src.Snapshot()
		if !snap.usable(now) {
			continue
		}
		for _, k := range snap.Keys {
			all = append(all, k)
			ages[k] = snap.Until
		}
	}
	u := &union{until: make(map[*Key]time.Time)}
	u.Index, u.conflicts = NewIndex(all)
	// A key that several sources have is good for as long as it is in any.
	for _, k := range all {
		kept := u.byKid[k.Kid]
		if kept == nil {
			continue
		}
		switch until, old := ages[k], u.until[kept]; {
		case kept == k:
			u.until[k] = until
		case until.IsZero() || old.IsZero():
			u.until[kept] = time.Time{}
		case until.After(old):
			u.until[kept] = until
		}
	}
	for k, until := range u.until {
		if until.IsZero() {
			delete(u.until, k)
		}
	}
	return u
}
