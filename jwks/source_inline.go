package jwks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Inline is a [Source] of keys that don't change, written in a configuration.
type Inline struct {
	snap  Snapshot
	since time.Time
}

// NewInline reads a JWK, a JWKS, PEM public keys or certificates. Keys that
// can't be used are skipped and reported by Status; a text without any usable
// key is an error, which says what was found and what was expected. At most 1000
// keys are read.
func NewInline(text []byte) (*Inline, error) {
	keys, skipped, err := parseUsable(text, Limits{MaxKeys: DefaultMaxKeys})
	if err == nil && len(keys) == 0 {
		err = errors.New("the key set is empty: expected at least one public key")
	}
	if err != nil {
		return nil, fmt.Errorf("jwks: inline keys: %w", err)
	}
	return &Inline{
		snap:  Snapshot{Keys: keys, Skipped: skipped, Loaded: true},
		since: time.Now(),
	}, nil
}

// Start implements [Source].
func (s *Inline) Start(context.Context, func()) error { return nil }

// Snapshot implements [Source].
func (s *Inline) Snapshot() Snapshot { return s.snap }

// Status implements [Source].
func (s *Inline) Status() SourceStatus {
	st := sourceStatus("inline", "", s.snap)
	st.State = StateOK
	st.LastAttempt, st.LastSuccess, st.LastChange = s.since, s.since, s.since
	return st
}

// Close implements [Source].
func (s *Inline) Close() error { return nil }

// parseUsable is Parse for sources: a document all of whose keys had to be
// skipped is an error. One that is empty on purpose isn't.
func parseUsable(text []byte, l Limits) (Keys, []Skipped, error) {
	keys, skipped, err := Parse(text, l)
	switch {
	case err != nil:
		// The sources' own errors begin with the package's name already.
		return nil, nil, errors.New(strings.TrimPrefix(err.Error(), "jwks: "))
	case len(keys) == 0 && len(skipped) > 0:
		first := skipped[0]
		return nil, nil, fmt.Errorf("no key of the document can be used; the first (kid %q, kty %q): %s", first.Kid, first.Kty, first.Reason)
	}
	return keys, skipped, nil
}
