package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutTemplate stores the next version.
func (s *Store) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	var out storage.Template
	err := s.write(ctx, "storing a template", func(w *writer) error {
		version, _, err := w.c.one(w.ctx, `INSERT INTO template (service_id, id, version, channel, name, subject, body, created_at)
			VALUES (?1, ?2, (SELECT coalesce(max(version), 0) + 1 FROM template WHERE service_id = ?1 AND id = ?2), ?3, ?4, ?5, ?6, ?7)
			RETURNING version`, t.ServiceID, t.ID, string(t.Channel), t.Name, t.Subject, t.Body, t.CreatedAt)
		if err != nil {
			return err
		}
		return w.c.query(w.ctx, func(row []driver.Value) error {
			out = decodeTemplate(row)
			return nil
		}, templates+`WHERE service_id = ? AND id = ? AND version = ?`, t.ServiceID, t.ID, version)
	})
	if err != nil {
		return storage.Template{}, err
	}
	return out, nil
}

// ArchiveTemplate ends a template.
func (s *Store) ArchiveTemplate(ctx context.Context, serviceID, id string, at time.Time) error {
	return s.write(ctx, "archiving a template", func(w *writer) error {
		return unless(storage.ErrNotFound)(w.c.exec(w.ctx, `UPDATE template SET archived_at = iif(archived_at = 0, ?3, archived_at)
			WHERE service_id = ?1 AND id = ?2 AND version = (SELECT max(version) FROM template WHERE service_id = ?1 AND id = ?2)`,
			serviceID, id, at))
	})
}

// templates ends with when the first version was made and when the newest was
// archived.
const templates = `SELECT t.service_id, t.id, t.version, t.channel, t.name, t.subject, t.body, t.created_at,
	(SELECT created_at FROM template WHERE service_id = t.service_id AND id = t.id AND version = 1),
	(SELECT archived_at FROM template WHERE service_id = t.service_id AND id = t.id ORDER BY version DESC LIMIT 1) FROM template AS t `

func decodeTemplate(v []driver.Value) storage.Template {
	return storage.Template{
		ServiceID: asText(v[0]), ID: asText(v[1]), Version: int(asInt(v[2])), Channel: storage.Channel(asText(v[3])),
		Name: asText(v[4]), Subject: asText(v[5]), Body: asText(v[6]), CreatedAt: asTime(v[7]), FirstAt: asTime(v[8]),
		ArchivedAt: asTime(v[9]),
	}
}

// Template returns one version, the newest for 0.
func (s *Store) Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	return only(list(ctx, s, "reading a template", decodeTemplate, templates+
		`WHERE service_id = ?1 AND id = ?2 AND (?3 = 0 OR version = ?3) ORDER BY version DESC LIMIT 1`, serviceID, id, version))
}

// Templates returns the newest versions by id.
func (s *Store) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	return list(ctx, s, "listing templates", decodeTemplate, templates+
		`WHERE service_id = ?1 AND version = (SELECT max(version) FROM template WHERE service_id = ?1 AND id = t.id) ORDER BY id`, serviceID)
}
