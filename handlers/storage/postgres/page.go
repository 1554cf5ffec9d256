package postgres

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Notifications returns a page of a service's notifications, newest first.
func (s *Store) Notifications(ctx context.Context, q storage.Query) (p storage.Page, err error) {
	q = q.Normalised()
	err = s.read(ctx, "listing notifications", func(ctx context.Context, c conn) error {
		// One snapshot, so that the totals are those of the rows.
		return pgx.BeginTxFunc(ctx, c.(*pgxpool.Conn), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			p, err = page(ctx, tx, &q)
			return err
		})
	})
	if err != nil {
		return storage.Page{}, err
	}
	return p, nil
}

func page(ctx context.Context, c conn, q *storage.Query) (p storage.Page, err error) {
	tenant, kinds, total, err := kindsOf(ctx, c, q)
	if err != nil {
		return p, err
	}
	p.Total = total
	if q.Before != 0 || q.Reference != "" {
		p.Total = -1
	}
	if q.Limit == 0 || len(kinds) == 0 || q.Offset >= total {
		return p, nil
	}
	if q.Reference != "" {
		p.Notifications, err = byReference(ctx, c, tenant, kinds, q)
		return p, err
	}
	s := slice{tenant: tenant, kinds: kinds, before: q.Before, skip: q.Offset, take: int64(q.Limit)}
	if q.Before == 0 && q.Offset > total/2 {
		// From the other end, where there is less to skip.
		s.oldestFirst = true
		s.take = min(s.take, total-q.Offset)
		s.skip = total - q.Offset - s.take
	}
	p.Notifications, err = s.read(ctx, c)
	if s.oldestFirst {
		slices.Reverse(p.Notifications)
	}
	return p, err
}

// kindsOf returns which of the selected kinds the service has, and how many
// notifications of them.
func kindsOf(ctx context.Context, c conn, q *storage.Query) (tenant int32, kinds []int16, total int64, err error) {
	rows, err := c.Query(ctx, `SELECT tenant, kind, sum(n)::bigint FROM signpost.total
		WHERE tenant = (SELECT no FROM signpost.tenant WHERE id = $1) GROUP BY tenant, kind HAVING sum(n) > 0 ORDER BY kind`, asText(q.ServiceID))
	if err != nil {
		return 0, nil, 0, err
	}
	var kind int16
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&tenant, &kind, &n}, func() error {
		channel, status, err := unkind(kind)
		if err == nil && (len(q.Channels) == 0 || slices.Contains(q.Channels, channel)) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, status)) {
			kinds = append(kinds, kind)
			total += n
		}
		return err
	})
	return tenant, kinds, total, err
}

// slice is a run of a tenant's notifications of some kinds.
type slice struct {
	tenant      int32
	kinds       []int16
	before      int64 // ids below; 0 for all
	skip, take  int64
	oldestFirst bool
}

// read merges the lists of the kinds, each of which an index has in order, so
// that skipping a row costs a step in an index alone. The texts are those of the
// 4,095 choices of kinds in two orders, of which an installation uses a few.
func (s *slice) read(ctx context.Context, c conn) ([]storage.Notification, error) {
	order := "DESC"
	if s.oldestFirst {
		order = "ASC"
	}
	parts := make([]string, len(s.kinds))
	for i, k := range s.kinds {
		table := "notification"
		if k%perChannel < 2 {
			table = "outbox"
		}
		parts[i] = fmt.Sprintf("SELECT id FROM signpost.%s WHERE tenant = $1 AND kind = %d AND id < $2", table, k)
	}
	return collect(decode)(c.Query(ctx, `SELECT `+columns+` FROM (SELECT id FROM (`+strings.Join(parts, " UNION ALL ")+
		`) AS u ORDER BY id `+order+` LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id`+joined+
		`ORDER BY n.id `+order, s.tenant, below(s.before), s.take, s.skip))
}

func below(before int64) int64 {
	if before == 0 {
		return math.MaxInt64
	}
	return before
}

func byReference(ctx context.Context, c conn, tenant int32, kinds []int16, q *storage.Query) ([]storage.Notification, error) {
	return collect(decode)(c.Query(ctx, `SELECT `+columns+fromNotification+`WHERE n.tenant = $1 AND left(n.reference, 128) = left($2, 128)
		AND n.reference = $2 AND n.reference <> '' AND n.id < $3 AND coalesce(o.kind, n.kind) = ANY ($4::smallint[]) ORDER BY n.id DESC LIMIT $5 OFFSET $6`,
		tenant, asText(q.Reference), below(q.Before), kinds, q.Limit, q.Offset))
}
