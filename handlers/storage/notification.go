package storage

import (
	"time"

	"github.com/google/uuid"
)

// Status is the state of a notification. It only moves forward: created,
// sending, then one of the final states.
type Status string

// The states. Dialects map them to their own words.
const (
	// StatusCreated: durable, no provider has taken it yet.
	StatusCreated Status = "created"
	// StatusSending: a provider has taken it; its receipt is outstanding.
	StatusSending Status = "sending"
	// StatusPending: an interim receipt says that the provider still tries; the
	// final one is outstanding.
	StatusPending Status = "pending"
	// StatusSent: a provider has taken it and no receipt will come, as for text
	// messages to other countries. Final.
	StatusSent Status = "sent"
	// StatusDelivered: the provider reports delivery. Final.
	StatusDelivered Status = "delivered"
	// StatusTemporaryFailure: the recipient could not be reached in time. Final.
	StatusTemporaryFailure Status = "temporary-failure"
	// StatusPermanentFailure: the recipient doesn't exist or refuses. Final.
	StatusPermanentFailure Status = "permanent-failure"
	// StatusTechnicalFailure: the dead-letter state; Reason says why no
	// provider took the notification. Final.
	StatusTechnicalFailure Status = "technical-failure"
)

// Rank orders the states: a write may only raise it. Unknown states rank -1.
func (s Status) Rank() int {
	switch s {
	case StatusCreated:
		return 0
	case StatusSending:
		return 1
	case StatusPending:
		return 2
	case StatusSent, StatusDelivered, StatusTemporaryFailure, StatusPermanentFailure, StatusTechnicalFailure:
		return 3
	}
	return -1
}

// Final reports whether the state is an end state.
func (s Status) Final() bool { return s.Rank() == 3 }

// Notification is one message to one recipient. The fields up to ExpiresAt
// never change after creation; those below follow the delivery.
type Notification struct {
	ID              int64     // global, ascending, never reused
	UUID            uuid.UUID // version 7; also the reference that providers see
	JobID           int64     // id of the job's first notification; equals ID for a job of one
	ServiceID       string
	KeyName         string
	KeyType         KeyType
	Channel         Channel
	To              string // normalised: E.164 with "+", or an email address
	Subject         string
	Body            string // rendered
	TemplateID      string
	TemplateVersion int
	Reference       string // the client's own, opaque
	Sender          string // configured name of the delivery provider
	Details         Details
	CreatedAt       time.Time
	ExpiresAt       time.Time // retention: swept after this once final

	Status            Status
	Reason            string // why, for the failure states and for retries
	ProviderReference string
	Attempts          int       // sends begun
	SentAt            time.Time // zero until a provider took it
	CompletedAt       time.Time // zero until final
	UpdatedAt         time.Time
}

// Details are what is known of a notification besides, at its creation. No query
// asks for them. They are kept as one text, see Encode.
type Details struct {
	// Supplied is the recipient as the client wrote it, empty when that is To.
	Supplied string `json:"supplied,omitempty"`
	// From is who the message says it is from: the text or number of an SMS
	// sender, or the address of an email.
	From string `json:"from,omitempty"`
	// ReplyTo is the address for answers to an email.
	ReplyTo string `json:"reply_to,omitempty"`
	// UnsubscribeURL is an email's one-click unsubscribe address (RFC 8058).
	UnsubscribeURL string `json:"unsubscribe_url,omitempty"`
	// ScheduledFor is when the client wants it sent, zero for at once.
	ScheduledFor time.Time `json:"scheduled_for,omitzero"`
	// International says that a text message goes to another country.
	International bool `json:"international,omitempty"`
	// Values says where in an email's Body the values of placeholders are, whose
	// text is never markup, as (*message.Template).Email returns it. Empty: there
	// are none.
	Values string `json:"values,omitempty"`
	// Request is a digest of the request that an idempotency key stands for, to
	// tell its repetition from another request with that key.
	Request string `json:"request,omitempty"`
}

// Creation is a notification to be stored with everything that must be
// decided in the same transaction.
type Creation struct {
	// Notification with UUID, ServiceID, Channel, To, Body, Sender, CreatedAt,
	// ExpiresAt and so on set. ID is assigned by the back end, JobID becomes
	// ID when it is zero, Status is StatusCreated and it is due at
	// Details.ScheduledFor, or at CreatedAt when that is zero.
	Notification Notification
	// Idempotency, when not nil, is looked up first: a known key returns the
	// stored notification and counts nothing.
	Idempotency *Idempotency
	// Limits are incremented by one each, all or none.
	Limits []Limit
}

// Idempotency identifies a request so that its repetition creates nothing.
type Idempotency struct {
	Key       []byte // unique in the service, at most 64 bytes
	BodyHash  []byte // optional; another hash under the same key is ErrIdempotencyMismatch
	ExpiresAt time.Time
}

// Limit is a counter that may not pass Max. Key names the counter and its
// window, such as "daily/<service>/sms/2026-11-22".
type Limit struct {
	Key       string
	Max       int64     // 0 or less: counted, not limited
	ExpiresAt time.Time // the counter may be swept after this
}

// Created is the result of a creation.
type Created struct {
	// Notification as first stored. For a replay its fields above Status are
	// those of the first creation; the delivery fields may have moved on.
	Notification Notification
	Replayed     bool
}

// Query selects a page of one service's notifications, newest first.
type Query struct {
	ServiceID string
	Channels  []Channel // empty: all
	Statuses  []Status  // empty: all
	KeyTypes  []KeyType // empty: all
	Offset    int64     // rows to skip
	Limit     int       // rows to return, at most 1,000
	// Before, when not zero, returns only ids below it (keyset paging).
	Before int64
	// Reference, when not empty, returns only notifications with it.
	Reference string
}

// Page is the answer to a Query.
type Page struct {
	Notifications []Notification
	// Total is the number of rows that match ServiceID, Channels and Statuses,
	// kept as counters and not counted per call. It is -1 when KeyTypes, Before
	// or Reference is set.
	Total int64
}
