package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutInbound stores a message that was received.
func (s *Store) PutInbound(ctx context.Context, m storage.InboundMessage) error {
	m, err := m.Normalised()
	if err != nil {
		return err
	}
	return s.write(ctx, "storing a received message", func(w *writer) error {
		return unless(storage.ErrExists)(w.c.exec(w.ctx, `INSERT INTO inbound (id, service_id, provider, reference, user_number, notify_number,
			content, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			m.ID[:], m.ServiceID, m.Provider, m.Reference, m.UserNumber, m.NotifyNumber, m.Content, m.CreatedAt, m.ExpiresAt))
	})
}

// Inbound returns a page of messages that were received.
func (s *Store) Inbound(ctx context.Context, q storage.InboundQuery) (out []storage.InboundMessage, err error) {
	q = q.Normalised()
	const selected = `SELECT id, service_id, provider, reference, user_number, notify_number, content, created_at, expires_at
		FROM inbound WHERE service_id = ?1 `
	const ordered = ` ORDER BY created_at DESC, id DESC LIMIT ?2`
	text, args := selected+ordered, []any{q.ServiceID, q.Limit}
	if q.Before != uuid.Nil {
		text = selected + `AND (created_at, id) < (SELECT created_at, id FROM inbound WHERE id = ?3 AND service_id = ?1)` + ordered
		args = append(args, q.Before[:])
	}
	err = s.read(ctx, "listing received messages", func(c *conn) error {
		return c.query(ctx, func(v []driver.Value) error {
			m := storage.InboundMessage{
				ServiceID: asText(v[1]), Provider: asText(v[2]), Reference: asText(v[3]), UserNumber: asText(v[4]), NotifyNumber: asText(v[5]),
				Content: asText(v[6]), CreatedAt: asTime(v[7]), ExpiresAt: asTime(v[8]),
			}
			var err error
			if m.ID, err = uuid.FromBytes(asBytes(v[0])); err != nil {
				return fmt.Errorf("the database holds a received message with a bad UUID: %w", err)
			}
			out = append(out, m)
			return nil
		}, text, args...)
	})
	return out, err
}

func (w *writer) sweepInbound(r storage.SweepRequest) (int64, error) {
	return w.c.exec(w.ctx, `DELETE FROM inbound WHERE id IN (SELECT id FROM inbound WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`, r.Now, r.Limit)
}
