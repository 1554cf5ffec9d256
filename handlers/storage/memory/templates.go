package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// template is all versions of one.
type template struct {
	versions   []storage.Template
	archivedAt time.Time
}

// version returns one that is there, counted from 1.
func (t *template) version(n int) storage.Template {
	v := t.versions[n-1]
	v.FirstAt, v.ArchivedAt = t.versions[0].CreatedAt, t.archivedAt
	return v
}

// PutTemplate stores the next version.
func (s *Store) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a template"); err != nil {
		return storage.Template{}, err
	}
	k := templateKey{t.ServiceID, t.ID}
	all := s.templates[k]
	if all == nil {
		all = &template{}
		s.templates[k] = all
	}
	t.Version = len(all.versions) + 1
	t.CreatedAt = storage.Micro(t.CreatedAt)
	all.versions = append(all.versions, t)
	all.archivedAt = time.Time{}
	return all.version(t.Version), nil
}

// ArchiveTemplate ends a template.
func (s *Store) ArchiveTemplate(ctx context.Context, serviceID, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "archiving a template"); err != nil {
		return err
	}
	t := s.templates[templateKey{serviceID, id}]
	if t == nil {
		return storage.ErrNotFound
	}
	if t.archivedAt.IsZero() {
		t.archivedAt = storage.Micro(at)
	}
	return nil
}

// Template returns one version, the newest for 0.
func (s *Store) Template(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a template"); err != nil {
		return storage.Template{}, err
	}
	t := s.templates[templateKey{serviceID, id}]
	if t == nil {
		return storage.Template{}, storage.ErrNotFound
	}
	if version == 0 {
		version = len(t.versions)
	}
	if version < 1 || version > len(t.versions) {
		return storage.Template{}, storage.ErrNotFound
	}
	return t.version(version), nil
}

// Templates returns the newest versions by id.
func (s *Store) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing templates"); err != nil {
		return nil, err
	}
	var out []storage.Template
	for k, t := range s.templates {
		if k.serviceID == serviceID {
			out = append(out, t.version(len(t.versions)))
		}
	}
	slices.SortFunc(out, func(a, b storage.Template) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
