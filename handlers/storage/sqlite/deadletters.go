package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// dead is the condition of dead letters, which that of the index
// notification_dead repeats word by word.
const dead = `kind & 7 = 5`

// deadLetters returns the conditions that select dead letters, and their
// arguments.
func deadLetters(q *storage.DeadLetterQuery) (where string, args []any, err error) {
	where, args = `WHERE n.`+dead+` AND n.id < ?`, []any{(&slice{before: q.Before}).limit()}
	if q.ServiceID != "" {
		// The sum keeps the index of dead letters the best one.
		where, args = where+` AND n.tenant + 0 = (SELECT no FROM tenant WHERE id = ?)`, append(args, q.ServiceID)
	}
	if len(q.IDs) > 0 {
		ids, err := json.Marshal(q.IDs)
		if err != nil {
			return "", nil, err
		}
		where, args = where+` AND n.id IN (SELECT value FROM json_each(?))`, append(args, string(ids))
	}
	if !q.Since.IsZero() {
		where, args = where+` AND n.completed_at >= ?`, append(args, q.Since)
	}
	if !q.Until.IsZero() {
		where, args = where+` AND n.completed_at < ?`, append(args, q.Until)
	}
	return where + ` ORDER BY n.id DESC LIMIT ? + 0`, append(args, q.Limit), nil
}

// DeadLetters returns notifications that were given up, highest ids first.
func (s *Store) DeadLetters(ctx context.Context, q storage.DeadLetterQuery) ([]storage.Notification, error) {
	q, err := q.Normalised()
	if err != nil {
		return nil, err
	}
	where, args, err := deadLetters(&q)
	if err != nil {
		return nil, err
	}
	var out []storage.Notification
	err = s.read(ctx, "listing dead letters", func(c *conn) (err error) {
		out, err = c.notifications(ctx, `SELECT `+columns+fromNotification+where, args...)
		return err
	})
	return out, err
}

// Requeue takes dead letters back to the queue.
func (s *Store) Requeue(ctx context.Context, q storage.DeadLetterQuery, now time.Time) ([]int64, error) {
	q, err := q.Normalised()
	if err != nil {
		return nil, err
	}
	where, args, err := deadLetters(&q)
	if err != nil {
		return nil, err
	}
	var ids []int64
	err = s.write(ctx, "requeueing dead letters", func(w *writer) error {
		var found []*record
		if err := w.c.query(w.ctx, func(row []driver.Value) error {
			r, err := decode(row)
			found = append(found, &r)
			return err
		}, `SELECT `+columns+fromNotification+where, args...); err != nil {
			return err
		}
		ids = make([]int64, 0, len(found))
		for _, r := range found {
			if err := w.requeue(r, now); err != nil {
				return err
			}
			ids = append(ids, r.n.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

func (w *writer) requeue(r *record, now time.Time) error {
	if err := w.disown(r.n.ID); err != nil {
		return err
	}
	from := kindOf(&r.n)
	transition.Requeue(&r.n, now)
	w.m.changed = append(w.m.changed, r.n.ID)
	w.m.addTotal(totalKey{r.tenant, from}, -1)
	w.m.addTotal(totalKey{r.tenant, kindOf(&r.n)}, 1)
	w.m.created = true
	_, err := w.c.exec(w.ctx, `UPDATE notification SET kind = ?, phase = ?, due = ?, leased = 0, attempts = ?, sent_at = ?,
		completed_at = ?, updated_at = ?, provider_reference = ? WHERE id = ? AND `+dead,
		kindOf(&r.n), r.phase(), storage.Micro(now), r.n.Attempts, r.n.SentAt, r.n.CompletedAt, r.n.UpdatedAt,
		r.n.ProviderReference, r.n.ID)
	return err
}
