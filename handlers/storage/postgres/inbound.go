package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutInbound stores a message that was received.
func (s *Store) PutInbound(ctx context.Context, m storage.InboundMessage) error {
	m, err := m.Normalised()
	if err != nil {
		return err
	}
	return s.call(ctx, "storing a received message", func(ctx context.Context, c conn) error {
		return unless(storage.ErrExists)(c.Exec(ctx, `INSERT INTO signpost.inbound (id, service_id, provider, reference, user_number,
			notify_number, content, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
			[16]byte(m.ID), asText(m.ServiceID), asText(m.Provider), asText(m.Reference), asText(m.UserNumber), asText(m.NotifyNumber),
			asText(m.Content), asMicro(m.CreatedAt), asMicro(m.ExpiresAt)))
	})
}

func decodeInbound(row pgx.CollectableRow) (m storage.InboundMessage, err error) {
	var id [16]byte
	var created, expires int64
	err = row.Scan(&id, &m.ServiceID, &m.Provider, &m.Reference, &m.UserNumber, &m.NotifyNumber, &m.Content, &created, &expires)
	m.ID, m.CreatedAt, m.ExpiresAt = id, fromMicro(created), fromMicro(expires)
	for _, text := range []*string{&m.ServiceID, &m.Provider, &m.Reference, &m.UserNumber, &m.NotifyNumber, &m.Content} {
		*text = fromText(*text)
	}
	return m, err
}

// Inbound returns a page of messages that were received.
func (s *Store) Inbound(ctx context.Context, q storage.InboundQuery) ([]storage.InboundMessage, error) {
	q = q.Normalised()
	after, args := "", []any{asText(q.ServiceID), q.Limit}
	if q.Before != uuid.Nil {
		after = `AND (created_at, id) < (SELECT created_at, id FROM signpost.inbound WHERE id = $3 AND service_id = $1) `
		args = append(args, [16]byte(q.Before))
	}
	return list(ctx, s, "listing received messages", decodeInbound, `SELECT id, service_id, provider, reference, user_number, notify_number,
		content, created_at, expires_at FROM signpost.inbound WHERE service_id = $1 `+after+`ORDER BY created_at DESC, id DESC LIMIT $2`, args...)
}
