package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// sweepSigningAtOnce bounds how many signature requests one statement removes,
// since each may take a JWT of 1 MiB with it.
const sweepSigningAtOnce = 64

// Sweep removes what has expired and gives up on receipts that are overdue. Each
// kind is a transaction of its own, or several. Nodes that sweep at the same
// time skip what the other has.
func (s *Store) Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error) {
	r = r.Normalised()
	var done storage.Swept
	for _, part := range []struct {
		count  *int64
		atOnce int
		run    func(ctx context.Context, c conn, r storage.SweepRequest) (int64, error)
	}{
		{&done.Notifications, r.Limit, sweepNotifications},
		{&done.TimedOut, r.Limit, sweepReceipts},
		{&done.Keys, r.Limit, sweepTable("idempotency", "tenant, key", "expires_at", "id")},
		{&done.Keys, r.Limit, sweepTable("replay", "service_id, key", "expires_at", "key")},
		{&done.Keys, r.Limit, sweepTable("counter", "key", "expires_at", "key")},
		{&done.Inbound, r.Limit, sweepTable("inbound", "id", "expires_at", "id")},
		{&done.Requests, sweepSigningAtOnce, sweepTable("signing_request", "token", "greatest(expires_at, deadline)", "token")},
		{new(int64), r.Limit, sweepBuckets},
	} {
		left := int64(r.Limit)
		for step := r; left > 0; {
			step.Limit = min(int(left), part.atOnce)
			var n int64
			if err := s.call(ctx, "sweeping", func(ctx context.Context, c conn) (err error) {
				n, err = part.run(ctx, c, step)
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

// sweepTable removes rows of a table that have expired, oldest first.
func sweepTable(table, key, expiry, second string) func(ctx context.Context, c conn, r storage.SweepRequest) (int64, error) {
	text := `DELETE FROM signpost.` + table + ` WHERE (` + key + `) IN (SELECT ` + key + ` FROM signpost.` + table + `
		WHERE ` + expiry + ` < $1 ORDER BY ` + expiry + `, ` + second + ` LIMIT $2 FOR UPDATE SKIP LOCKED)`
	return func(ctx context.Context, c conn, r storage.SweepRequest) (int64, error) {
		tag, err := c.Exec(ctx, text, asMicro(r.Now), r.Limit)
		return tag.RowsAffected(), err
	}
}

// sweepNotifications removes notifications with what hangs on them. Their
// idempotency keys, which expire sooner, stay: without a notification they are
// as good as none.
func sweepNotifications(ctx context.Context, c conn, r storage.SweepRequest) (n int64, err error) {
	err = c.QueryRow(ctx, `WITH
		gone AS (
			DELETE FROM signpost.notification WHERE id IN (SELECT id FROM signpost.notification
				WHERE kind > 0 AND expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, tenant, kind
		),
		held AS (DELETE FROM signpost.outbox AS o USING gone WHERE o.id = gone.id),
		owed AS (DELETE FROM signpost.callback AS c USING gone WHERE c.notification = gone.id),
		summed AS (`+intoTotals+`(SELECT tenant, kind, -count(*) AS n FROM gone GROUP BY 1, 2) AS gone`+addTotals+`)
		SELECT count(*) FROM gone`, asMicro(r.Now), r.Limit).Scan(&n)
	return n, err
}

// sweepReceipts gives up on receipts that are overdue.
func sweepReceipts(ctx context.Context, c conn, r storage.SweepRequest) (n int64, err error) {
	if r.ReceiptsSince.IsZero() {
		return 0, nil
	}
	late, err := collect(pgx.RowTo[int64])(c.Query(ctx, `SELECT id FROM signpost.outbox WHERE phase = 3 AND due < $1
		ORDER BY due, id LIMIT $2`, asMicro(r.ReceiptsSince), r.Limit))
	if err != nil || len(late) == 0 {
		return 0, err
	}
	slices.Sort(late)
	records := map[int64]*record{}
	err = transaction(ctx, c, func(b *pgx.Batch) { lockRecords(b, late, records) }, func(b *pgx.Batch) error {
		for _, rec := range records {
			from := rec.n.Status
			if from != storage.StatusSending && from != storage.StatusPending { // another was faster
				continue
			}
			n++
			transition.TimeOut(&rec.n, r.Now)
			rec.end(from, r.Callback)
		}
		save(b, records)
		return nil
	})
	return n, err
}

// sweepBuckets removes buckets that have become full: they equal unknown ones.
func sweepBuckets(ctx context.Context, c conn, r storage.SweepRequest) (int64, error) {
	tag, err := c.Exec(ctx, `DELETE FROM signpost.bucket WHERE key IN (SELECT key FROM signpost.bucket
		WHERE at < $1 AND tokens + ($1 - at)::float8 / 1e9 * per_second >= capacity LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		r.Now.UnixNano(), r.Limit)
	return tag.RowsAffected(), err
}
