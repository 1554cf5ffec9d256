package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Notifications returns a page of a service's notifications, newest first.
func (s *Store) Notifications(ctx context.Context, q storage.Query) (storage.Page, error) {
	q = q.Normalised()
	var p storage.Page
	err := s.read(ctx, "listing notifications", func(c *conn) (err error) {
		// One transaction, so that the totals are those of the rows.
		if _, err := c.exec(ctx, "BEGIN"); err != nil {
			return err
		}
		defer func() {
			if _, e := c.exec(context.WithoutCancel(ctx), "ROLLBACK"); err == nil {
				err = e
			}
		}()
		p, err = c.page(ctx, q)
		return err
	})
	return p, err
}

func (c *conn) page(ctx context.Context, q storage.Query) (p storage.Page, err error) {
	tenant, known, err := c.one(ctx, `SELECT no FROM tenant WHERE id = ?`, q.ServiceID)
	if err != nil {
		return p, err
	}
	var kinds []int64
	if known {
		if kinds, p.Total, err = c.kinds(ctx, tenant, &q); err != nil {
			return p, err
		}
	}
	total := p.Total
	p.Total = q.Counted(total)
	if q.Limit == 0 || len(kinds) == 0 || q.Offset >= total {
		return p, nil
	}
	if q.Reference != "" {
		p.Notifications, err = c.byReference(ctx, tenant, kinds, &q)
		return p, err
	}
	s := slice{tenant: tenant, kinds: kinds, before: q.Before, skip: q.Offset, take: int64(q.Limit)}
	if q.Before == 0 && q.Offset > total/2 {
		// From the other end, where there is less to skip.
		s.oldestFirst = true
		s.take = min(s.take, total-q.Offset)
		s.skip = total - q.Offset - s.take
	}
	p.Notifications, err = c.slice(ctx, &s)
	if s.oldestFirst {
		slices.Reverse(p.Notifications)
	}
	return p, err
}

// kinds returns which of the selected kinds the tenant has, and how many rows.
func (c *conn) kinds(ctx context.Context, tenant int64, q *storage.Query) (kinds []int64, total int64, err error) {
	err = c.query(ctx, func(row []driver.Value) error {
		var n storage.Notification
		err := unkind(asInt(row[0]), &n)
		if err == nil && q.Selects(n.Channel, n.Status, n.KeyType) {
			kinds = append(kinds, asInt(row[0]))
			total += asInt(row[1])
		}
		return err
	}, `SELECT kind, n FROM total WHERE tenant = ? AND n > 0`, tenant)
	return kinds, total, err
}

// slice is a run of a tenant's notifications of some kinds.
type slice struct {
	tenant      int64
	kinds       []int64
	before      int64 // ids below; 0 for all
	skip, take  int64
	oldestFirst bool
}

// slice merges the lists of the kinds, each of which the index has in order,
// so that skipping a row costs a step in the index alone.
func (c *conn) slice(ctx context.Context, s *slice) ([]storage.Notification, error) {
	order := "DESC"
	if s.oldestFirst {
		order = "ASC"
	}
	parts := make([]string, len(s.kinds))
	args := append(make([]any, 0, 4+len(s.kinds)), s.tenant, s.take, s.skip, s.limit())
	for i, k := range s.kinds {
		args = append(args, k)
		parts[i] = fmt.Sprintf("SELECT id FROM notification WHERE tenant = ?1 AND kind = ?%d AND id < ?4", len(args))
	}
	return c.notifications(ctx, `SELECT `+columns+` FROM (`+strings.Join(parts, " UNION ALL ")+
		` ORDER BY id `+order+` LIMIT ?2 OFFSET ?3) AS p CROSS JOIN notification AS n ON n.id = p.id
		JOIN tenant AS t ON t.no = n.tenant ORDER BY n.id `+order, args...)
}

func (s *slice) limit() int64 {
	if s.before == 0 {
		return math.MaxInt64
	}
	return s.before
}

func (c *conn) byReference(ctx context.Context, tenant int64, kinds []int64, q *storage.Query) ([]storage.Notification, error) {
	list, err := json.Marshal(kinds)
	if err != nil {
		return nil, err
	}
	return c.notifications(ctx, `SELECT `+columns+fromNotification+`WHERE n.tenant = ? AND n.reference = ? AND n.reference <> ''
		AND n.id < ? AND n.kind IN (SELECT value FROM json_each(?)) ORDER BY n.id DESC LIMIT ? OFFSET ?`,
		tenant, q.Reference, (&slice{before: q.Before}).limit(), string(list), q.Limit, q.Offset)
}

func (c *conn) notifications(ctx context.Context, text string, args ...any) (out []storage.Notification, err error) {
	err = c.query(ctx, func(row []driver.Value) error {
		r, err := decode(row)
		out = append(out, r.n)
		return err
	}, text, args...)
	return out, err
}
