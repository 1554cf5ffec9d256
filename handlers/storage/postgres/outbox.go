package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const claimDue = `WITH
	ready AS MATERIALIZED (
		SELECT id, due FROM signpost.outbox WHERE phase = $1 AND due <= $2 ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED
	),
	taken AS (
		UPDATE signpost.outbox AS o SET token = nextval('signpost.lease_token'), leased = true, attempts = o.attempts + 1, due = $4,
			updated_at = $2
		FROM ready WHERE o.id = ready.id RETURNING o.*, ready.due AS was
	)
	SELECT ` + columns + `, o.token FROM taken AS o JOIN signpost.notification AS n ON n.id = o.id
		JOIN signpost.tenant AS t ON t.no = n.tenant ORDER BY o.was, o.id`

// Claim leases notifications that are due.
func (s *Store) Claim(ctx context.Context, r storage.ClaimRequest) (claims []storage.Claim, err error) {
	if r.Limit <= 0 || !r.Channel.Known() {
		return nil, s.read(ctx, "claiming notifications", func(context.Context, conn) error { return nil })
	}
	now, until, due := lease(r.Now, r.Lease)
	err = s.call(ctx, "claiming notifications", func(ctx context.Context, c conn) error {
		claims, err = collect(func(c pgx.CollectableRow) (storage.Claim, error) {
			var r row
			var token int64
			if err := c.Scan(append(r.targets(), &token)...); err != nil {
				return storage.Claim{}, err
			}
			n, err := r.decode()
			return storage.Claim{Notification: n, Token: token, LeaseUntil: until}, err
		})(c.Query(ctx, claimDue, channelCode(r.Channel), now, r.Limit, due))
		return err
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// lease returns when a lease begins and ends, and when what is leased becomes
// due again: not by the same call, however short the lease.
func lease(from time.Time, length time.Duration) (now int64, until time.Time, due int64) {
	now, until = asMicro(storage.Micro(from)), storage.Micro(from.Add(length))
	return now, until, max(asMicro(until), now+1)
}

// NextDue returns when the next queued notification becomes due.
func (s *Store) NextDue(ctx context.Context, channel storage.Channel) (time.Time, error) {
	var due int64
	err := s.read(ctx, "reading the queue", func(ctx context.Context, c conn) error {
		return c.QueryRow(ctx, `SELECT coalesce((SELECT due FROM signpost.outbox WHERE phase = $1 ORDER BY due LIMIT 1), 0)`,
			channelCode(channel)).Scan(&due)
	})
	return fromMicro(due), err
}

// Stats describes the queue.
func (s *Store) Stats(ctx context.Context) (st storage.Stats, err error) {
	var oldest int64
	err = s.read(ctx, "reading the queue", func(ctx context.Context, c conn) error {
		return c.QueryRow(ctx, `WITH sums AS (SELECT tenant, kind, sum(n) AS n FROM signpost.total GROUP BY tenant, kind)
			SELECT coalesce(sum(n) FILTER (WHERE kind & 7 = 0), 0)::bigint, coalesce(sum(n) FILTER (WHERE kind & 7 = 1), 0)::bigint,
				coalesce(sum(n) FILTER (WHERE kind & 7 = 5), 0)::bigint, (SELECT count(*) FROM signpost.callback),
				coalesce((SELECT min(n.created_at) FROM sums AS q CROSS JOIN (VALUES (false), (true)) AS s (special)
					CROSS JOIN LATERAL (SELECT o.id FROM signpost.outbox AS o
						WHERE o.tenant = q.tenant AND o.kind = q.kind AND o.special = s.special ORDER BY o.id LIMIT 1) AS first
					JOIN signpost.notification AS n ON n.id = first.id WHERE q.kind & 7 = 0 AND q.n > 0), 0)
			FROM sums`).Scan(&st.Queued, &st.Outstanding, &st.DeadLettered, &st.Callbacks, &oldest)
	})
	st.Oldest = fromMicro(oldest)
	return st, err
}
