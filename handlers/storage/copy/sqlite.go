package copy

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"

	_ "modernc.org/sqlite" // the driver of that name

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// sqliteSide is a SQLite database, in one transaction.
type sqliteSide struct {
	a   *sqlite.Attachment
	tx  *sql.Tx
	key *storage.Sealer
}

func openSQLite(ctx context.Context, a *sqlite.Attachment, write bool) (_ *sqliteSide, err error) {
	s := &sqliteSide{a: a}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if a.SecretsKey != nil {
		if s.key, err = storage.NewSealer(a.SecretsKey); err != nil {
			return nil, err
		}
	}
	if s.tx, err = a.DB.BeginTx(ctx, &sql.TxOptions{ReadOnly: !write}); err != nil {
		return nil, err
	}
	// The transaction's moment is that of its first statement.
	var n int64
	return s, s.tx.QueryRowContext(ctx, "SELECT count(*) FROM meta").Scan(&n)
}

func (s *sqliteSide) close() error {
	if s.tx != nil {
		_ = s.tx.Rollback() //nolint:errcheck // nothing after a commit, or what was only read
	}
	return s.a.Close()
}

func (s *sqliteSide) live() bool              { return s.a.Live }
func (s *sqliteSide) sealer() *storage.Sealer { return s.key }
func (s *sqliteSide) hint() string            { return "" }

func (s *sqliteSide) commit(context.Context) error { return s.tx.Commit() }

func (s *sqliteSide) tidy(context.Context, bool) {} // its plans need no statistics

// identityOf is that of the proof of a secrets key, which no two databases share.
func identityOf(proof []byte) string {
	sum := sha256.Sum256(proof)
	return hex.EncodeToString(sum[:])
}

func (s *sqliteSide) meta(ctx context.Context, name string) (value []byte, err error) {
	err = s.tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

func (s *sqliteSide) identity(ctx context.Context) (string, error) {
	proof, err := s.meta(ctx, "secrets_check")
	if err == nil && proof == nil {
		err = errors.New("the SQLite database has never been opened by Signpost: start Caddy on it once")
	}
	return identityOf(proof), err
}

func (s *sqliteSide) mark(ctx context.Context) (*mark, error) {
	text, err := s.meta(ctx, storage.CopyMark)
	return decodeMark(text, err)
}

func decodeMark(text []byte, err error) (*mark, error) {
	if err != nil || text == nil {
		return nil, err
	}
	m := &mark{}
	return m, json.Unmarshal(text, m)
}

func (s *sqliteSide) setMark(ctx context.Context, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.exec(ctx, `INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, storage.CopyMark, text)
}

func (s *sqliteSide) exec(ctx context.Context, text string, args ...any) error {
	_, err := s.tx.ExecContext(ctx, text, args...)
	return err
}

// sqliteReads are the tables' rows in the order of their columns.
var sqliteReads = map[string]string{
	"service":  `SELECT no, id, name, created_at, settings FROM service`,
	"api_key":  `SELECT no, service_id, name, type, secret, created_at, revoked_at FROM api_key`,
	"template": `SELECT service_id, id, version, channel, name, subject, body, created_at, archived_at FROM template`,
	"tenant":   `SELECT no, id FROM tenant`,
	// What a process held that is gone is due at once, as when it is opened.
	"notification": `SELECT id, uuid, created_at, expires_at, iif(job = 0, id, job), tenant, template_version, key_name, key_type, recipient,
		template_id, reference, subject, body, kind & 63, attempts, sent_at, completed_at, updated_at, reason, provider_reference, sender,
		details, phase, iif(leased = 1 AND phase < 3, created_at, due), leased FROM notification`,
	"callback": `SELECT id, notification, iif(leased = 1, created_at, due), created_at, tenant, attempts FROM callback`,
	"inbound":  `SELECT id, service_id, provider, reference, user_number, notify_number, content, created_at, expires_at FROM inbound`,
	// Keys are only appended: of one that came again after it had expired, the
	// newest row counts. With max(), SQLite takes the other columns from its row.
	"idempotency":    `SELECT max(id), tenant, key, expires_at, body_hash FROM idempotency`,
	"replay":         `SELECT service_id, key, max(expires_at) FROM replay GROUP BY service_id, key`,
	"counter":        `SELECT key, value, expires_at FROM counter`,
	"signing_client": `SELECT no, id, name, keys, callback, created_at FROM signing_client`,
	"signing_request": `SELECT r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at, r.deadline,
		r.expires_at, j.jwt, r.response FROM signing_request AS r LEFT JOIN signing_jwt AS j ON j.no = r.no`,
}

// sqliteDeltas are the conditions of a delta, with its after, expired and ids.
// Each part has an index, which SQLite wouldn't take by itself: it would rather
// read the whole table than sort a few ids.
var sqliteDeltas = map[string]string{
	"notification": `id IN (SELECT id FROM notification WHERE id > ?1 UNION SELECT id FROM notification INDEXED BY notification_due WHERE phase < 4
		UNION SELECT id FROM notification INDEXED BY notification_due WHERE phase = 4 AND due < ?2
		UNION SELECT id FROM notification INDEXED BY notification_dead WHERE kind & 7 = 5
		UNION SELECT value FROM json_each(?3))`,
	"idempotency": `id IN (SELECT id FROM idempotency WHERE id > ?1 UNION
		SELECT id FROM idempotency INDEXED BY idempotency_expiry WHERE expires_at < ?2) AND ?3 IS NOT NULL`,
}

func (s *sqliteSide) query(t *table, d *delta) (text string, args []any, err error) {
	text = sqliteReads[t.name]
	if d != nil {
		if args, err = sqliteArgs(d); err != nil {
			return "", nil, err
		}
		text += " WHERE " + sqliteDeltas[t.name]
	}
	if t.name == "idempotency" {
		text += " GROUP BY tenant, key"
	}
	return text, args, nil
}

func sqliteArgs(d *delta) ([]any, error) {
	ids, err := json.Marshal(append([]int64{}, d.ids...))
	return []any{d.after, d.expired, string(ids)}, err
}

func (s *sqliteSide) count(ctx context.Context, t *table, d *delta) (n int64, err error) {
	text, args, err := s.query(t, d)
	if err != nil {
		return 0, err
	}
	if t.name == "notification" && d == nil { // by an index, without the rows
		text = "SELECT 1 FROM notification"
	}
	err = s.tx.QueryRowContext(ctx, "SELECT count(*) FROM ("+text+")", args...).Scan(&n)
	return n, err
}

func (s *sqliteSide) read(ctx context.Context, t *table, d *delta, each func(row []any) error) (err error) {
	text, args, err := s.query(t, d)
	if err != nil {
		return err
	}
	rows, err := s.tx.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	places := make([]any, len(columns))
	for rows.Next() {
		row := make([]any, len(columns))
		for i := range row {
			places[i] = &row[i]
		}
		if err := rows.Scan(places...); err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *sqliteSide) sums(ctx context.Context) (_ sums, err error) {
	out := sums{}
	rows, err := s.tx.QueryContext(ctx, "SELECT tenant, kind, count(*) FROM notification GROUP BY tenant, kind")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k sumKey
		var n int64
		if err := rows.Scan(&k.tenant, &k.kind, &n); err != nil {
			return nil, err
		}
		k.kind &= 63 // without the key type
		out[k] += n
	}
	return out, rows.Err()
}

func (s *sqliteSide) numbers(ctx context.Context) (n numbers, err error) {
	err = s.tx.QueryRowContext(ctx, `SELECT max(coalesce((SELECT max(id) FROM notification), 0),
		coalesce((SELECT cast(value AS INTEGER) FROM meta WHERE name = 'last_id'), 0)),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'callback'), 0)`).Scan(&n.notification, &n.callback)
	return n, err
}

// settled is the newest id: there is one writer, who commits in order.
func (s *sqliteSide) settled(ctx context.Context) (int64, error) {
	n, err := s.numbers(ctx)
	return n.notification, err
}
