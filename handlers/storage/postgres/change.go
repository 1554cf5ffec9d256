package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// change is one caller's step of a notification's delivery.
type change struct {
	id      int64            // of the notification; 0 until a receipt's is found
	receipt *storage.Receipt // unless nil, that looks for the notification
	// apply changes the record, nil when there is none.
	apply func(r *record) error
	err   error                // of this one alone
	n     storage.Notification // after a receipt
}

// record is how a notification stands in its delivery. Of n only the fields are
// set that change with it.
type record struct {
	n        storage.Notification
	tenant   int32
	kind     int16 // as stored
	due      int64
	token    int64
	queued   bool // has a row in outbox
	leased   bool
	touched  bool
	callback bool // is owed from now on
}

// end asks whether the service is owed a callback, when a step has ended the
// notification.
func (r *record) end(from storage.Status, owed func(serviceID string) bool) {
	r.touched = true
	if transition.Owed(from, &r.n) && owed != nil && owed(r.n.ServiceID) {
		r.callback = true
	}
}

const recordingDelivery = "recording a delivery"

func (s *Store) change(ctx context.Context, doing string, c *change) error {
	return write(ctx, s, &s.changes, doing, c)
}

// runChanges carries out steps of several notifications, or of one in turn.
func (s *Store) runChanges(ctx context.Context, timeout time.Duration, batch []*op[*change]) {
	all := make([]*change, len(batch))
	for i, o := range batch {
		all[i] = o.arg
	}
	err := s.attempt(ctx, recordingDelivery, timeout, func(ctx context.Context, c conn) error {
		if err := findReceived(ctx, c, all); err != nil {
			return err
		}
		return changeTogether(ctx, c, all)
	}, again)
	for _, o := range batch {
		if o.err = err; err == nil {
			o.err = o.arg.err
		}
	}
}

// findReceived finds the notifications that receipts are about: the newest one
// when a provider has used a reference twice.
func findReceived(ctx context.Context, c conn, all []*change) error {
	var places []int32
	var senders, references []string
	var uuids [][16]byte
	for i, ch := range all {
		if ch.receipt == nil {
			continue
		}
		ch.id = 0
		id, err := uuid.Parse(ch.receipt.Reference)
		if err != nil {
			id = uuid.Nil // is no notification's
		}
		places, uuids = append(places, int32(i)), append(uuids, id) //nolint:gosec // at most maxBatch
		senders, references = append(senders, asText(ch.receipt.Sender)), append(references, asText(ch.receipt.Reference))
	}
	if len(places) == 0 {
		return nil
	}
	rows, err := c.Query(ctx, `SELECT u.place, coalesce(
		greatest(
			(SELECT max(o.id) FROM signpost.outbox AS o WHERE o.sender = u.sender
				AND left(o.provider_reference, 128) = left(u.reference, 128) AND o.provider_reference = u.reference AND o.provider_reference <> ''),
			(SELECT max(n.id) FROM signpost.notification AS n WHERE n.sender = u.sender
				AND left(n.provider_reference, 128) = left(u.reference, 128) AND n.provider_reference = u.reference AND n.provider_reference <> '')),
		(SELECT n.id FROM signpost.notification AS n LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0
			WHERE n.uuid = u.uuid AND coalesce(o.sender, n.sender) = u.sender),
		0) FROM unnest($1::int[], $2::text[], $3::text[], $4::uuid[]) AS u (place, sender, reference, uuid)`, places, senders, references, uuids)
	if err != nil {
		return err
	}
	var place, id int64
	_, err = pgx.ForEachRow(rows, []any{&place, &id}, func() error {
		all[place].id = id
		return nil
	})
	return err
}

func changeTogether(ctx context.Context, c conn, all []*change) error {
	ids := map[int64]bool{}
	for _, ch := range all {
		ids[ch.id] = true
	}
	sorted := slices.Sorted(maps.Keys(ids))
	records := map[int64]*record{}
	return transaction(ctx, c, func(b *pgx.Batch) { lockRecords(b, sorted, records) }, func(b *pgx.Batch) error {
		for _, ch := range all {
			ch.err = ch.apply(records[ch.id])
		}
		save(b, records)
		readReceived(b, all)
		return nil
	})
}

// readReceived reads the notifications as receipts have left them.
func readReceived(b *pgx.Batch, all []*change) {
	var ids []int64
	for _, ch := range all {
		if ch.receipt != nil && ch.err == nil {
			ids = append(ids, ch.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	b.Queue(`SELECT `+columns+fromNotification+`WHERE n.id = ANY ($1::bigint[])`, ids).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, decode)
		for _, n := range found {
			for _, ch := range all {
				if ch.id == n.ID {
					ch.n = n
				}
			}
		}
		return err
	})
}

// lockRecords locks notifications in flight and reads how they stand, in a
// statement of its own, which sees what those have committed who held them.
// What isn't in flight doesn't change any more.
func lockRecords(b *pgx.Batch, sorted []int64, into map[int64]*record) {
	b.Queue(`SELECT FROM signpost.outbox WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE`, sorted)
	queueRecords(b, sorted, into)
}

// recordColumns are those of a notification's own row, then those of outbox.
const recordColumns = `n.id, t.no, t.id, n.expires_at, n.kind, n.attempts, n.sent_at, n.completed_at, n.updated_at, n.reason,
	n.provider_reference, n.sender, o.id IS NOT NULL, coalesce(` + flyingKind + `, 0), coalesce(o.attempts, 0), coalesce(o.sent_at, 0),
	coalesce(o.updated_at, 0), coalesce(o.reason, ''), coalesce(o.provider_reference, ''), coalesce(o.sender, ''),
	coalesce(o.due, 0), coalesce(o.token, 0), coalesce(o.leased, false)`

func queueRecords(b *pgx.Batch, ids []int64, into map[int64]*record) {
	b.Queue(`SELECT `+recordColumns+` FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant
		LEFT JOIN signpost.outbox AS o ON o.id = n.id WHERE n.id = ANY ($1::bigint[])`, ids).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, decodeRecord)
		for _, r := range found {
			into[r.n.ID] = r
		}
		return err
	})
}

func decodeRecord(c pgx.CollectableRow) (*record, error) {
	r := &record{}
	n := &r.n
	var flying storage.Notification
	var kind int16
	var expires, sent, done, updated, flyingSent, flyingUpdated int64
	if err := c.Scan(&n.ID, &r.tenant, &n.ServiceID, &expires, &r.kind, &n.Attempts, &sent, &done, &updated, &n.Reason,
		&n.ProviderReference, &n.Sender, &r.queued, &kind, &flying.Attempts, &flyingSent, &flyingUpdated, &flying.Reason,
		&flying.ProviderReference, &flying.Sender, &r.due, &r.token, &r.leased); err != nil {
		return nil, err
	}
	if r.kind == 0 {
		if !r.queued {
			return nil, errors.New("the database holds a notification that is neither final nor in flight")
		}
		r.kind, sent, updated = kind, flyingSent, flyingUpdated
		n.Attempts, n.Reason, n.ProviderReference, n.Sender = flying.Attempts, flying.Reason, flying.ProviderReference, flying.Sender
	}
	var err error
	if n.Channel, n.Status, err = unkind(r.kind); err != nil {
		return nil, err
	}
	n.ExpiresAt, n.SentAt, n.CompletedAt, n.UpdatedAt = fromMicro(expires), fromMicro(sent), fromMicro(done), fromMicro(updated)
	for _, text := range []*string{&n.ServiceID, &n.Reason, &n.ProviderReference, &n.Sender} {
		*text = fromText(*text)
	}
	return r, nil
}

// held says that a claim's lease is lost, if it is.
func (r *record) held(token int64) error {
	if r == nil || !r.leased || r.token != token {
		return storage.ErrLeaseLost
	}
	return nil
}

// Renew extends a lease.
func (s *Store) Renew(ctx context.Context, c storage.Claim, until time.Time) error {
	return s.change(ctx, "renewing a lease", &change{id: c.Notification.ID, apply: func(r *record) error {
		if err := r.held(c.Token); err != nil {
			return err
		}
		if r.n.Status == storage.StatusCreated {
			r.due, r.touched = asMicro(until), true
		}
		return nil
	}})
}

// Reassign names the provider that is about to be called.
func (s *Store) Reassign(ctx context.Context, c storage.Claim, sender string) (bool, error) {
	if err := transition.CheckSender(sender); err != nil {
		return false, err
	}
	queued := false
	err := s.change(ctx, "naming a provider", &change{id: c.Notification.ID, apply: func(r *record) error {
		if err := r.held(c.Token); err != nil {
			return err
		}
		if queued = r.n.Status == storage.StatusCreated; queued {
			r.n.Sender, r.touched = sender, true
		}
		return nil
	}})
	if err != nil {
		return false, err // queued may still be written to
	}
	return queued, nil
}

// Complete records what became of a claim.
func (s *Store) Complete(ctx context.Context, c storage.Claim, o storage.Outcome) error {
	if err := transition.CheckOutcome(o); err != nil {
		return err
	}
	return s.change(ctx, "recording an outcome", &change{id: c.Notification.ID, apply: func(r *record) error {
		if err := r.held(c.Token); err != nil {
			return err
		}
		from := r.n.Status
		r.leased = false
		if transition.Outcome(&r.n, o) {
			r.due = asMicro(o.NextAttempt)
		}
		r.end(from, func(string) bool { return o.Callback })
		return nil
	}})
}

// Receipt applies a provider's report.
func (s *Store) Receipt(ctx context.Context, r storage.Receipt) (storage.Notification, bool, error) {
	if err := transition.CheckReceipt(r); err != nil {
		return storage.Notification{}, false, err
	}
	changed := false
	c := &change{receipt: &r, apply: func(rec *record) error {
		if rec == nil {
			return storage.ErrNotFound
		}
		from := rec.n.Status
		if changed = transition.Receipt(&rec.n, r); changed {
			rec.end(from, r.Callback)
		}
		return nil
	}}
	if err := s.change(ctx, "recording a receipt", c); err != nil {
		return storage.Notification{}, false, err
	}
	return c.n, changed, nil
}
