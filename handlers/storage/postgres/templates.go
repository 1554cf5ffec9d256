package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutTemplate stores the next version.
func (s *Store) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	var out []storage.Template
	err := s.call(ctx, "storing a template", func(ctx context.Context, c conn) error {
		for { // until no other takes the same version first
			var version int
			err := c.QueryRow(ctx, `INSERT INTO signpost.template (service_id, id, version, channel, name, subject, body, created_at)
				VALUES ($1, $2, (SELECT coalesce(max(version), 0) + 1 FROM signpost.template WHERE service_id = $1 AND id = $2),
				$3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING version`, asText(t.ServiceID), asText(t.ID), string(t.Channel),
				asText(t.Name), asText(t.Subject), asText(t.Body), asMicro(t.CreatedAt)).Scan(&version)
			if errors.Is(err, pgx.ErrNoRows) {
				continue
			}
			if err == nil {
				out, err = collect(decodeTemplate)(c.Query(ctx, templates+`WHERE service_id = $1 AND id = $2 AND version = $3`,
					asText(t.ServiceID), asText(t.ID), version))
			}
			return err
		}
	})
	return only(out, err)
}

// ArchiveTemplate ends a template.
func (s *Store) ArchiveTemplate(ctx context.Context, serviceID, id string, at time.Time) error {
	return s.call(ctx, "archiving a template", func(ctx context.Context, c conn) error {
		return unless(storage.ErrNotFound)(c.Exec(ctx, `UPDATE signpost.template
			SET archived_at = CASE archived_at WHEN 0 THEN $3 ELSE archived_at END WHERE service_id = $1 AND id = $2
			AND version = (SELECT max(version) FROM signpost.template WHERE service_id = $1 AND id = $2)`,
			asText(serviceID), asText(id), asMicro(storage.Micro(at))))
	})
}

// templates ends with when the first version was made and when the newest was
// archived.
const templates = `SELECT t.service_id, t.id, t.version, t.channel, t.name, t.subject, t.body, t.created_at,
	(SELECT f.created_at FROM signpost.template AS f WHERE f.service_id = t.service_id AND f.id = t.id AND f.version = 1),
	(SELECT l.archived_at FROM signpost.template AS l WHERE l.service_id = t.service_id AND l.id = t.id ORDER BY l.version DESC LIMIT 1)
	FROM signpost.template AS t `

func decodeTemplate(row pgx.CollectableRow) (t storage.Template, err error) {
	var created, first, archived int64
	err = row.Scan(&t.ServiceID, &t.ID, &t.Version, &t.Channel, &t.Name, &t.Subject, &t.Body, &created, &first, &archived)
	t.ServiceID, t.ID, t.Name = fromText(t.ServiceID), fromText(t.ID), fromText(t.Name)
	t.Subject, t.Body = fromText(t.Subject), fromText(t.Body)
	t.CreatedAt, t.FirstAt, t.ArchivedAt = fromMicro(created), fromMicro(first), fromMicro(archived)
	return t, err
}

// Template returns one version, the newest for 0.
func (s *Store) Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	return only(list(ctx, s, "reading a template", decodeTemplate, templates+
		`WHERE service_id = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3) ORDER BY version DESC LIMIT 1`,
		asText(serviceID), asText(id), int64(version)))
}

// Templates returns the newest versions by id.
func (s *Store) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	return list(ctx, s, "listing templates", decodeTemplate, templates+`WHERE service_id = $1 AND version =
		(SELECT max(version) FROM signpost.template WHERE service_id = $1 AND id = t.id) ORDER BY id`, asText(serviceID))
}
