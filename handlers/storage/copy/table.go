package copy

import (
	"context"
	"fmt"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// table is a kind of rows. Both sides read and write them as the columns that
// are named, whatever their own tables are; values are int64, string, []byte or
// nil. A kind is 8 * channel + status, of whatever key type, and a tenant is
// positive: both schemas say more with them. The codes of channels, statuses and
// phases are the same in all.
type table struct {
	name    string
	columns []string
	// large tables are followed by what has changed, the others as a whole.
	large bool
	// change makes of a row of the source one of the target.
	change func(r *run, row []any) error
}

// A notification's columns that are referred to by place, and how many are
// stored: the last says whether a worker still holds one that is final, and so
// may change its row once more.
const (
	notificationID     = 0
	notificationUUID   = 1
	notificationJob    = 4
	notificationType   = 8
	notificationKind   = 14
	notificationPhase  = 23
	notificationDue    = 24
	notificationStored = 25
	notificationHeld   = 25

	callbackDue = 2
	secret      = 4 // of a key, and of the settings of a service
)

const (
	perChannel = 8 // kinds
	// codeSent and codePending are the statuses of a kind that the schemas tell
	// apart from others in ways of their own.
	codeSent       = 6
	codePending    = 7
	pendingSending = codePending - 1 // from the one to the other
)

// phaseFinal is the phase of notifications that aren't in flight.
const phaseFinal = int64(4)

// The tables, those first that others refer to. Token buckets aren't copied:
// they are full again. Neither are leases, which end with the process that holds
// them.
var tables = []*table{
	{name: "service", columns: []string{"no", "id", "name", "created_at", "settings"}, change: resealSettings},
	{
		name: "api_key", columns: []string{"no", "service_id", "name", "type", "secret", "created_at", "revoked_at"},
		change: reseal,
	},
	{name: "template", columns: []string{"service_id", "id", "version", "channel", "name", "subject", "body", "created_at", "archived_at"}},
	{name: "tenant", columns: []string{"no", "id"}},
	{
		name: "notification", large: true, change: inFlight,
		columns: []string{
			"id", "uuid", "created_at", "expires_at", "job", "tenant", "template_version", "key_name", "key_type", "recipient",
			"template_id", "reference", "subject", "body", "kind", "attempts", "sent_at", "completed_at", "updated_at", "reason",
			"provider_reference", "sender", "details", "phase", "due",
		},
	},
	{name: "callback", columns: []string{"id", "notification", "due", "created_at", "tenant", "attempts"}, change: owed},
	{
		name: "inbound", change: received,
		columns: []string{
			"id", "service_id", "provider", "reference", "user_number", "notify_number", "content", "created_at", "expires_at",
		},
	},
	{name: "idempotency", columns: []string{"id", "tenant", "key", "expires_at", "body_hash"}, large: true},
	{name: "replay", columns: []string{"service_id", "key", "expires_at"}},
	{name: "counter", columns: []string{"key", "value", "expires_at"}},
	{name: "signing_client", columns: []string{"no", "id", "name", "keys", "callback", "created_at"}},
	{
		name: "signing_request",
		columns: []string{
			"token", "client", "bearer", "replay", "state", "has_state", "status", "binding", "created_at", "deadline",
			"expires_at", "jwt", "response",
		},
	},
}

// delta says which rows of a large table may differ from those of an earlier
// copy: those after an id, those that may have been swept, and the ids listed. A
// notification changes only while it is in flight, or as a dead letter, so those
// on both sides are rows of it too, whatever their ids.
type delta struct {
	after   int64
	expired int64 // rows that expire before, in microseconds since 1970
	ids     []int64
}

// sums are the numbers of notifications.
type sums map[sumKey]int64

type sumKey struct{ tenant, kind int64 }

func (s sums) all() (n int64) {
	for _, v := range s {
		n += v
	}
	return n
}

func (s sums) compare(have sums) error {
	for k, n := range s {
		if have[k] != n {
			return &mismatchError{fmt.Sprintf("the counts don't agree: service number %d has %d notifications of kind %d in the source, and %d in the target",
				k.tenant, n, k.kind, have[k])}
		}
	}
	if len(have) != len(s) {
		return &mismatchError{"the target has notifications in states that the source doesn't know"}
	}
	return nil
}

// numbers are the highest that have been given, 0 for none.
type numbers struct{ notification, callback int64 }

// mark is what a target remembers of its last copy.
type mark struct {
	Source  string  `json:"source"`  // its identity
	Settled int64   `json:"settled"` // up to this id, nothing can be new
	Held    []int64 `json:"held"`    // final ones that their worker may change
	Used    string  `json:"used"`    // what the target was when it was left
	Live    bool    `json:"live"`    // the source was in use: not complete
}

// source is a database at one moment.
type source interface {
	live() bool
	// identity is the same for one database as long as it exists, and for its
	// backups.
	identity(ctx context.Context) (string, error)
	sealer() *storage.Sealer // nil without a key
	count(ctx context.Context, t *table, d *delta) (int64, error)
	read(ctx context.Context, t *table, d *delta, each func(row []any) error) error
	sums(ctx context.Context) (sums, error)
	numbers(ctx context.Context) (numbers, error)
	// settled is an id up to which all that were given are there, or never will
	// be.
	settled(ctx context.Context) (int64, error)
	mark(ctx context.Context) (*mark, error) // nil without one
	close() error
}

// target is written to in one transaction.
type target interface {
	source
	// flying returns the ids of notifications that may have changed in the
	// source, whatever has become of them there.
	flying(ctx context.Context) ([]int64, error)
	// remove removes what delta says, and all when it is nil.
	remove(ctx context.Context, t *table, d *delta) error
	// insert writes rows, in place of those with the same key when replace is
	// set. It may change them.
	insert(ctx context.Context, t *table, rows [][]any, replace bool) error
	// finish stores the sums, and sets the numbers that are given next.
	finish(ctx context.Context, n numbers, s sums) error
	// used says what a node would change that uses the database.
	used(ctx context.Context) (string, error)
	setMark(ctx context.Context, m mark) error
	commit(ctx context.Context) error
	// tidy tells the database what it now holds; thoroughly, when there is time.
	tidy(ctx context.Context, thoroughly bool)
	hint() string
}

// apiKey is the key of a row, as far as its sealed secret depends on it.
func apiKey(row []any) (k storage.APIKey, err error) {
	var ok [3]bool
	k.ServiceID, ok[0] = row[1].(string)
	k.Name, ok[1] = row[2].(string)
	k.Secret, ok[2] = row[secret].([]byte)
	if ok != [3]bool{true, true, true} {
		return k, fmt.Errorf("the API key %v is damaged", row[0])
	}
	return k, nil
}

func reseal(r *run, row []any) error {
	k, err := apiKey(row)
	if err != nil {
		return err
	}
	if row[secret], err = r.cfg.Reseal(k, r.from.sealer(), r.to.sealer()); err != nil {
		return fmt.Errorf("the API key %q of service %s: %w", k.Name, k.ServiceID, err)
	}
	return nil
}

// resealSettings changes the settings of a service, which may hold secrets.
func resealSettings(r *run, row []any) (err error) {
	row[secret], err = r.cfg.settings(row, r.from.sealer(), r.to.sealer())
	return err
}

// settings returns those of a row of service, sealed anew; never nil.
func (c *Config) settings(row []any, from, to *storage.Sealer) ([]byte, error) {
	text, ok := row[secret].([]byte)
	if !ok || len(text) == 0 {
		return []byte{}, nil // SQLite's driver makes nil of an empty one
	}
	id, ok := row[1].(string)
	switch {
	case !ok:
		return nil, fmt.Errorf("the service %v is damaged", row[0])
	case c.ResealSettings == nil:
		return nil, fmt.Errorf("service %s has settings, and nothing was given to reseal their secrets", id)
	}
	text, err := c.ResealSettings(id, text, from, to)
	if err != nil {
		return nil, fmt.Errorf("the settings of service %s: %w", id, err)
	}
	return text, nil
}

// parked is when things are due in a target that isn't complete, in
// microseconds: never.
var parked = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func inFlight(r *run, row []any) error {
	if b, ok := row[notificationUUID].([]byte); !ok || len(b) != 16 {
		return fmt.Errorf("the notification %v has no UUID", row[notificationID])
	}
	switch phase, ok := row[notificationPhase].(int64); {
	case !ok:
		return fmt.Errorf("the notification %v is neither final nor in flight", row[notificationID])
	case phase < phaseFinal && r.from.live():
		row[notificationDue] = parked
	}
	if id, ok := row[notificationID].(int64); ok && row[notificationHeld] == int64(1) {
		r.held = append(r.held, id)
	}
	return nil
}

func received(_ *run, row []any) error {
	if b, ok := row[0].([]byte); !ok || len(b) != 16 {
		return fmt.Errorf("the received message %v has no UUID", row[0])
	}
	return nil
}

func owed(r *run, row []any) error {
	if r.from.live() {
		row[callbackDue] = parked
	}
	return nil
}
