package copy

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
)

func (s *postgresSide) flying(ctx context.Context) ([]int64, error) {
	rows, err := s.tx.Query(ctx, `SELECT id FROM signpost.outbox UNION SELECT id FROM signpost.notification WHERE kind IN (13, 21)`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (s *postgresSide) remove(ctx context.Context, t *table, d *delta) error {
	text, args := "DELETE FROM signpost."+t.name+" AS n", []any(nil)
	if d != nil {
		text, args = text+postgresDeltas[t.name], postgresArgs(d)
	}
	if err := s.exec(ctx, text, args...); err != nil {
		return err
	}
	if t.name == "notification" { // all that are in outbox are removed
		return s.exec(ctx, "DELETE FROM signpost.outbox")
	}
	return nil
}

// postgresOnly are columns without which a node does as well.
var postgresOnly = map[string]struct {
	columns []string
	values  []any
}{
	"replay":  {[]string{"seen_at"}, []any{int64(0)}},
	"counter": {[]string{"most"}, []any{int64(0)}},
}

var (
	outboxColumns = []string{
		"id", "due", "sent_at", "updated_at", "tenant", "attempts", "phase", "reason", "provider_reference", "sender", "kind", "pending",
		"special",
	}
	// outboxPlaces are where a notification has those up to sender.
	outboxPlaces = []int{0, notificationDue, 16, 18, 5, 15, notificationPhase, 19, 20, 21}
	// atTheEnd are the columns of a notification that are set at its end.
	atTheEnd = map[int]any{
		notificationKind: int64(0), 15: int64(0), 16: int64(0), 17: int64(0), 18: int64(0), 19: "", 20: "", 21: "",
	}
)

func (s *postgresSide) insert(ctx context.Context, t *table, rows [][]any, replace bool) error {
	if replace {
		if err := s.makeRoom(ctx, t, rows); err != nil {
			return err
		}
	}
	more := postgresOnly[t.name]
	columns := append(slices.Clone(t.columns), more.columns...)
	var outbox [][]any
	for i, row := range rows {
		for j, v := range row {
			if text, ok := v.(string); ok {
				row[j] = postgres.EncodeText(text)
			}
		}
		switch t.name {
		case "notification":
			columns = t.columns[:notificationPhase]
			var flying []any
			if rows[i], flying = split(row); flying != nil {
				outbox = append(outbox, flying)
			}
		case "inbound":
			row[0] = asUUID(row[0])
		case "signing_request":
			row[5] = row[5] == int64(1) // SQLite has no booleans
			if b, ok := row[4].([]byte); !ok || b == nil {
				row[4] = []byte{} // SQLite's driver makes nil of an empty one
			}
		}
		rows[i] = append(rows[i], more.values...)
	}
	if err := s.copyFrom(ctx, t.name, columns, rows); err != nil {
		return err
	}
	return s.copyFrom(ctx, "outbox", outboxColumns, outbox)
}

// split makes the rows of notification and, unless it is final, of outbox.
func split(row []any) (stored, flying []any) {
	stored = row[:notificationPhase:notificationPhase]
	if row[notificationPhase] != phaseFinal {
		flying = make([]any, 0, len(outboxColumns))
		for _, p := range outboxPlaces {
			flying = append(flying, row[p])
		}
		code, _ := row[notificationKind].(int64)
		kind, pending := storedKind(code)
		flying = append(flying, kind, pending, row[notificationType] != string(storage.KeyNormal))
		for i, v := range atTheEnd {
			stored[i] = v
		}
	}
	stored[notificationUUID] = asUUID(stored[notificationUUID])
	if stored[notificationJob] == stored[notificationID] {
		stored[notificationJob] = nil
	}
	return stored, flying
}

// storedKind returns the kind under which one in flight is stored and counted.
func storedKind(kind int64) (as int64, pending bool) {
	if kind%perChannel == codePending {
		return kind - pendingSending, true
	}
	return kind, false
}

func asUUID(v any) any {
	if b, ok := v.([]byte); ok && len(b) == 16 {
		return [16]byte(b)
	}
	return v
}

func (s *postgresSide) copyFrom(ctx context.Context, name string, columns []string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	_, err := s.tx.CopyFrom(ctx, pgx.Identifier{"signpost", name}, columns, pgx.CopyFromRows(rows))
	return err
}

// makeRoom removes what has the keys of rows.
func (s *postgresSide) makeRoom(ctx context.Context, t *table, rows [][]any) error {
	ids, tenants, keys := make([]int64, len(rows)), make([]int64, len(rows)), make([][]byte, len(rows))
	for i, row := range rows {
		ids[i], _ = row[0].(int64)
		if t.name == "idempotency" {
			tenants[i], _ = row[1].(int64)
			keys[i], _ = row[2].([]byte)
		}
	}
	switch t.name {
	case "notification":
		if err := s.exec(ctx, "DELETE FROM signpost.outbox WHERE id = ANY ($1)", ids); err != nil {
			return err
		}
		return s.exec(ctx, "DELETE FROM signpost.notification WHERE id = ANY ($1)", ids)
	case "idempotency":
		return s.exec(ctx, `DELETE FROM signpost.idempotency AS i USING unnest($1::bigint[], $2::bytea[]) AS u (tenant, key)
			WHERE i.tenant = u.tenant AND i.key = u.key`, tenants, keys)
	}
	return nil
}

func (s *postgresSide) finish(ctx context.Context, n numbers, all sums) error {
	totals := sums{}
	for k, c := range all {
		if k.kind%perChannel == codeSent {
			k.tenant = -k.tenant // see the schema
		}
		k.kind, _ = storedKind(k.kind)
		totals[k] += c
	}
	tenants, kinds, counts := make([]int64, 0, len(totals)), make([]int64, 0, len(totals)), make([]int64, 0, len(totals))
	for k, c := range totals {
		tenants, kinds, counts = append(tenants, k.tenant), append(kinds, k.kind), append(counts, c)
	}
	if err := s.exec(ctx, `UPDATE signpost.callback AS c SET tenant = -c.tenant FROM signpost.notification AS n
		WHERE n.id = c.notification AND n.kind & 7 = 6`); err != nil {
		return err
	}
	if err := s.exec(ctx, "DELETE FROM signpost.total"); err != nil {
		return err
	}
	if err := s.exec(ctx, `INSERT INTO signpost.total (tenant, kind, shard, n)
		SELECT tenant, kind, 0, n FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS u (tenant, kind, n)`, tenants, kinds, counts); err != nil {
		return err
	}
	if err := s.exec(ctx, "DELETE FROM signpost.meta WHERE name = 'ping'"); err != nil {
		return err
	}
	// The last argument says whether the value was given already.
	if err := s.exec(ctx, `SELECT setval('signpost.notification_id', greatest($1::bigint, 1), $1 > 0)`, n.notification); err != nil {
		return err
	}
	for _, c := range []struct {
		table, column string
		least         int64
	}{{"service", "no", 0}, {"api_key", "no", 0}, {"tenant", "no", 0}, {"signing_client", "no", 0}, {"callback", "id", n.callback}} {
		name := "signpost." + c.table
		if err := s.exec(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence($1, $2), greatest(m, 1), m > 0)
			FROM (SELECT greatest(coalesce(max(%s), 0), $3::bigint) AS m FROM %s) AS m`, c.column, name), name, c.column, c.least); err != nil {
			return err
		}
	}
	return nil
}

// postgresUsed is text that a node changes which does anything at all.
var postgresUsed = []string{
	`SELECT coalesce(string_agg(tenant || ':' || kind || ':' || n, ',' ORDER BY tenant, kind), '')
		FROM (SELECT tenant, kind, sum(n) AS n FROM signpost.total GROUP BY 1, 2) AS t`,
	`SELECT count(*) || ':' || coalesce(sum(revoked_at), 0) FROM signpost.api_key`,
	`SELECT count(*) || ':' || coalesce(sum(value), 0) FROM signpost.counter`,
	`SELECT count(*) || ':' || coalesce(sum(token), 0) FROM signpost.callback`,
	`SELECT (SELECT count(*) FROM signpost.service) || ':' || (SELECT count(*) || ':' || coalesce(sum(archived_at), 0) FROM signpost.template) ||
		':' || (SELECT count(*) FROM signpost.tenant) || ':' || (SELECT count(*) FROM signpost.replay) || ':' ||
		(SELECT count(*) FROM signpost.signing_client) || ':' || (SELECT count(*) FROM signpost.inbound)`,
	`SELECT coalesce(md5(string_agg(settings, ','::bytea ORDER BY no)), '') FROM signpost.service`,
	`SELECT coalesce(string_agg(status || ':' || n, ',' ORDER BY status), '')
		FROM (SELECT status, count(*) AS n FROM signpost.signing_request GROUP BY 1) AS s`,
	`SELECT count(*) || ':' || coalesce(max(due), 0) || ':' || coalesce(sum(token), 0) FROM signpost.outbox`,
	`SELECT count(*)::text FROM signpost.meta WHERE name = 'ping'`,
}

func (s *postgresSide) used(ctx context.Context) (string, error) {
	return usedBy(postgresUsed, func(text string) (v string, err error) {
		err = s.tx.QueryRow(ctx, text).Scan(&v)
		return v, err
	})
}
