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
	p.Total = q.Counted(total)
	if q.Limit == 0 || len(kinds) == 0 || q.Offset >= total {
		return p, nil
	}
	if q.Reference != "" {
		p.Notifications, err = byReference(ctx, c, tenant, kinds, q)
		return p, err
	}
	s := slice{tenant: tenant, kinds: kinds, keyTypes: knownTypes(q), before: q.Before, skip: q.Offset, take: int64(q.Limit)}
	if q.Before == 0 && s.keyTypes == nil && q.Offset > total/2 {
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
// notifications of them, of whatever key type.
func kindsOf(ctx context.Context, c conn, q *storage.Query) (tenant int32, kinds []int16, total int64, err error) {
	if len(q.KeyTypes) > 0 && len(knownTypes(q)) == 0 {
		return 0, nil, 0, nil
	}
	rows, err := c.Query(ctx, `SELECT abs(tenant), kind, sum(n)::bigint FROM signpost.total
		WHERE tenant IN ((SELECT no FROM signpost.tenant WHERE id = $1), (SELECT -no FROM signpost.tenant WHERE id = $1))
		GROUP BY 1, 2 HAVING sum(n) > 0 ORDER BY 2`, asText(q.ServiceID))
	if err != nil {
		return 0, nil, 0, err
	}
	parted := map[int16]bool{} // kinds of which only the sending ones are selected (true), or only the pending ones
	sums := map[int16]int64{}
	all := storage.Query{Channels: q.Channels, Statuses: q.Statuses}
	var kind int16
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&tenant, &kind, &n}, func() error {
		channel, status, err := unkind(kind)
		if err != nil {
			return err
		}
		sums[kind] = n
		selected := all.Selects(channel, status, "")
		if selected {
			kinds = append(kinds, kind)
		}
		if status == storage.StatusSending {
			pending := all.Selects(channel, storage.StatusPending, "")
			if pending {
				kinds = append(kinds, kind+pendingSending)
			}
			if pending != selected { // the total is that of both
				parted[kind] = selected
			}
			selected = selected || pending
		}
		if selected {
			total += n
		}
		return nil
	})
	if err != nil || len(parted) == 0 {
		return tenant, kinds, total, err
	}
	for kind, sending := range parted {
		var pending int64
		if err := c.QueryRow(ctx, `SELECT count(*) FROM signpost.outbox AS o WHERE tenant = $1 AND `+flying(kind+pendingSending, false), tenant).
			Scan(&pending); err != nil {
			return 0, nil, 0, err
		}
		if sending {
			total -= pending
		} else {
			total -= sums[kind] - pending
		}
	}
	return tenant, kinds, total, nil
}

// knownTypes returns the key types that a query asks for, nil for all.
func knownTypes(q *storage.Query) (types []storage.KeyType) {
	for _, t := range q.KeyTypes {
		if t.Known() && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

// slice is a run of a tenant's notifications of some kinds.
type slice struct {
	tenant      int32
	kinds       []int16
	keyTypes    []storage.KeyType // nil for all
	before      int64             // ids below; 0 for all
	skip, take  int64
	oldestFirst bool
}

// read merges the lists of the kinds, each of which an index has in order, so
// that skipping a row costs a step in an index alone. The texts are those of the
// choices of kinds and key types in two orders, of which an installation uses a
// few.
func (s *slice) read(ctx context.Context, c conn) ([]storage.Notification, error) {
	order := "DESC"
	if s.oldestFirst {
		order = "ASC"
	}
	var parts []string
	for _, k := range s.kinds {
		switch {
		case !inFlight(k):
			parts = append(parts, s.final(k)...)
		case k%perChannel == codePending && slices.Contains(s.kinds, k-pendingSending): // both
		default:
			parts = append(parts, s.flying(flying(k, slices.Contains(s.kinds, k+pendingSending)))...)
		}
	}
	for i, part := range parts {
		// Each with an end of its own, without which the planner sorts them all.
		parts[i] = "(" + part + " ORDER BY id " + order + " LIMIT $3::bigint + $4::bigint)"
	}
	return collect(decode)(c.Query(ctx, `SELECT `+columns+` FROM (SELECT id FROM (`+strings.Join(parts, " UNION ALL ")+
		`) AS u ORDER BY id `+order+` LIMIT $3::bigint OFFSET $4::bigint) AS p JOIN signpost.notification AS n ON n.id = p.id`+joined+
		`ORDER BY n.id `+order, s.tenant, below(s.before), s.take, s.skip))
}

// final returns the lists of those that have ended.
func (s *slice) final(kind int16) []string {
	list := fmt.Sprintf("SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = %d AND id < $2", kind)
	if s.keyTypes == nil {
		return []string{list}
	}
	parts := make([]string, 0, len(s.keyTypes))
	for _, t := range s.keyTypes {
		parts = append(parts, list+fmt.Sprintf(" AND key_type = '%s'", t))
	}
	return parts
}

// flying returns the lists of those in flight. Special ones are looked for by
// their key type. OFFSET 0 keeps the planner from anything but one look-up for
// each.
func (s *slice) flying(condition string) []string {
	if s.keyTypes == nil {
		list := "SELECT id FROM signpost.outbox AS o WHERE tenant = $1 AND " + condition + " AND id < $2 AND "
		return []string{list + "NOT special", list + "special"}
	}
	parts := make([]string, 0, len(s.keyTypes))
	for _, t := range s.keyTypes {
		ofType := "n.kind = 0 AND n.key_type = '" + string(t) + "'"
		if t == storage.KeyNormal { // or one that an older node has created
			parts = append(parts, "SELECT o.id FROM signpost.outbox AS o CROSS JOIN LATERAL (SELECT FROM signpost.notification AS n "+
				"WHERE n.id = o.id AND "+ofType+" OFFSET 0) AS n WHERE o.tenant = $1 AND "+condition+" AND o.id < $2 AND NOT o.special")
			continue
		}
		parts = append(parts, "SELECT n.id FROM signpost.notification AS n CROSS JOIN LATERAL (SELECT FROM signpost.outbox AS o "+
			"WHERE o.id = n.id AND "+condition+" OFFSET 0) AS o WHERE n.tenant = $1 AND "+ofType+" AND n.id < $2")
	}
	return parts
}

// flying is the condition of the rows of outbox AS o that are of a kind. Those
// of the kind of sending ones are pending ones too when both are wanted.
func flying(kind int16, both bool) string {
	as, pending := stored(kind)
	text := fmt.Sprintf("o.kind = %d", as)
	switch {
	case pending:
		text += " AND o.pending"
	case kind%perChannel == codeSending && !both:
		text += " AND NOT o.pending"
	}
	return text
}

func below(before int64) int64 {
	if before == 0 {
		return math.MaxInt64
	}
	return before
}

func byReference(ctx context.Context, c conn, tenant int32, kinds []int16, q *storage.Query) ([]storage.Notification, error) {
	return collect(decode)(c.Query(ctx, `SELECT `+columns+fromNotification+`WHERE n.tenant = $1 AND left(n.reference, 128) = left($2, 128)
		AND n.reference = $2 AND n.reference <> '' AND n.id < $3 AND coalesce(`+flyingKind+`, n.kind) = ANY ($4::smallint[])
		AND ($7::text[] IS NULL OR n.key_type = ANY ($7)) ORDER BY n.id DESC LIMIT $5 OFFSET $6`,
		tenant, asText(q.Reference), below(q.Before), kinds, q.Limit, q.Offset, knownTypes(q)))
}
