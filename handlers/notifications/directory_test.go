package notifications

import (
	"context"
	"sort"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// testDirectory is a Directory of templates, all their versions, and settings.
// It is filled before requests are served.
type testDirectory struct {
	versions map[string]map[string][]storage.Template // by service and id
	settings map[string]storage.ServiceSettings
}

func newDirectory() *testDirectory {
	return &testDirectory{versions: map[string]map[string][]storage.Template{}, settings: map[string]storage.ServiceSettings{}}
}

// put adds a version of a template. Versions are a minute apart, from t1.
func (d *testDirectory) put(serviceID, id string, channel storage.Channel, subject, body string) {
	if d.versions[serviceID] == nil {
		d.versions[serviceID] = map[string][]storage.Template{}
	}
	old := d.versions[serviceID][id]
	d.versions[serviceID][id] = append(old, storage.Template{
		ServiceID: serviceID, ID: id, Version: len(old) + 1, Channel: channel, Name: "Template " + id, Subject: subject, Body: body,
		CreatedAt: t1.Add(time.Duration(len(old)) * time.Minute), FirstAt: t1,
	})
}

func (d *testDirectory) remove(serviceID, id string) { delete(d.versions[serviceID], id) }

func (d *testDirectory) archive(serviceID, id string) {
	for i := range d.versions[serviceID][id] {
		d.versions[serviceID][id][i].ArchivedAt = t1
	}
}

func (d *testDirectory) Template(ctx context.Context, serviceID, id string) (storage.Template, error) {
	return d.TemplateVersion(ctx, serviceID, id, 0)
}

func (d *testDirectory) TemplateVersion(_ context.Context, serviceID, id string, version int) (storage.Template, error) {
	for known, versions := range d.versions[serviceID] {
		if known != id && storage.TemplateUUID(serviceID, known).String() != id {
			continue
		}
		if version == 0 {
			version = len(versions)
		}
		if version >= 1 && version <= len(versions) {
			return versions[version-1], nil
		}
	}
	return storage.Template{}, storage.ErrNotFound
}

func (d *testDirectory) Templates(_ context.Context, serviceID string) ([]storage.Template, error) {
	var all []storage.Template
	for _, versions := range d.versions[serviceID] {
		all = append(all, versions[len(versions)-1])
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all, nil
}

func (d *testDirectory) Settings(_ context.Context, serviceID string) (storage.ServiceSettings, error) {
	return d.settings[serviceID], nil
}

// failingDirectory fails at everything.
type failingDirectory struct{ err error }

func (d failingDirectory) Template(context.Context, string, string) (storage.Template, error) {
	return storage.Template{}, d.err
}

func (d failingDirectory) TemplateVersion(context.Context, string, string, int) (storage.Template, error) {
	return storage.Template{}, d.err
}

func (d failingDirectory) Templates(context.Context, string) ([]storage.Template, error) {
	return nil, d.err
}

func (d failingDirectory) Settings(context.Context, string) (storage.ServiceSettings, error) {
	return storage.ServiceSettings{}, d.err
}
