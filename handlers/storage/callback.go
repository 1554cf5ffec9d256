package storage

import "time"

// CallbackRequest asks for callbacks of a service that are due: those whose
// next attempt is not after Now and on which nobody holds a lease that is still
// running at Now.
type CallbackRequest struct {
	ServiceID string
	Limit     int
	Now       time.Time
	Lease     time.Duration
}

// CallbackClaim is a callback leased to one worker: what a service is to be
// told about a notification that has become final. It is stored with the final
// state, due at once, and goes with its notification when that is swept or
// requeued.
type CallbackClaim struct {
	ID           int64 // ascending, never reused
	Notification Notification
	// Attempts is the number of calls begun, this one counted.
	Attempts int
	// CreatedAt is when the notification became final.
	CreatedAt time.Time
	// Token fences, as that of a Claim does.
	Token      int64
	LeaseUntil time.Time
}

// DeadLetterQuery selects notifications in StatusTechnicalFailure. Conditions
// that are left empty select all.
type DeadLetterQuery struct {
	ServiceID string
	IDs       []int64 // at most MaxPage
	// Since and Until bound CompletedAt, when the notification was given up:
	// from Since, to before Until.
	Since, Until time.Time
	Before       int64 // ids below, for paging
	Limit        int   // at most MaxPage; 0 or less: MaxPage
}
