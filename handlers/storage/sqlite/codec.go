package sqlite

import (
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// The phases of a notification; see the schema.
const (
	phaseSMS      = 1
	phaseEmail    = 2
	phaseAwaiting = 3
	phaseFinal    = 4
)

var channels = []storage.Channel{1: storage.SMS, 2: storage.Email}

var statuses = []storage.Status{
	storage.StatusCreated, storage.StatusSending, storage.StatusDelivered, storage.StatusTemporaryFailure,
	storage.StatusPermanentFailure, storage.StatusTechnicalFailure, storage.StatusSent, storage.StatusPending,
}

// keyTypes ends with what stands for any other.
var keyTypes = []storage.KeyType{storage.KeyNormal, storage.KeyTeam, storage.KeyTest, ""}

const (
	perChannel = 8 // kinds
	perKeyType = 64
)

func keyTypeCode(t storage.KeyType) int64 {
	for i, v := range keyTypes {
		if v == t {
			return int64(i)
		}
	}
	return int64(len(keyTypes) - 1)
}

func channelCode(c storage.Channel) int64 {
	switch c {
	case storage.SMS:
		return phaseSMS
	case storage.Email:
		return phaseEmail
	}
	return 0
}

func statusCode(s storage.Status) int64 {
	for i, v := range statuses {
		if v == s {
			return int64(i)
		}
	}
	return -1
}

func kindOf(n *storage.Notification) int64 {
	return keyTypeCode(n.KeyType)*perKeyType + channelCode(n.Channel)*perChannel + statusCode(n.Status)
}

// channelOf returns the code of a kind's channel.
func channelOf(kind int64) int64 { return kind % perKeyType / perChannel }

// unkind sets the fields of a notification that its kind says. The key type is
// empty when it isn't one of the known ones.
func unkind(kind int64, n *storage.Notification) error {
	t, c := kind/perKeyType, channelOf(kind)
	if kind < 0 || t >= int64(len(keyTypes)) || c < 1 || c >= int64(len(channels)) {
		return fmt.Errorf("the database holds a notification of the unknown kind %d", kind)
	}
	n.KeyType, n.Channel, n.Status = keyTypes[t], channels[c], statuses[kind%perChannel]
	return nil
}

// record is a notification's row.
type record struct {
	n      storage.Notification
	tenant int64
	due    int64
	token  int64
	leased bool
}

func (r *record) phase() int64 {
	switch r.n.Status {
	case storage.StatusCreated:
		return channelCode(r.n.Channel)
	case storage.StatusSending, storage.StatusPending:
		return phaseAwaiting
	default:
		return phaseFinal
	}
}

// columns are those that decode reads, with the tenant's id as the last.
const columns = `n.id, n.uuid, n.tenant, n.kind, n.due, n.token, n.leased, n.attempts, n.sent_at, n.completed_at,
	n.updated_at, n.reason, n.provider_reference, n.job, n.created_at, n.expires_at, n.key_name, n.key_type,
	n.recipient, n.template_id, n.template_version, n.reference, n.sender, n.subject, n.body, n.details, t.id`

// fromNotification goes before the conditions of a query for columns.
const fromNotification = ` FROM notification AS n JOIN tenant AS t ON t.no = n.tenant `

func decode(v []driver.Value) (r record, err error) {
	n := &r.n
	if err = unkind(asInt(v[3]), n); err != nil {
		return r, err
	}
	if n.UUID, err = uuid.FromBytes(asBytes(v[1])); err != nil {
		return r, fmt.Errorf("the database holds a notification with a bad UUID: %w", err)
	}
	n.ID, r.tenant, r.due, r.token, r.leased = asInt(v[0]), asInt(v[2]), asInt(v[4]), asInt(v[5]), asInt(v[6]) != 0
	n.Attempts = int(asInt(v[7]))
	n.SentAt, n.CompletedAt, n.UpdatedAt = asTime(v[8]), asTime(v[9]), asTime(v[10])
	n.Reason, n.ProviderReference = asText(v[11]), asText(v[12])
	n.JobID, n.CreatedAt, n.ExpiresAt = asInt(v[13]), asTime(v[14]), asTime(v[15])
	n.KeyName, n.KeyType, n.To = asText(v[16]), storage.KeyType(asText(v[17])), asText(v[18])
	n.TemplateID, n.TemplateVersion = asText(v[19]), int(asInt(v[20]))
	n.Reference, n.Sender, n.Subject, n.Body, n.ServiceID = asText(v[21]), asText(v[22]), asText(v[23]), asText(v[24]), asText(v[26])
	n.Details, err = storage.DecodeDetails(asText(v[25]))
	return r, err
}

const insertNotification = `INSERT INTO notification (id, uuid, tenant, kind, phase, due, updated_at, job, created_at,
	expires_at, key_name, key_type, recipient, template_id, template_version, reference, sender, subject, body, details)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uuid) DO NOTHING`

// The places of insertNotification's arguments that only the writer knows.
const (
	argID     = 0
	argTenant = 2
	argJob    = 7
)

func insertArgs(n *storage.Notification) ([]driver.NamedValue, error) {
	details, err := n.Details.Encode()
	created := asMicro(n.CreatedAt)
	return named([]any{
		int64(0), n.UUID[:], int64(0), kindOf(n), channelCode(n.Channel), n.DueAt(), created, n.JobID, created,
		n.ExpiresAt, n.KeyName, string(n.KeyType), n.To, n.TemplateID, n.TemplateVersion, n.Reference, n.Sender,
		n.Subject, n.Body, details,
	}), err
}

func asMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

func asTime(v driver.Value) time.Time { return fromMicro(asInt(v)) }

func asInt(v driver.Value) int64 {
	i, _ := v.(int64)
	return i
}

func asText(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func asBytes(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}
