package storage

import (
	"time"
)

// ClaimRequest asks for notifications that are due. A notification is due when
// it is StatusCreated, its next attempt is not after Now and nobody holds a
// lease on it that is still running at Now.
type ClaimRequest struct {
	Channel Channel
	Limit   int
	Now     time.Time
	Lease   time.Duration
}

// Claim is a notification leased to one worker. Attempts is already counted
// up. Token fences: once the lease has run out and another worker has claimed
// the row, writes with the old token fail with ErrLeaseLost.
type Claim struct {
	Notification Notification
	Token        int64
	LeaseUntil   time.Time
}

// Outcome is what became of a claim.
type Outcome struct {
	// Status is StatusCreated to try again at NextAttempt, StatusSending when a
	// provider took it, or a final state. A notification that a receipt has
	// already moved further stays where it is, without an error.
	Status            Status
	Reason            string
	ProviderReference string
	At                time.Time // becomes SentAt or CompletedAt, or both
	NextAttempt       time.Time // with StatusCreated
	// Unattempted takes back the attempt that the claim counted: the worker
	// was stopped before it began to send.
	Unattempted bool
	// Callback says that the service is owed a callback if this outcome makes
	// the notification final: it is stored in the same transaction.
	Callback bool
}

// Receipt is a provider's report about a notification that it has taken. The
// notification is found by Sender and ProviderReference, or by Sender and its
// UUID text when the provider reports our own reference.
type Receipt struct {
	Sender    string
	Reference string
	Status    Status // StatusSending, StatusPending or final
	Reason    string
	At        time.Time
	// Callback, unless nil, tells whether a service is owed a callback if this
	// receipt makes the notification final. It is called within a transaction,
	// perhaps more than once: it must be fast and not use the back end.
	Callback func(serviceID string) bool
}

// Stats describes the queue.
type Stats struct {
	Queued       int64     // StatusCreated, leased or not
	Oldest       time.Time // creation of the oldest queued one, scheduled or not; zero when none
	Outstanding  int64     // StatusSending and StatusPending
	DeadLettered int64     // StatusTechnicalFailure, until swept
	Callbacks    int64     // that services are owed, leased or not
}

// Swept says how much a sweep removed or moved.
type Swept struct {
	Notifications int64
	Keys          int64 // idempotency and replay keys, and counters
	Requests      int64 // signature requests
	Inbound       int64 // messages that were received
	TimedOut      int64 // StatusSending or StatusPending without a receipt: now StatusTemporaryFailure
	More          bool  // the limit was reached: call again
}

// SweepRequest says what to remove: final notifications with ExpiresAt before
// Now (with the callbacks that are still owed for them), and keys, counters,
// received messages and signature requests likewise. Notifications sent before
// ReceiptsSince that still await a receipt, also when an interim one has come
// (StatusPending), become StatusTemporaryFailure.
type SweepRequest struct {
	Now           time.Time
	ReceiptsSince time.Time // zero: never time out
	Limit         int       // at most so many rows of each kind, so that writers don't wait
	// Callback is that of a Receipt, for notifications whose receipt timed out.
	Callback func(serviceID string) bool
}
