package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// Claim leases notifications that are due.
func (s *Store) Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error) {
	if r.Limit <= 0 || !r.Channel.Known() {
		return nil, s.idle(ctx)
	}
	// An idle dispatcher must not keep the writer busy.
	if due, err := s.NextDue(ctx, r.Channel); err != nil || due.IsZero() || due.After(storage.Micro(r.Now)) {
		return nil, err
	}
	var claims []storage.Claim
	err := s.write(ctx, "claiming notifications", func(w *writer) (err error) {
		claims, err = w.claim(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// idle answers calls that have nothing to do like those that have.
func (s *Store) idle(ctx context.Context) error {
	return s.read(ctx, "claiming notifications", func(*conn) error { return nil })
}

func (w *writer) claim(r storage.ClaimRequest) ([]storage.Claim, error) {
	now := storage.Micro(r.Now)
	until := storage.Micro(r.Now.Add(r.Lease))
	due := max(asMicro(until), asMicro(now)+1)
	var claims []storage.Claim
	// A LIMIT that is a parameter alone makes SQLite prepare the statement anew
	// at every use, to plan with its value; a sum doesn't.
	err := w.c.query(w.ctx, func(row []driver.Value) error {
		rec, err := decode(row)
		if err != nil {
			return err
		}
		rec.n.Attempts++
		rec.n.UpdatedAt = now
		claims = append(claims, storage.Claim{Notification: rec.n, Token: rec.token + 1, LeaseUntil: until})
		return nil
	}, `SELECT `+columns+fromNotification+`WHERE n.phase = ? AND n.due <= ? ORDER BY n.due, n.id LIMIT ? + 0`,
		channelCode(r.Channel), now, r.Limit)
	if err != nil {
		return nil, err
	}
	for _, c := range claims {
		w.m.changed = append(w.m.changed, c.Notification.ID)
		if _, err := w.c.exec(w.ctx, `UPDATE notification SET token = ?, leased = 1, attempts = ?, due = ?, updated_at = ? WHERE id = ?`,
			c.Token, c.Notification.Attempts, due, now, c.Notification.ID); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// held returns the row of a claim whose lease still counts, without the fields
// that neither an outcome nor a renewal needs.
func (w *writer) held(c storage.Claim) (r *record, err error) {
	err = w.c.query(w.ctx, func(row []driver.Value) (err error) {
		r = &record{n: storage.Notification{ID: c.Notification.ID}, token: c.Token, leased: true}
		n := &r.n
		if err = unkind(asInt(row[0]), n); err != nil {
			return err
		}
		r.tenant, r.due, n.Attempts = asInt(row[1]), asInt(row[2]), int(asInt(row[3]))
		n.SentAt, n.CompletedAt, n.ExpiresAt = asTime(row[4]), asTime(row[5]), asTime(row[6])
		n.Reason, n.ProviderReference = asText(row[7]), asText(row[8])
		return nil
	}, `SELECT kind, tenant, due, attempts, sent_at, completed_at, expires_at, reason, provider_reference
		FROM notification WHERE id = ? AND token = ? AND leased = 1`, c.Notification.ID, c.Token)
	if err == nil && r == nil {
		err = storage.ErrLeaseLost
	}
	return r, err
}

// Renew extends a lease.
func (s *Store) Renew(ctx context.Context, c storage.Claim, until time.Time) error {
	return s.write(ctx, "renewing a lease", func(w *writer) error {
		r, err := w.held(c)
		if err != nil || r.n.Status != storage.StatusCreated {
			return err
		}
		_, err = w.c.exec(w.ctx, `UPDATE notification SET due = ? WHERE id = ?`, until, r.n.ID)
		return err
	})
}

// Reassign names the provider that is about to be called.
func (s *Store) Reassign(ctx context.Context, c storage.Claim, sender string) (queued bool, err error) {
	if err := transition.CheckSender(sender); err != nil {
		return false, err
	}
	err = s.write(ctx, "naming a provider", func(w *writer) error {
		r, err := w.held(c)
		if err != nil {
			return err
		}
		if queued = r.n.Status == storage.StatusCreated; !queued {
			return nil
		}
		w.m.changed = append(w.m.changed, r.n.ID)
		_, err = w.c.exec(w.ctx, `UPDATE notification SET sender = ? WHERE id = ?`, sender, r.n.ID)
		return err
	})
	return queued && err == nil, err
}

// Complete records what became of a claim.
func (s *Store) Complete(ctx context.Context, c storage.Claim, o storage.Outcome) error {
	if err := transition.CheckOutcome(o); err != nil {
		return err
	}
	return s.write(ctx, "recording an outcome", func(w *writer) error {
		r, err := w.held(c)
		if err != nil {
			return err
		}
		from := r.n
		r.leased = false
		if transition.Outcome(&r.n, o) {
			r.due = asMicro(o.NextAttempt)
		}
		if err := w.save(r, &from); err != nil || !o.Callback {
			return err
		}
		return w.owe(r, &from)
	})
}

// rank is a notification's, in SQL, as storage.Status.Rank has it.
const rank = `CASE kind & 7 WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 7 THEN 2 ELSE 3 END`

// save stores the delivery fields of a row that was from. The condition on the
// rank makes the database itself refuse to move a notification back.
func (w *writer) save(r *record, from *storage.Notification) error {
	w.m.changed = append(w.m.changed, r.n.ID)
	if r.n.Status != from.Status {
		switch r.phase() {
		case phaseAwaiting:
			r.due = asMicro(r.n.SentAt)
		case phaseFinal:
			r.due = asMicro(r.n.ExpiresAt)
		}
		w.m.addTotal(totalKey{r.tenant, kindOf(from)}, -1)
		w.m.addTotal(totalKey{r.tenant, kindOf(&r.n)}, 1)
	}
	_, err := w.c.exec(w.ctx, `UPDATE notification SET kind = ?, phase = ?, due = ?, leased = ?, attempts = ?, sent_at = ?,
		completed_at = ?, updated_at = ?, reason = ?, provider_reference = ? WHERE id = ? AND (kind = ? OR `+rank+` < ?)`,
		kindOf(&r.n), r.phase(), r.due, asFlag(r.leased), r.n.Attempts, r.n.SentAt, r.n.CompletedAt, r.n.UpdatedAt,
		r.n.Reason, r.n.ProviderReference, r.n.ID, kindOf(&r.n), r.n.Status.Rank())
	return err
}

func asFlag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Receipt applies a provider's report.
func (s *Store) Receipt(ctx context.Context, r storage.Receipt) (storage.Notification, bool, error) {
	if err := transition.CheckReceipt(r); err != nil {
		return storage.Notification{}, false, err
	}
	var n storage.Notification
	var changed bool
	err := s.write(ctx, "recording a receipt", func(w *writer) error {
		rec, err := w.reported(r)
		if err != nil {
			return err
		}
		from := rec.n
		if changed = transition.Receipt(&rec.n, r); changed {
			err = w.save(rec, &from)
		}
		if err == nil && changed && asked(r.Callback, &rec.n) {
			err = w.owe(rec, &from)
		}
		n = rec.n
		return err
	})
	if err != nil {
		return storage.Notification{}, false, err
	}
	return n, changed, nil
}

// reported finds the notification that a receipt is about: the newest one when
// a provider has used a reference twice.
func (w *writer) reported(r storage.Receipt) (*record, error) {
	if r.Reference == "" {
		return nil, storage.ErrNotFound
	}
	rec, err := w.c.record(w.ctx, `WHERE n.sender = ? AND n.provider_reference = ? AND n.provider_reference <> ''
		ORDER BY n.id DESC LIMIT 1`, r.Sender, r.Reference)
	if err != nil || rec != nil {
		return rec, err
	}
	if id, bad := uuid.Parse(r.Reference); bad == nil {
		rec, err = w.c.record(w.ctx, `WHERE n.uuid = ? AND n.sender = ?`, id[:], r.Sender)
	}
	if err == nil && rec == nil {
		err = storage.ErrNotFound
	}
	return rec, err
}

// NextDue returns when the next queued notification becomes due.
func (s *Store) NextDue(ctx context.Context, channel storage.Channel) (due time.Time, err error) {
	const doing = "reading the queue"
	err = s.trusted(ctx, doing, func() error {
		phase := channelCode(channel)
		if s.queued[phase].Load() == 0 {
			return nil
		}
		return s.withReader(ctx, doing, func(c *conn) error {
			v, _, err := c.one(context.WithoutCancel(ctx), `SELECT due FROM notification WHERE phase = ? ORDER BY due LIMIT 1`, phase)
			due = fromMicro(v)
			return err
		})
	})
	return due, err
}

// Stats describes the queue.
func (s *Store) Stats(ctx context.Context) (st storage.Stats, err error) {
	err = s.read(ctx, "reading the queue", func(c *conn) error {
		err := c.query(ctx, func(row []driver.Value) error {
			switch n := asInt(row[1]); statuses[asInt(row[0])] {
			case storage.StatusCreated:
				st.Queued = n
			case storage.StatusSending, storage.StatusPending:
				st.Outstanding += n
			case storage.StatusTechnicalFailure:
				st.DeadLettered = n
			default: // final, and nothing is left to do
			}
			return nil
		}, `SELECT kind & 7, sum(n) FROM total GROUP BY 1`)
		if err != nil {
			return err
		}
		oldest, _, err := c.one(ctx, `SELECT coalesce(min((SELECT n.created_at FROM notification AS n
			WHERE n.tenant = total.tenant AND n.kind = total.kind ORDER BY n.id LIMIT 1)), 0)
			FROM total WHERE kind & 7 = 0 AND total.n > 0`)
		st.Oldest = fromMicro(oldest)
		st.Callbacks = s.callbacks.Load()
		return err
	})
	return st, err
}
