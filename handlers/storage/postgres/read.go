package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// flyingKind is the kind of a row of outbox AS o.
const flyingKind = `(o.kind + CASE WHEN o.pending AND o.kind & 7 = 1 THEN 6 ELSE 0 END)`

// columns are those that decode reads: of outbox while the notification is in
// flight, otherwise of its own row.
const columns = `n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, n.details, coalesce(` + flyingKind + `, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender)`

const (
	// joined goes after notification AS n.
	joined = ` JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 `
	// fromNotification goes before the conditions of a query for columns.
	fromNotification = ` FROM signpost.notification AS n` + joined
	selectByIDs      = `SELECT ` + columns + fromNotification + `WHERE n.id = ANY ($1::bigint[])`
)

const readingNotification = "reading a notification"

// row is what is read of a notification, before it is decoded.
type row struct {
	n                                     storage.Notification
	uuid                                  [16]byte
	created, expires, sent, done, updated int64
	kind                                  int16
	details                               string
}

func (r *row) targets() []any {
	n := &r.n
	return []any{
		&n.ID, &r.uuid, &n.ServiceID, &r.created, &r.expires, &n.JobID, &n.TemplateVersion, &n.KeyName, &n.KeyType, &n.To,
		&n.TemplateID, &n.Reference, &n.Subject, &n.Body, &r.details, &r.kind, &n.Attempts, &r.sent, &r.done, &r.updated, &n.Reason,
		&n.ProviderReference, &n.Sender,
	}
}

func (r *row) decode() (n storage.Notification, err error) {
	n = r.n
	if n.Channel, n.Status, err = unkind(r.kind); err != nil {
		return n, err
	}
	n.UUID = uuid.UUID(r.uuid)
	n.CreatedAt, n.ExpiresAt, n.UpdatedAt = fromMicro(r.created), fromMicro(r.expires), fromMicro(r.updated)
	n.SentAt, n.CompletedAt = fromMicro(r.sent), fromMicro(r.done)
	n.KeyType = storage.KeyType(fromText(string(n.KeyType)))
	for _, text := range []*string{
		&n.ServiceID, &n.KeyName, &n.To, &n.TemplateID, &n.Reference, &n.Subject, &n.Body, &n.Reason, &n.ProviderReference, &n.Sender,
	} {
		*text = fromText(*text)
	}
	n.Details, err = storage.DecodeDetails(fromText(r.details))
	return n, err
}

func decode(c pgx.CollectableRow) (storage.Notification, error) {
	var r row
	if err := c.Scan(r.targets()...); err != nil {
		return storage.Notification{}, err
	}
	return r.decode()
}

// notification returns the first notification that a query finds.
func (s *Store) notification(ctx context.Context, where string, args ...any) (n storage.Notification, err error) {
	err = s.read(ctx, readingNotification, func(ctx context.Context, c conn) error {
		var r row
		err := c.QueryRow(ctx, `SELECT `+columns+fromNotification+where, args...).Scan(r.targets()...)
		if errors.Is(err, pgx.ErrNoRows) {
			return storage.ErrNotFound
		}
		if err == nil {
			n, err = r.decode()
		}
		return err
	})
	return n, err
}

// lookup is one caller's NotificationByID.
type lookup struct {
	service string
	id      int64
	out     storage.Notification
}

// NotificationByID returns a service's notification. Callers who come at the same
// time ask together: most of what a look-up costs is the exchange with the server.
func (s *Store) NotificationByID(ctx context.Context, serviceID string, id int64) (storage.Notification, error) {
	l := &lookup{service: serviceID, id: id}
	if err := write(ctx, s, &s.lookups, readingNotification, l); err != nil {
		return storage.Notification{}, err // l may still be written to
	}
	return l.out, nil
}

func (s *Store) runLookups(ctx context.Context, timeout time.Duration, batch []*op[*lookup]) {
	ids := make([]int64, len(batch))
	for i, o := range batch {
		ids[i] = o.arg.id
	}
	found := make(map[int64]*storage.Notification, len(batch))
	faults := map[int64]error{}
	err := s.attempt(ctx, readingNotification, timeout, func(ctx context.Context, c conn) error {
		rows, err := c.Query(ctx, selectByIDs, ids)
		if err != nil {
			return err
		}
		_, err = pgx.CollectRows(rows, func(c pgx.CollectableRow) (struct{}, error) {
			var r row
			if err := c.Scan(r.targets()...); err != nil {
				return struct{}{}, err
			}
			n, err := r.decode()
			if found[r.n.ID] = &n; err != nil { // of this one alone
				faults[r.n.ID] = err
			}
			return struct{}{}, nil
		})
		return err
	}, readAgain)
	for _, o := range batch {
		l := o.arg
		n := found[l.id]
		switch o.err = err; {
		case err != nil:
		case n == nil:
			o.err = storage.ErrNotFound
		case faults[l.id] != nil:
			o.err = storage.Unavailable(readingNotification, faults[l.id])
		case n.ServiceID != l.service:
			o.err = storage.ErrNotFound
		default:
			l.out = *n
		}
	}
}

// NotificationByUUID returns a service's notification.
func (s *Store) NotificationByUUID(ctx context.Context, serviceID string, id uuid.UUID) (storage.Notification, error) {
	return s.notification(ctx, `WHERE n.uuid = $1 AND t.id = $2`, [16]byte(id), asText(serviceID))
}

// Idempotent returns the notification stored under a key.
func (s *Store) Idempotent(ctx context.Context, serviceID string, key []byte) (storage.Notification, error) {
	return s.notification(ctx, `WHERE t.id = $1 AND n.id = (SELECT i.id FROM signpost.idempotency AS i
		WHERE i.tenant = (SELECT no FROM signpost.tenant WHERE id = $1) AND i.key = $2)`, asText(serviceID), key)
}
