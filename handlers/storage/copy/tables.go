package copy

import (
	"context"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// table is how one is copied. name is that in PostgreSQL, from what is read of
// in SQLite, and read the expressions for the columns of write. The codes of
// kinds and phases are the same in both schemas.
type table struct {
	name, from, read string
	write            []string
	change           func(r *run, values []any) error
}

// Token buckets aren't copied: SQLite keeps none, and they are full again.
var tables = []table{
	{
		name: "service", from: "service", read: "no, id, name, created_at",
		write: []string{"no", "id", "name", "created_at"},
	},
	{
		name: "api_key", from: "api_key", read: "no, service_id, name, type, secret, created_at, revoked_at",
		write:  []string{"no", "service_id", "name", "type", "secret", "created_at", "revoked_at"},
		change: reseal,
	},
	{
		name: "template", from: "template", read: "service_id, id, version, channel, name, subject, body, created_at",
		write: []string{"service_id", "id", "version", "channel", "name", "subject", "body", "created_at"},
	},
	{
		name: "tenant", from: "tenant", read: "no, id",
		write: []string{"no", "id"},
	},
	{
		// What changes of a notification in flight is in outbox.
		name: "notification", from: "notification",
		read: `id, uuid, created_at, expires_at, nullif(nullif(job, id), 0), tenant, template_version, key_name, key_type, recipient,
			template_id, reference, subject, body, iif(kind & 7 < 2, 0, kind), iif(kind & 7 < 2, 0, attempts),
			iif(kind & 7 < 2, 0, sent_at), iif(kind & 7 < 2, 0, completed_at), iif(kind & 7 < 2, 0, updated_at),
			iif(kind & 7 < 2, '', reason), iif(kind & 7 < 2, '', provider_reference), iif(kind & 7 < 2, '', sender)`,
		write: []string{
			"id", "uuid", "created_at", "expires_at", "job", "tenant", "template_version", "key_name", "key_type", "recipient",
			"template_id", "reference", "subject", "body", "kind", "attempts",
			"sent_at", "completed_at", "updated_at", "reason", "provider_reference", "sender",
		},
		change: func(_ *run, values []any) error {
			b, ok := values[1].([]byte)
			if !ok || len(b) != 16 {
				return fmt.Errorf("the notification %v has no UUID", values[0])
			}
			values[1] = [16]byte(b)
			return nil
		},
	},
	{
		name: "outbox", from: "notification WHERE kind & 7 < 2",
		read:  "id, due, sent_at, updated_at, tenant, attempts, kind, phase, reason, provider_reference, sender",
		write: []string{"id", "due", "sent_at", "updated_at", "tenant", "attempts", "kind", "phase", "reason", "provider_reference", "sender"},
	},
	{
		name: "callback", from: "callback", read: "id, notification, due, created_at, tenant, attempts",
		write: []string{"id", "notification", "due", "created_at", "tenant", "attempts"},
	},
	{
		name: "idempotency", from: "idempotency", read: "tenant, key, id, expires_at, body_hash",
		write: []string{"tenant", "key", "id", "expires_at", "body_hash"},
	},
	{
		// SQLite only appends: of a key that came again after it had expired, the
		// newest row counts.
		name: "replay", from: "(SELECT service_id, key, max(expires_at) AS expires_at FROM replay GROUP BY service_id, key)",
		read:  "service_id, key, 0, expires_at",
		write: []string{"service_id", "key", "seen_at", "expires_at"},
	},
	{
		name: "counter", from: "counter", read: "key, value, 0, expires_at",
		write: []string{"key", "value", "most", "expires_at"},
	},
	{
		name: "signing_client", from: "signing_client", read: "no, id, name, keys, callback, created_at",
		write: []string{"no", "id", "name", "keys", "callback", "created_at"},
	},
	{
		name: "signing_request", from: "signing_request AS r LEFT JOIN signing_jwt AS j ON j.no = r.no",
		read: `r.token, r.client, r.bearer, r.replay, r.state, r.has_state = 1, r.status, r.binding, r.created_at,
			r.deadline, r.expires_at, j.jwt, r.response`,
		write: []string{
			"token", "client", "bearer", "replay", "state", "has_state", "status", "binding", "created_at",
			"deadline", "expires_at", "jwt", "response",
		},
		change: func(_ *run, values []any) error {
			values[5] = values[5] == int64(1) // SQLite has no booleans
			if b, ok := values[4].([]byte); !ok || b == nil {
				values[4] = []byte{} // the driver makes nil of an empty one
			}
			return nil
		},
	},
}

func reseal(r *run, values []any) (err error) {
	k := storage.APIKey{}
	var ok [3]bool
	k.ServiceID, ok[0] = values[1].(string)
	k.Name, ok[1] = values[2].(string)
	k.Secret, ok[2] = values[4].([]byte)
	if ok != [3]bool{true, true, true} {
		return fmt.Errorf("the API key %v is damaged", values[0])
	}
	if values[4], err = r.cfg.Reseal(k, r.from, r.to); err != nil {
		return fmt.Errorf("the API key %q of service %s: %w", k.Name, k.ServiceID, err)
	}
	return nil
}

// finish sets what follows from the rows: the sums, which are compared with
// those of the source, and the numbers that are given next.
func (r *run) finish(ctx context.Context) error {
	if _, err := r.target.Exec(ctx, `INSERT INTO signpost.total (tenant, kind, shard, n)
		SELECT n.tenant, coalesce(o.kind, n.kind), 0, count(*) FROM signpost.notification AS n
		LEFT JOIN signpost.outbox AS o ON o.id = n.id GROUP BY 1, 2`); err != nil {
		return fmt.Errorf("summing up: %w", err)
	}
	if err := r.compareTotals(ctx); err != nil {
		return err
	}
	var last int64
	if err := r.source.QueryRowContext(ctx, `SELECT max(coalesce((SELECT max(id) FROM notification), 0),
		coalesce((SELECT cast(value AS INTEGER) FROM meta WHERE name = 'last_id'), 0))`).Scan(&last); err != nil {
		return err
	}
	var lastCallback int64
	if err := r.source.QueryRowContext(ctx, `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'callback'), 0)`).Scan(&lastCallback); err != nil {
		return err
	}
	// The last argument says whether the value was given already.
	const next = `SELECT setval($1, greatest($2, 1), $2 > 0)`
	if _, err := r.target.Exec(ctx, next, "signpost.notification_id", last); err != nil {
		return err
	}
	for _, c := range []struct {
		table, column string
		least         int64
	}{{"service", "no", 0}, {"api_key", "no", 0}, {"tenant", "no", 0}, {"signing_client", "no", 0}, {"callback", "id", lastCallback}} {
		name := "signpost." + c.table
		if _, err := r.target.Exec(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence($1, $2), greatest(m, 1), m > 0)
			FROM (SELECT greatest(coalesce(max(%s), 0), $3::bigint) AS m FROM %s) AS m`, c.column, name), name, c.column, c.least); err != nil {
			return err
		}
	}
	return nil
}

// compareTotals compares the numbers of notifications by service and status
// with those that the source has kept while it was in use.
func (r *run) compareTotals(ctx context.Context) error {
	type key struct{ tenant, kind int64 }
	have := make(map[key]int64)
	rows, err := r.target.Query(ctx, "SELECT tenant::bigint, kind::bigint, n FROM signpost.total")
	if err != nil {
		return err
	}
	for rows.Next() {
		var k key
		var n int64
		if err := rows.Scan(&k.tenant, &k.kind, &n); err != nil {
			return err
		}
		have[k] = n
	}
	if err := rows.Err(); err != nil {
		return err
	}
	wanted, err := r.source.QueryContext(ctx, "SELECT tenant, kind, n FROM total WHERE n > 0")
	if err != nil {
		return err
	}
	defer func() { _ = wanted.Close() }() //nolint:errcheck // its errors are those of Err
	for wanted.Next() {
		var k key
		var n int64
		if err := wanted.Scan(&k.tenant, &k.kind, &n); err != nil {
			return err
		}
		if have[k] != n {
			return fmt.Errorf("the copy has %d notifications of service number %d in state %d, and the source %d", have[k], k.tenant, k.kind, n)
		}
		delete(have, k)
	}
	if len(have) > 0 {
		return fmt.Errorf("the copy has notifications in %d states that the source doesn't know", len(have))
	}
	return wanted.Err()
}
