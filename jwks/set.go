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

const (
	// maxRefreshWait is how long a request waits for keys that are being loaded.
	maxRefreshWait = 2 * time.Second
	// maxStartWaiters is how many requests wait for the first load. All tokens
	// are unknown then, and a reload of the configuration under load should
	// refuse none; what bounds it is memory.
	maxStartWaiters = 10_000
)

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
	away         error // ErrUnavailable of this set

	union atomic.Pointer[union]

	// begun is closed when every first load has ended, or the set is closed.
	begun   chan struct{}
	begin   sync.Once
	waiters atomic.Int32 // for begun

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
	// replaced is closed when there is a newer union.
	replaced chan struct{}
}

// NewSet makes a set. It does no I/O: see [Set.Start]. Keys that need no
// loading are there at once; look-ups of others wait for Start.
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
		begun: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	s.log = s.log.With("key_set", s.name)
	s.away = fmt.Errorf("%w: key set %q", ErrUnavailable, s.name)
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
	s.endWaiting()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("jwks: key set %q: %w", s.name, err)
	}
	return nil
}

// Close ends the background work of all sources; when it returns, no goroutine
// and no connection of theirs is left. Look-ups go on to answer from the keys at
// hand, for requests that are still running.
func (s *Set) Close() error {
	s.endWaiting()
	errs := make([]error, len(s.sources))
	for i, src := range s.sources {
		errs[i] = src.Close()
	}
	return errors.Join(errs...)
}

func (s *Set) endWaiting() { s.begin.Do(func() { close(s.begun) }) }

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
	now := s.clock()
	for i, src := range s.sources {
		st.Sources[i] = src.Status()
		if _, written := src.(*Inline); !written { // in a configuration, which doesn't age
			st.Sources[i].AgeSeconds = int64(st.Sources[i].Age(now).Seconds())
		}
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
	u := &union{until: make(map[*Key]time.Time), replaced: make(chan struct{})}
	u.Index, u.conflicts = NewIndex(all)
	// A key that several sources have is good for as long as it is in any.
	for _, k := range all {
		kept := u.byID[k.id()]
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
