package storage

import (
	"time"

	"github.com/google/uuid"
)

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

// Known reports whether t is one of the key types.
func (t KeyType) Known() bool { return t == KeyNormal || t == KeyTeam || t == KeyTest }

// Service is a tenant: whoever signs with its keys acts as it.
type Service struct {
	ID        string // UUID text, lower case; the iss claim
	Name      string
	CreatedAt time.Time
	// Settings is what Directory keeps about a stored service, opaque to back
	// ends: a JSON object whose secrets are sealed, or empty.
	Settings []byte
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
	// FirstAt is when version 1 was made. Back ends fill it in.
	FirstAt time.Time
	// ArchivedAt is when the template was archived, all versions of it; zero
	// while it is in use.
	ArchivedAt time.Time
}

// templateSpace is the name space of derived template ids: a version 4 UUID,
// drawn once.
var templateSpace = uuid.MustParse("7b1f4c1e-5a0d-4c52-9a53-0f6a4d2f7c86")

// TemplateUUID returns the UUID by which the v2 dialect knows a service's
// template: its id where that is a UUID in lower case, otherwise a version 5 UUID
// (RFC 9562, 5.5) of service and id, which is the same everywhere and always.
func TemplateUUID(serviceID, id string) uuid.UUID {
	if u, err := uuid.Parse(id); err == nil && u.String() == id {
		return u
	}
	return uuid.NewSHA1(templateSpace, []byte(serviceID+"/"+id))
}
