package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutTemplate stores the next version of a template, whose text must have
// passed notifications.CheckTemplate. Without an id it is a new template, which
// gets a version 4 UUID; a template may be named by its UUID too. The service may
// be one of the configuration's, the template may not. An archived template is
// in use again.
func (d *Directory) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	if d.store == nil {
		return storage.Template{}, ErrNoStorage
	}
	if t.ID == "" {
		t.ID = uuid.NewString()
	}
	if err := checkPathName("template id", t.ID, 100); err != nil {
		return storage.Template{}, err
	}
	if t.Name != "" {
		if err := checkName("template", t.Name, 200); err != nil {
			return storage.Template{}, err
		}
	}
	if err := d.known(ctx, t.ServiceID); err != nil {
		return storage.Template{}, err
	}
	known, err := d.storedTemplate(ctx, t.ServiceID, t.ID)
	switch {
	case err == nil:
		t.ID = known.ID
	case !errors.Is(err, storage.ErrNotFound):
		return storage.Template{}, err
	}
	t.CreatedAt = storage.Micro(d.now())
	t, err = d.store.PutTemplate(ctx, t)
	d.forgetTemplates()
	return t, err
}

// ArchiveTemplate ends a stored template, named by its id or UUID: nothing can be
// sent with it any more, and notifications that were keep their text. It is
// harmless when that has been done before.
func (d *Directory) ArchiveTemplate(ctx context.Context, serviceID, id string) error {
	if d.store == nil {
		return ErrNoStorage
	}
	t, err := d.storedTemplate(ctx, serviceID, id)
	if err == nil {
		err = d.store.ArchiveTemplate(ctx, serviceID, t.ID, storage.Micro(d.now()))
		d.forgetTemplates()
	}
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("service %s has no template %s: %w", serviceID, id, err)
	}
	return err
}

// ListTemplates returns the newest version of each of a service's templates,
// archived ones too: the configuration's, then the stored ones.
func (d *Directory) ListTemplates(ctx context.Context, serviceID string) ([]storage.Template, error) {
	out := d.configuredTemplates(serviceID)
	if d.store == nil {
		return out, nil
	}
	if err := d.known(ctx, serviceID); err != nil {
		return nil, err
	}
	stored, err := d.store.Templates(ctx, serviceID)
	if err != nil {
		return nil, err
	}
	return d.withStored(out, stored), nil
}

// storedTemplate returns a template that can be managed.
func (d *Directory) storedTemplate(ctx context.Context, serviceID, id string) (storage.Template, error) {
	if t, ok := d.templates[templateKey{service: serviceID, id: id}]; ok {
		return t, inputErrorf("template %s of service %s is in the configuration: change it there", t.ID, serviceID)
	}
	return d.Template(ctx, serviceID, id)
}

// known says when there is no such service.
func (d *Directory) known(ctx context.Context, serviceID string) error {
	_, err := d.Service(ctx, serviceID)
	if errors.Is(err, notifyauth.ErrUnknownService) {
		return fmt.Errorf("service %s: %w", serviceID, storage.ErrNotFound)
	}
	return err
}
