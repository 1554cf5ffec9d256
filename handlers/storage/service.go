package storage

import "time"

// Channel is the way by which a notification travels.
type Channel string

// The channels, with the names that the wire uses.
const (
	SMS   Channel = "sms"
	Email Channel = "email"
)

// Known reports whether c is one of the channels.
func (c Channel) Known() bool { return c == SMS || c == Email }

// KeyType says what an API key may do: normal keys send to anyone, team keys
// to the team and guest list, test keys send nothing.
type KeyType string

// The key types of GOV.UK Notify.
const (
	KeyNormal KeyType = "normal"
	KeyTeam   KeyType = "team"
	KeyTest   KeyType = "test"
)

// Service is a tenant: whoever signs with its keys acts as it.
type Service struct {
	ID        string // UUID text, lower case; the iss claim
	Name      string
	CreatedAt time.Time
}

// APIKey is one of a service's keys. Names are unique in a service, revoked
// ones included; revocation is one-way.
type APIKey struct {
	ServiceID string
	Name      string
	Type      KeyType
	Secret    []byte // sealed, see Sealer; back ends never see the plain text
	CreatedAt time.Time
	RevokedAt time.Time // zero while active
}

// Template is one version of a message text. ID is opaque text, unique in the
// service: an integer ("1") or a UUID. Putting a template again makes the
// next version.
type Template struct {
	ServiceID string
	ID        string
	Version   int // from 1
	Channel   Channel
	Name      string
	Subject   string // emails only
	Body      string
	CreatedAt time.Time // of this version
}
