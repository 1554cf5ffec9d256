package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// sweepSigningAtOnce bounds how long one write removes signature requests,
// since each may take a JWT of 1 MiB with it.
const sweepSigningAtOnce = 64

// Sweep removes what has expired and gives up on receipts that are overdue.
// Each kind is a write of its own, or several, so that others need not wait
// for all.
func (s *Store) Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error) {
	r = r.Normalised()
	var done storage.Swept
	for _, part := range []struct {
		count  *int64
		atOnce int
		run    func(w *writer, r storage.SweepRequest) (int64, error)
	}{
		{&done.Notifications, r.Limit, (*writer).sweepNotifications},
		{&done.TimedOut, r.Limit, (*writer).sweepReceipts},
		{&done.Keys, r.Limit, (*writer).sweepIdempotency},
		{&done.Keys, r.Limit, (*writer).sweepReplays},
		{&done.Keys, r.Limit, (*writer).sweepCounters},
		{&done.Inbound, r.Limit, (*writer).sweepInbound},
		{&done.Requests, sweepSigningAtOnce, (*writer).sweepSigning},
	} {
		left := int64(r.Limit)
		for step := r; left > 0; {
			step.Limit = min(int(left), part.atOnce)
			var n int64
			if err := s.write(ctx, "sweeping", func(w *writer) (err error) {
				n, err = part.run(w, step)
				return err
			}); err != nil {
				return done, err
			}
			*part.count += n
			left -= n
			if n < int64(step.Limit) {
				break
			}
		}
		done.More = done.More || left <= 0
	}
	return done, nil
}

func (w *writer) sweepNotifications(r storage.SweepRequest) (int64, error) {
	type notification struct {
		id    int64
		total totalKey
	}
	var gone []notification
	if err := w.c.query(w.ctx, func(row []driver.Value) error {
		gone = append(gone, notification{asInt(row[0]), totalKey{asInt(row[1]), asInt(row[2])}})
		return nil
	}, `SELECT id, tenant, kind FROM notification WHERE phase = ? AND due < ? ORDER BY due LIMIT ?`, phaseFinal, r.Now, r.Limit); err != nil {
		return 0, err
	}
	for _, g := range gone {
		if _, err := w.c.exec(w.ctx, `DELETE FROM notification WHERE id = ?`, g.id); err != nil {
			return 0, err
		}
		if err := w.disown(g.id); err != nil {
			return 0, err
		}
		w.m.addTotal(g.total, -1)
		w.m.changed = append(w.m.changed, g.id)
		if g.id == w.m.lastID { // must not be given again after a restart
			if _, err := w.c.exec(w.ctx, `INSERT INTO meta (name, value) VALUES ('last_id', cast(cast(? AS TEXT) AS BLOB))
				ON CONFLICT (name) DO UPDATE SET value = excluded.value`, g.id); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(gone)), nil
}

func (w *writer) sweepReceipts(r storage.SweepRequest) (int64, error) {
	if r.ReceiptsSince.IsZero() {
		return 0, nil
	}
	var late []*record
	if err := w.c.query(w.ctx, func(row []driver.Value) error {
		rec, err := decode(row)
		late = append(late, &rec)
		return err
	}, `SELECT `+columns+fromNotification+`WHERE n.phase = ? AND n.due < ? ORDER BY n.due LIMIT ?`,
		phaseAwaiting, r.ReceiptsSince, r.Limit); err != nil {
		return 0, err
	}
	for _, rec := range late {
		from := rec.n
		transition.TimeOut(&rec.n, r.Now)
		if err := w.save(rec, &from); err != nil {
			return 0, err
		}
		if asked(r.Callback, &rec.n) {
			if err := w.owe(rec, &from); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(late)), nil
}

// expired is a row of one of the tables of keys.
type expired struct {
	rowid, value int64
	serviceID    string
	key          []byte
}

func (w *writer) sweepIdempotency(r storage.SweepRequest) (int64, error) {
	return w.sweepKeys(r, w.m.idempotency, `SELECT i.id AS no, i.id AS value, t.id, i.key FROM idempotency AS i JOIN tenant AS t ON t.no = i.tenant
		WHERE i.expires_at < ? ORDER BY i.expires_at LIMIT ?`, `DELETE FROM idempotency WHERE id = ?`)
}

func (w *writer) sweepReplays(r storage.SweepRequest) (int64, error) {
	return w.sweepKeys(r, w.m.replays, `SELECT no, expires_at, service_id, key FROM replay
		WHERE expires_at < ? ORDER BY expires_at LIMIT ?`, `DELETE FROM replay WHERE no = ?`)
}

func (w *writer) sweepKeys(r storage.SweepRequest, x *keyIndex, find, remove string) (int64, error) {
	var gone []expired
	if err := w.c.query(w.ctx, func(row []driver.Value) error {
		gone = append(gone, expired{asInt(row[0]), asInt(row[1]), asText(row[2]), asBytes(row[3])})
		return nil
	}, find, r.Now, r.Limit); err != nil {
		return 0, err
	}
	for _, g := range gone {
		if _, err := w.c.exec(w.ctx, remove, g.rowid); err != nil {
			return 0, err
		}
		x.drop(x.hash(g.serviceID, g.key), g.value)
	}
	return int64(len(gone)), nil
}

func (w *writer) sweepCounters(r storage.SweepRequest) (n int64, err error) {
	now := asMicro(r.Now)
	for key, v := range w.m.counts {
		if v.expires >= now {
			continue
		}
		if n >= int64(r.Limit) {
			break
		}
		if _, err := w.c.exec(w.ctx, `DELETE FROM counter WHERE key = ?`, key); err != nil {
			return 0, err
		}
		w.m.setCount(key, count{})
		n++
	}
	return n, nil
}
