package jwks

import (
	"context"
	"time"
)

// Source gives a [Set] its keys. [Inline], [File] and [URL] are sources; others
// may be written. A source belongs to one set, which starts and closes it.
type Source interface {
	// Start loads the keys for the first time, within ctx, and goes on to keep
	// them fresh in the background, whether or not that first load succeeded,
	// until Close. It calls changed, which may take a lock but doesn't block,
	// after every change of what Snapshot or Status tell.
	Start(ctx context.Context, changed func()) error

	// Snapshot returns the keys at hand. It never blocks and does no I/O.
	Snapshot() Snapshot

	// Status describes the source to people and machines. It never blocks.
	Status() SourceStatus

	// Close ends what Start began: when it returns, no goroutine and no
	// connection is left. Snapshot goes on to answer. Close may be called
	// without Start, and twice.
	Close() error
}

// Refresher is a [Source] whose keys may have changed since it last looked.
type Refresher interface {
	// Refresh asks for a load because a key id was unknown. It doesn't block.
	// The load that it starts or joins ends when done is closed; release must
	// be called when the caller no longer waits. The verdict says what to do.
	Refresh() (done <-chan struct{}, release func(), verdict Verdict)
}

// Verdict is the answer of [Refresher.Refresh].
type Verdict int

// The verdicts.
const (
	// Limited: it is too early to load again; what is at hand is the answer.
	// done and release are nil.
	Limited Verdict = iota
	// Joined: a load is on its way, wait for done.
	Joined
	// Crowded: a load is on its way and too many wait for it already. done and
	// release are nil.
	Crowded
)

// Snapshot is what a [Source] has at hand.
type Snapshot struct {
	Keys    Keys
	Skipped []Skipped
	// Loaded is false until keys were loaded for the first time.
	Loaded bool
	// Until is when the keys must no longer be used unless they are confirmed
	// before; zero means that they don't age.
	Until time.Time
}

// usable reports whether the keys may be used at that time.
func (s Snapshot) usable(now time.Time) bool {
	return s.Loaded && (s.Until.IsZero() || now.Before(s.Until))
}
