package postgres

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// states are the changing fields of notifications, by column.
type states struct {
	ids, sent, done, updated, due []int64
	attempts                      []int32
	kinds, phases                 []int16
	leased, pending               []bool
	reasons, references, senders  []string
}

func (s *states) add(r *record) {
	n := &r.n
	s.ids, s.sent, s.done = append(s.ids, n.ID), append(s.sent, asMicro(n.SentAt)), append(s.done, asMicro(n.CompletedAt))
	s.updated, s.due = append(s.updated, asMicro(n.UpdatedAt)), append(s.due, r.due)
	s.attempts = append(s.attempts, int32(n.Attempts)) //nolint:gosec // each takes a lease
	kind, pending := stored(kindOf(n))
	s.kinds, s.phases, s.pending = append(s.kinds, kind), append(s.phases, r.phase()), append(s.pending, pending)
	s.leased, s.reasons = append(s.leased, r.leased), append(s.reasons, asText(n.Reason))
	s.references, s.senders = append(s.references, asText(n.ProviderReference)), append(s.senders, asText(n.Sender))
}

func (r *record) phase() int16 {
	switch r.n.Status {
	case storage.StatusCreated:
		return channelCode(r.n.Channel)
	case storage.StatusSending, storage.StatusPending:
		return phaseAwaiting
	default:
		return phaseHeld
	}
}

// save adds the statements that store what has changed of records, whose rows of
// outbox are locked.
func save(b *pgx.Batch, records map[int64]*record) {
	var final, flying states
	var landed []int64
	sums := totals{}
	owed := callbacks{}
	for _, r := range records {
		if !r.touched {
			continue
		}
		kind := kindOf(&r.n)
		if kind != r.kind && r.phase() == phaseAwaiting {
			r.due = asMicro(r.n.SentAt)
		}
		if r.n.Status.Final() {
			final.add(r)
		}
		switch {
		case !r.n.Status.Final() || r.leased:
			flying.add(r)
		case r.queued:
			landed = append(landed, r.n.ID)
		}
		sums.move(r.tenant, r.kind, kind)
		if r.callback {
			owed.add(r)
		}
	}
	final.queueFinal(b)
	flying.queueFlying(b)
	if len(landed) > 0 {
		b.Queue(`DELETE FROM signpost.outbox WHERE id = ANY ($1::bigint[])`, landed).Exec(all(landed))
	}
	owed.queue(b)
	if tenants, kinds, n := sums.columns(); len(n) > 0 {
		b.Queue(changeTotals, tenants, kinds, n)
	}
}

// queueFinal stores notifications that have ended, or whose worker has reported
// after a receipt. The condition makes the database itself refuse another end.
func (s *states) queueFinal(b *pgx.Batch) {
	if len(s.ids) == 0 {
		return
	}
	b.Queue(`UPDATE signpost.notification AS n SET kind = u.kind, attempts = u.attempts, sent_at = u.sent_at,
		completed_at = u.completed_at, updated_at = u.updated_at, reason = u.reason, provider_reference = u.provider_reference,
		sender = u.sender FROM unnest($1::bigint[], $2::smallint[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[],
			$7::text[], $8::text[], $9::text[])
			AS u (id, kind, attempts, sent_at, completed_at, updated_at, reason, provider_reference, sender)
		WHERE n.id = u.id AND n.kind IN (0, u.kind)`,
		s.ids, s.kinds, s.attempts, s.sent, s.done, s.updated, s.reasons, s.references, s.senders).Exec(all(s.ids))
}

// queueFlying stores notifications in flight. The condition makes the database
// itself refuse a step back.
func (s *states) queueFlying(b *pgx.Batch) {
	if len(s.ids) == 0 {
		return
	}
	b.Queue(`UPDATE signpost.outbox AS o SET kind = u.kind, phase = u.phase, due = u.due, leased = u.leased, attempts = u.attempts,
		sent_at = u.sent_at, updated_at = u.updated_at, reason = u.reason, provider_reference = u.provider_reference, sender = u.sender,
		pending = u.pending FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::bigint[], $5::boolean[], $6::int[], $7::bigint[], $8::bigint[],
			$9::text[], $10::text[], $11::text[], $12::boolean[])
			AS u (id, kind, phase, due, leased, attempts, sent_at, updated_at, reason, provider_reference, sender, pending)
		WHERE o.id = u.id AND least(o.kind & 7, 2) <= least(u.kind & 7, 2) AND (u.pending OR NOT o.pending OR u.kind & 7 <> 1)`,
		s.ids, s.kinds, s.phases, s.due, s.leased, s.attempts, s.sent, s.updated, s.reasons, s.references, s.senders,
		s.pending).Exec(all(s.ids))
}

// all checks that a statement has changed every row that it names.
func all(ids []int64) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if n := tag.RowsAffected(); n != int64(len(ids)) {
			return fmt.Errorf("%d of %d notifications can't take this step", int64(len(ids))-n, len(ids))
		}
		return nil
	}
}
