package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// deadLetters returns the conditions of a query, and their arguments. There are
// as many texts as there are choices of conditions, which is few enough for
// prepared statements. The kinds are literals, as in the index.
func deadLetters(q *storage.DeadLetterQuery) (text string, args []any) {
	conditions := []string{"n.kind IN (13, 21)"}
	add := func(condition string, arg any) {
		args = append(args, arg)
		conditions = append(conditions, fmt.Sprintf(condition, len(args)))
	}
	if q.ServiceID != "" {
		add("n.tenant = (SELECT no FROM signpost.tenant WHERE id = $%d)", asText(q.ServiceID))
	}
	if len(q.IDs) > 0 {
		add("n.id = ANY ($%d::bigint[])", q.IDs)
	}
	if !q.Since.IsZero() {
		add("n.completed_at >= $%d", asMicro(q.Since))
	}
	if !q.Until.IsZero() {
		add("n.completed_at < $%d", asMicro(q.Until))
	}
	if q.Before > 0 {
		add("n.id < $%d", q.Before)
	}
	args = append(args, q.Limit)
	return "WHERE " + strings.Join(conditions, " AND ") + fmt.Sprintf(" ORDER BY n.id DESC LIMIT $%d", len(args)), args
}

// DeadLetters returns notifications that no provider took.
func (s *Store) DeadLetters(ctx context.Context, q storage.DeadLetterQuery) ([]storage.Notification, error) {
	q, err := q.Normalised()
	if err != nil {
		return nil, err
	}
	where, args := deadLetters(&q)
	return list(ctx, s, "listing dead letters", decode, `SELECT `+columns+fromNotification+where, args...)
}

// Requeue moves dead letters back to the queue.
func (s *Store) Requeue(ctx context.Context, q storage.DeadLetterQuery, now time.Time) (ids []int64, err error) {
	q, err = q.Normalised()
	if err != nil {
		return nil, err
	}
	where, args := deadLetters(&q)
	args = append(args, asMicro(storage.Micro(now)))
	text := fmt.Sprintf(`WITH
		chosen AS MATERIALIZED (SELECT n.id, n.tenant, n.kind, n.key_type, n.reason, n.sender FROM signpost.notification AS n %s FOR UPDATE),
		back AS (
			UPDATE signpost.notification AS n SET kind = 0, attempts = 0, sent_at = 0, completed_at = 0, updated_at = 0, reason = '',
				provider_reference = '', sender = '' FROM chosen WHERE n.id = chosen.id
		),
		queued AS (
			INSERT INTO signpost.outbox AS o (id, due, updated_at, tenant, kind, phase, reason, sender, special)
			SELECT id, $%[2]d, $%[2]d, tenant, kind - 5, kind >> 3, reason, sender, key_type <> 'normal' FROM chosen
			ON CONFLICT (id) DO UPDATE SET due = excluded.due, updated_at = excluded.updated_at, kind = excluded.kind,
				phase = excluded.phase, reason = excluded.reason, sender = excluded.sender, leased = false, attempts = 0, sent_at = 0,
				pending = false, provider_reference = ''
		),
		dropped AS (DELETE FROM signpost.callback AS c USING chosen WHERE c.notification = chosen.id),
		summed AS (`+intoTotals+`(
			SELECT tenant, kind, -count(*) AS n FROM chosen GROUP BY 1, 2
			UNION ALL SELECT tenant, (kind - 5)::smallint, count(*) FROM chosen GROUP BY 1, 2) AS moved`+addTotals+`)
		SELECT id FROM chosen ORDER BY id DESC`, where, len(args))
	err = s.call(ctx, "requeueing dead letters", func(ctx context.Context, c conn) error {
		ids, err = collect(pgx.RowTo[int64])(c.Query(ctx, text, args...))
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		s.created()
	}
	return ids, nil
}
