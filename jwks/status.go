package jwks

import "time"

// State is the condition of a [Source], in one word.
type State string

// The states.
const (
	StateWaiting State = "waiting" // no load has ended yet
	StateOK      State = "ok"      // the last load succeeded
	StateFailing State = "failing" // the last load failed; the keys from before are in use
	StateAbsent  State = "absent"  // no load has succeeded: there are no keys
	StateExpired State = "expired" // loads have failed for too long: the keys are no longer used
)

// Status describes a [Set], for the admin API, metrics and logs. It holds
// public values only.
type Status struct {
	Name   string `json:"name"`
	Issuer string `json:"issuer,omitempty"`
	// Ready tells whether a token can be verified: there is a key to use.
	Ready bool `json:"ready"`
	// KeyIDs are the key ids in use, sorted.
	KeyIDs []string `json:"key_ids"`
	// Conflicts are key ids that two sources give to different keys. Neither
	// is used.
	Conflicts []Skipped      `json:"conflicts,omitempty"`
	Sources   []SourceStatus `json:"sources"`
}

// SourceStatus describes a [Source]. Times that haven't come yet are zero.
type SourceStatus struct {
	// Kind is "inline", "file" or "url", or another source's own word.
	Kind string `json:"kind"`
	// Location is the file's path, or the URL without its query.
	Location string `json:"location,omitempty"`
	State    State  `json:"state"`
	// KeyIDs are the ids of the usable keys, in the order of the document. A key
	// without id has an empty one.
	KeyIDs []string `json:"key_ids"`
	// Skipped are the keys of the document that aren't used, and why.
	Skipped []Skipped `json:"skipped,omitempty"`
	// LastAttempt is when the last load ended, LastSuccess when the last one
	// that succeeded did, LastChange when the keys last became other ones.
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastChange  time.Time `json:"last_change,omitzero"`
	// AgeSeconds is how long ago the keys were last confirmed; 0 when they never
	// were, and for inline keys.
	AgeSeconds int64 `json:"age_seconds,omitempty"`
	// Error is why the last load failed; empty when it succeeded.
	Error string `json:"error,omitempty"`
	// NextRefresh is when the source looks again by itself.
	NextRefresh time.Time `json:"next_refresh,omitzero"`
	// UsableUntil is when the keys are given up unless a load succeeds before.
	UsableUntil time.Time `json:"usable_until,omitzero"`
}

// Age is how long ago the keys were last confirmed; zero when they never were.
func (s SourceStatus) Age(now time.Time) time.Duration {
	if s.LastSuccess.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.LastSuccess))
}

// sourceStatus describes what every source has.
func sourceStatus(kind, location string, snap Snapshot) SourceStatus {
	return SourceStatus{Kind: kind, Location: location, KeyIDs: snap.Keys.ids(), Skipped: snap.Skipped, UsableUntil: snap.Until}
}

// ids returns the key ids, in their order.
func (keys Keys) ids() []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.Kid
	}
	return ids
}
