package storage

import (
	"time"

	"github.com/google/uuid"
)

// InboundMessage is a text message that somebody has sent to a service.
type InboundMessage struct {
	ID        uuid.UUID // version 7
	ServiceID string
	// Provider is the configured name of the delivery provider that handed it
	// over, Reference its own reference (at most MaxInboundReference bytes), empty
	// when it has none.
	Provider, Reference string
	UserNumber          string // who sent it, E.164 with "+" where it is a phone number
	NotifyNumber        string // the service's number or short code
	Content             string
	CreatedAt           time.Time
	ExpiresAt           time.Time // retention: swept after this
}

// InboundQuery selects messages of one service, newest first (by CreatedAt,
// then by ID).
type InboundQuery struct {
	ServiceID string
	// Before, when set, returns only messages that come after that one in this
	// order. When the service has no such message, none are returned.
	Before uuid.UUID
	Limit  int // at most MaxPage; 0 or less: MaxPage
}
