package copy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

func (s *sqliteSide) flying(ctx context.Context) (ids []int64, err error) {
	rows, err := s.tx.QueryContext(ctx, `SELECT id FROM notification INDEXED BY notification_due WHERE phase < 4
		UNION SELECT id FROM notification INDEXED BY notification_dead WHERE kind & 7 = 5`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (s *sqliteSide) remove(ctx context.Context, t *table, d *delta) error {
	if t.name == "signing_request" {
		if err := s.exec(ctx, "DELETE FROM signing_jwt"); err != nil {
			return err
		}
	}
	text := "DELETE FROM " + t.name
	if d == nil {
		return s.exec(ctx, text)
	}
	args, err := sqliteArgs(d)
	if err != nil {
		return err
	}
	return s.exec(ctx, text+" WHERE "+sqliteDeltas[t.name], args...)
}

func (s *sqliteSide) insert(ctx context.Context, t *table, rows [][]any, replace bool) (err error) {
	columns := t.columns
	if t.name == "signing_request" { // its JWT is kept beside it
		columns = append(append([]string{}, columns[:11]...), columns[12:]...)
	}
	verb := "INSERT"
	if replace {
		verb = "INSERT OR REPLACE"
	}
	insert, err := s.tx.PrepareContext(ctx, fmt.Sprintf("%s INTO %s (%s) VALUES (?%s)", verb, t.name,
		strings.Join(columns, ", "), strings.Repeat(", ?", len(columns)-1)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	for _, row := range rows {
		var jwt []byte
		switch t.name {
		case "notification":
			row = row[:notificationStored]
			kind, _ := row[notificationKind].(int64)
			keyType, _ := row[notificationType].(string)
			row[notificationKind] = sqlite.Kind(kind, storage.KeyType(keyType))
		case "signing_request":
			jwt, _ = row[11].([]byte)
			row = append(append([]any{}, row[:11]...), row[12:]...)
		}
		if _, err := insert.ExecContext(ctx, row...); err != nil {
			return err
		}
		if jwt != nil {
			if err := s.exec(ctx, "INSERT INTO signing_jwt (no, jwt) VALUES (last_insert_rowid(), ?)", jwt); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sqliteSide) finish(ctx context.Context, n numbers, _ sums) error { // which are without key types
	if err := s.exec(ctx, "DELETE FROM total"); err != nil {
		return err
	}
	if err := s.exec(ctx, "INSERT INTO total (tenant, kind, n) SELECT tenant, kind, count(*) FROM notification GROUP BY tenant, kind"); err != nil {
		return err
	}
	if err := s.exec(ctx, `INSERT INTO meta (name, value) VALUES ('last_id', cast(cast(? AS TEXT) AS BLOB))
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, n.notification); err != nil {
		return err
	}
	for _, text := range []string{"DELETE FROM meta WHERE name = 'ping'", "DELETE FROM sqlite_sequence WHERE name = 'callback'"} {
		if err := s.exec(ctx, text); err != nil {
			return err
		}
	}
	return s.exec(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ('callback', ?)", n.callback)
}

// sqliteUsed is text that a node changes which does anything at all.
var sqliteUsed = []string{
	`SELECT coalesce(group_concat(tenant || ':' || kind || ':' || n), '') FROM (SELECT tenant, kind, n FROM total ORDER BY 1, 2)`,
	`SELECT count(*) || ':' || coalesce(sum(revoked_at), 0) FROM api_key`,
	`SELECT count(*) || ':' || coalesce(sum(value), 0) FROM counter`,
	`SELECT count(*) || ':' || coalesce(sum(token), 0) FROM callback`,
	`SELECT (SELECT count(*) FROM service) || ':' || (SELECT count(*) || ':' || coalesce(sum(archived_at), 0) FROM template) || ':' ||
		(SELECT count(*) FROM tenant) || ':' || (SELECT count(*) FROM replay) || ':' || (SELECT count(*) FROM signing_client) || ':' ||
		(SELECT count(*) FROM inbound)`,
	`SELECT coalesce(group_concat(hex(settings)), '') FROM (SELECT settings FROM service ORDER BY no)`,
	`SELECT coalesce(group_concat(status || ':' || n), '') FROM (SELECT status, count(*) AS n FROM signing_request GROUP BY 1 ORDER BY 1)`,
	`SELECT count(*) || ':' || coalesce(max(due), 0) || ':' || coalesce(sum(token), 0) FROM notification INDEXED BY notification_due WHERE phase < 4`,
	`SELECT count(*) FROM meta WHERE name = 'ping'`,
}

func (s *sqliteSide) used(ctx context.Context) (string, error) {
	return usedBy(sqliteUsed, func(text string) (v string, err error) {
		err = s.tx.QueryRowContext(ctx, text).Scan(&v)
		return v, err
	})
}

func usedBy(texts []string, ask func(text string) (string, error)) (string, error) {
	h := sha256.New()
	for _, text := range texts {
		v, err := ask(text)
		if err != nil {
			return "", fmt.Errorf("looking whether the target has been used: %w", err)
		}
		fmt.Fprintf(h, "%d:%s\n", len(v), v)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
