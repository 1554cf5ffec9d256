package copy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
)

// postgresSide is a PostgreSQL database, in one transaction.
type postgresSide struct {
	a    *postgres.Attachment
	tx   pgx.Tx
	key  *storage.Sealer
	busy bool // nodes use it
}

// lockTimeout is how long the tables may be in use by others.
const lockTimeout = 10 * time.Second

// farewell bounds the end of a transaction, since the server may be gone.
const farewell = 2 * time.Second

// openPostgres begins the transaction. Locks, if any, are the mode in which all
// tables are locked.
func openPostgres(ctx context.Context, a *postgres.Attachment, key []byte, options pgx.TxOptions, locks string) (_ *postgresSide, err error) {
	s := &postgresSide{a: a}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := a.CheckKey(ctx, key); err != nil {
		return nil, err
	}
	if s.key, err = storage.NewSealer(key); err != nil {
		return nil, err
	}
	if s.tx, err = a.Conn.BeginTx(ctx, options); err != nil {
		return nil, err
	}
	if locks == "" {
		return s, nil
	}
	if _, err := s.tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTimeout.Milliseconds())); err != nil {
		return nil, err
	}
	names := []string{"signpost.outbox", "signpost.total"}
	for _, t := range tables {
		names = append(names, "signpost."+t.name)
	}
	if _, err := s.tx.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN "+locks+" MODE"); err != nil {
		return nil, fmt.Errorf("locking the tables: is a node, or another copy, busy with them?: %w", err)
	}
	return s, nil
}

func (s *postgresSide) close() error {
	if s.tx != nil {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = s.tx.Rollback(ctx) //nolint:errcheck // nothing after a commit, or what was only read
	}
	return s.a.Close()
}

func (s *postgresSide) live() bool              { return s.busy }
func (s *postgresSide) sealer() *storage.Sealer { return s.key }
func (s *postgresSide) hint() string            { return " with DROP SCHEMA signpost CASCADE" }

// commit isn't interrupted: nobody could say what has become of it.
func (s *postgresSide) commit(ctx context.Context) error {
	return s.tx.Commit(context.WithoutCancel(ctx))
}

// tidy gathers statistics, without which the next copy would be planned badly.
// A vacuum lets it count by an index alone.
func (s *postgresSide) tidy(ctx context.Context, thoroughly bool) {
	text := "ANALYZE "
	if thoroughly {
		text = "VACUUM (ANALYZE) "
	}
	for _, name := range []string{"notification", "outbox", "idempotency"} {
		_, _ = s.a.Conn.Exec(ctx, text+"signpost."+name) //nolint:errcheck // the copy is there without it
	}
}

func (s *postgresSide) meta(ctx context.Context, name string) (value []byte, err error) {
	err = s.tx.QueryRow(ctx, "SELECT value FROM signpost.meta WHERE name = $1", name).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

func (s *postgresSide) identity(ctx context.Context) (string, error) {
	proof, err := s.meta(ctx, "secrets_check")
	if err == nil && proof == nil {
		err = errors.New("the PostgreSQL database has never been opened by Signpost: start Caddy on it once")
	}
	return identityOf(proof), err
}

func (s *postgresSide) mark(ctx context.Context) (*mark, error) {
	text, err := s.meta(ctx, storage.CopyMark)
	return decodeMark(text, err)
}

func (s *postgresSide) setMark(ctx context.Context, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.exec(ctx, `INSERT INTO signpost.meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
		storage.CopyMark, text)
}

func (s *postgresSide) exec(ctx context.Context, text string, args ...any) error {
	_, err := s.tx.Exec(ctx, text, args...)
	return err
}

// flyingKind is the kind of a row of outbox AS o, where what is pending is
// sending with a mark.
const flyingKind = `(o.kind + CASE WHEN o.pending AND o.kind & 7 = 1 THEN 6 ELSE 0 END)`

// postgresReads are the tables' rows in the order of their columns.
var postgresReads = map[string]string{
	"service":  `SELECT no, id, name, created_at, settings FROM signpost.service AS n`,
	"api_key":  `SELECT no, service_id, name, type, secret, created_at, revoked_at FROM signpost.api_key AS n`,
	"template": `SELECT service_id, id, version, channel, name, subject, body, created_at, archived_at FROM signpost.template AS n`,
	"tenant":   `SELECT no, id FROM signpost.tenant AS n`,
	// What changes of a notification in flight is in outbox, which also has those
	// that are final and held by a worker.
	"notification": `SELECT n.id, uuid_send(n.uuid), n.created_at, n.expires_at, coalesce(n.job, n.id), n.tenant, n.template_version, n.key_name,
		n.key_type, n.recipient, n.template_id, n.reference, n.subject, n.body, CASE WHEN n.kind > 0 THEN n.kind ELSE ` + flyingKind + ` END,
		CASE WHEN n.kind > 0 THEN n.attempts ELSE o.attempts END, CASE WHEN n.kind > 0 THEN n.sent_at ELSE o.sent_at END, n.completed_at,
		CASE WHEN n.kind > 0 THEN n.updated_at ELSE o.updated_at END, CASE WHEN n.kind > 0 THEN n.reason ELSE o.reason END,
		CASE WHEN n.kind > 0 THEN n.provider_reference ELSE o.provider_reference END, CASE WHEN n.kind > 0 THEN n.sender ELSE o.sender END, n.details,
		CASE WHEN n.kind > 0 THEN 4 ELSE o.phase END, CASE WHEN n.kind > 0 THEN n.expires_at ELSE o.due END,
		CASE WHEN n.kind > 0 AND o.id IS NOT NULL THEN 1 ELSE 0 END
		FROM signpost.notification AS n LEFT JOIN signpost.outbox AS o ON o.id = n.id`,
	// What was sent is owed under the negative tenant.
	"callback": `SELECT id, notification, due, created_at, abs(tenant), attempts FROM signpost.callback AS n`,
	"inbound": `SELECT uuid_send(id), service_id, provider, reference, user_number, notify_number, content, created_at, expires_at
		FROM signpost.inbound AS n`,
	"idempotency":    `SELECT id, tenant, key, expires_at, body_hash FROM signpost.idempotency AS n`,
	"replay":         `SELECT service_id, key, expires_at FROM signpost.replay AS n`,
	"counter":        `SELECT key, value, expires_at FROM signpost.counter AS n`,
	"signing_client": `SELECT no, id, name, keys, callback, created_at FROM signpost.signing_client AS n`,
	"signing_request": `SELECT token, client, bearer, replay, state, has_state::int, status, binding, created_at, deadline, expires_at, jwt, response
		FROM signpost.signing_request AS n`,
}

// postgresDeltas are the conditions of a delta, with its after, expired and ids.
// Each part has an index, except for the numbers of notifications in
// idempotency, a narrow table.
var postgresDeltas = map[string]string{
	"notification": ` WHERE n.id IN (SELECT id FROM signpost.notification WHERE id > $1 UNION SELECT id FROM signpost.outbox
		UNION SELECT id FROM signpost.notification WHERE kind > 0 AND expires_at < $2
		UNION SELECT id FROM signpost.notification WHERE kind IN (13, 21) UNION SELECT unnest($3::bigint[]))`,
	"idempotency": ` WHERE (n.id > $1 OR n.expires_at < $2) AND $3::bigint[] IS NOT NULL`,
}

func (s *postgresSide) query(t *table, d *delta) (text string, args []any) {
	text = postgresReads[t.name]
	if d == nil {
		return text, nil
	}
	return text + postgresDeltas[t.name], postgresArgs(d)
}

func postgresArgs(d *delta) []any { return []any{d.after, d.expired, append([]int64{}, d.ids...)} }

func (s *postgresSide) count(ctx context.Context, t *table, d *delta) (n int64, err error) {
	text, args := s.query(t, d)
	if d == nil { // by an index, where there is one
		text = "SELECT FROM signpost." + t.name
	}
	err = s.tx.QueryRow(ctx, "SELECT count(*) FROM ("+text+") AS x", args...).Scan(&n)
	return n, err
}

func (s *postgresSide) read(ctx context.Context, t *table, d *delta, each func(row []any) error) error {
	text, args := s.query(t, d)
	rows, err := s.tx.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			return err
		}
		for i, v := range row {
			switch v := v.(type) {
			case int16:
				row[i] = int64(v)
			case int32:
				row[i] = int64(v)
			case string:
				row[i] = postgres.DecodeText(v)
			}
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *postgresSide) sums(ctx context.Context) (sums, error) {
	rows, err := s.tx.Query(ctx, `SELECT tenant, kind, count(*) FROM signpost.notification WHERE kind > 0 GROUP BY 1, 2
		UNION ALL SELECT o.tenant, `+flyingKind+`, count(*) FROM signpost.outbox AS o JOIN signpost.notification AS n ON n.id = o.id
		WHERE n.kind = 0 GROUP BY 1, 2`)
	if err != nil {
		return nil, err
	}
	out := sums{}
	var k sumKey
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&k.tenant, &k.kind, &n}, func() error {
		out[k] += n
		return nil
	})
	return out, err
}

func (s *postgresSide) numbers(ctx context.Context) (n numbers, err error) {
	err = s.tx.QueryRow(ctx, `SELECT coalesce(pg_sequence_last_value('signpost.notification_id'::regclass), 0),
		coalesce(pg_sequence_last_value(pg_get_serial_sequence('signpost.callback', 'id')::regclass), 0)`).Scan(&n.notification, &n.callback)
	return n, err
}

// slowest is how long it may take at most from the giving of an id to the commit
// of its row, in microseconds. Nodes have limits of seconds.
const slowest = int64(5 * time.Minute / time.Microsecond)

// settled leaves out the newest ones: an id that is lower than others may be
// committed after them.
func (s *postgresSide) settled(ctx context.Context) (id int64, err error) {
	err = s.tx.QueryRow(ctx, `SELECT id FROM signpost.notification
		WHERE created_at < (SELECT created_at FROM signpost.notification ORDER BY id DESC LIMIT 1) - $1 ORDER BY id DESC LIMIT 1`, slowest).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return id, err
}
