package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// callbacks are new rows of callback, by column.
type callbacks struct {
	notifications, due []int64
	tenants            []int32
}

func (c *callbacks) add(r *record) {
	c.notifications, c.due = append(c.notifications, r.n.ID), append(c.due, asMicro(r.n.UpdatedAt))
	tenant := r.tenant
	if r.n.Status == storage.StatusSent {
		tenant = -tenant // see the schema
	}
	c.tenants = append(c.tenants, tenant)
}

func (c *callbacks) queue(b *pgx.Batch) {
	if len(c.notifications) > 0 {
		b.Queue(`INSERT INTO signpost.callback (due, notification, created_at, tenant)
			SELECT u.due, u.notification, u.due, u.tenant FROM unnest($1::bigint[], $2::bigint[], $3::int[]) AS u (notification, due, tenant)
			ON CONFLICT (notification) DO NOTHING`, c.notifications, c.due, c.tenants)
	}
}

const claimCallbacks = `WITH
	ready AS MATERIALIZED (
		SELECT id, due FROM (
			SELECT * FROM (SELECT id, due FROM signpost.callback WHERE tenant = (SELECT no FROM signpost.tenant WHERE id = $1) AND due <= $2
				ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS others
			UNION ALL
			SELECT * FROM (SELECT id, due FROM signpost.callback WHERE tenant = (SELECT -no FROM signpost.tenant WHERE id = $1) AND due <= $2
				ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS sent
		) AS found ORDER BY due, id LIMIT $3
	),
	taken AS (
		UPDATE signpost.callback AS c SET token = nextval('signpost.lease_token'), leased = true, attempts = c.attempts + 1, due = $4
		FROM ready WHERE c.id = ready.id RETURNING c.*, ready.due AS was
	)
	SELECT ` + columns + `, c.id, c.attempts, c.created_at, c.token FROM taken AS c JOIN signpost.notification AS n ON n.id = c.notification` +
	joined + `ORDER BY c.was, c.id`

// ClaimCallbacks leases callbacks of one service that are due.
func (s *Store) ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) (claims []storage.CallbackClaim, err error) {
	const doing = "claiming callbacks"
	if r.Limit <= 0 {
		return nil, s.read(ctx, doing, func(context.Context, conn) error { return nil })
	}
	now, until, due := lease(r.Now, r.Lease)
	err = s.call(ctx, doing, func(ctx context.Context, c conn) error {
		claims, err = collect(func(c pgx.CollectableRow) (storage.CallbackClaim, error) {
			var r row
			var created int64
			claim := storage.CallbackClaim{LeaseUntil: until}
			err := c.Scan(append(r.targets(), &claim.ID, &claim.Attempts, &created, &claim.Token)...)
			if err == nil {
				claim.CreatedAt = fromMicro(created)
				claim.Notification, err = r.decode()
			}
			return claim, err
		})(c.Query(ctx, claimCallbacks, asText(r.ServiceID), now, r.Limit, due))
		return err
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// CompleteCallback ends a lease that is still held.
func (s *Store) CompleteCallback(ctx context.Context, claim storage.CallbackClaim, next time.Time) error {
	text, args := `DELETE FROM signpost.callback WHERE id = $1 AND token = $2 AND leased`, []any{claim.ID, claim.Token}
	if !next.IsZero() {
		text = `UPDATE signpost.callback SET leased = false, due = $3 WHERE id = $1 AND token = $2 AND leased`
		args = append(args, asMicro(next))
	}
	return s.call(ctx, "recording a callback", func(ctx context.Context, c conn) error {
		return unless(storage.ErrLeaseLost)(c.Exec(ctx, text, args...))
	})
}

// NextCallbacks returns when each service's next callback becomes due.
func (s *Store) NextCallbacks(ctx context.Context, services []string) (next map[string]time.Time, err error) {
	ids := make([]string, len(services))
	for i, id := range services {
		ids[i] = asText(id)
	}
	err = s.read(ctx, "reading the callbacks", func(ctx context.Context, c conn) error {
		next = map[string]time.Time{}
		rows, err := c.Query(ctx, `SELECT t.id, first.due FROM signpost.tenant AS t CROSS JOIN LATERAL
			(SELECT least(
				(SELECT min(c.due) FROM signpost.callback AS c WHERE c.tenant = t.no),
				(SELECT min(c.due) FROM signpost.callback AS c WHERE c.tenant = -t.no)) AS due) AS first
			WHERE first.due IS NOT NULL AND t.id = ANY ($1::text[])`, ids)
		if err != nil {
			return err
		}
		var id string
		var due int64
		_, err = pgx.ForEachRow(rows, []any{&id, &due}, func() error {
			next[fromText(id)] = fromMicro(due)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return next, nil
}
