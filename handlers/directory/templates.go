package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// templateKey names a version of a template, the newest when version is 0.
type templateKey struct {
	service, id string
	version     int
}

// configureTemplate adds a template of the configuration, by its id and by its
// UUID.
func (d *Directory) configureTemplate(t storage.Template) error {
	k := templateKey{service: t.ServiceID, id: t.ID}
	if _, twice := d.templates[k]; twice {
		return fmt.Errorf("service %s: template %s is configured twice", t.ServiceID, t.ID)
	}
	d.templates[k] = t
	k.id = storage.TemplateUUID(t.ServiceID, t.ID).String()
	d.templates[k] = t
	return nil
}

// Template returns the newest version of a service's template, archived or not,
// or storage.ErrNotFound. id is the template's own or the UUID that
// storage.TemplateUUID derives from it. The configuration's templates come
// first.
func (d *Directory) Template(ctx context.Context, serviceID, id string) (storage.Template, error) {
	return d.TemplateVersion(ctx, serviceID, id, 0)
}

// TemplateVersion is Template for one version, the newest when it is 0. The
// configuration's templates have only the version 1.
func (d *Directory) TemplateVersion(ctx context.Context, serviceID, id string, version int) (storage.Template, error) {
	if t, ok := d.templates[templateKey{service: serviceID, id: id}]; ok {
		if version > 1 || version < 0 {
			return storage.Template{}, storage.ErrNotFound
		}
		return t, nil
	}
	if d.store == nil || version < 0 {
		return storage.Template{}, storage.ErrNotFound
	}
	t, err := d.storedTemplates.get(ctx, templateKey{serviceID, id, version})
	if !errors.Is(err, storage.ErrNotFound) || !canBeDerived(id) {
		return t, err
	}
	list, err := d.storedLists.get(ctx, serviceID)
	if err != nil {
		return storage.Template{}, err
	}
	for _, t := range list {
		switch {
		case storage.TemplateUUID(serviceID, t.ID).String() != id:
		case version == 0 || version == t.Version:
			return t, nil
		default:
			return d.storedTemplates.get(ctx, templateKey{serviceID, t.ID, version})
		}
	}
	return storage.Template{}, storage.ErrNotFound
}

// canBeDerived reports whether an id can be one that storage.TemplateUUID has
// made: a version 5 UUID.
func canBeDerived(id string) bool {
	if !CanBeStored(id) {
		return false
	}
	u, err := uuid.Parse(id)
	return err == nil && u.Version() == 5
}

// Templates returns the newest version of each of a service's templates,
// archived ones too: the configuration's, then the stored ones, each by id.
// Callers don't change the list.
func (d *Directory) Templates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	out := d.configuredTemplates(serviceID)
	if d.store == nil {
		return out, nil
	}
	stored, err := d.storedLists.get(ctx, serviceID)
	if err != nil {
		return nil, err
	}
	return d.withStored(out, stored), nil
}

func (d *Directory) configuredTemplates(serviceID string) []storage.Template {
	var out []storage.Template
	for k, t := range d.templates {
		if k.service == serviceID && k.id == t.ID {
			out = append(out, t)
		}
	}
	sortBy(out, func(t storage.Template) string { return t.ID })
	return out
}

// withStored adds stored templates that the configuration doesn't stand before.
func (d *Directory) withStored(out, stored []storage.Template) []storage.Template {
	for _, t := range stored {
		if _, hidden := d.templates[templateKey{service: t.ServiceID, id: t.ID}]; !hidden {
			out = append(out, t)
		}
	}
	return out
}

func (d *Directory) loadTemplate(ctx context.Context, k templateKey) (storage.Template, error) {
	return d.store.Template(ctx, k.service, k.id, k.version)
}

func (d *Directory) loadTemplates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	return d.store.Templates(ctx, serviceID)
}

func (d *Directory) forgetTemplates() {
	d.storedTemplates.forget()
	d.storedLists.forget()
}
