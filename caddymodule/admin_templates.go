package caddymodule

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// templateRequest is a template that is to be stored.
type templateRequest struct {
	ID      string          `json:"id,omitempty"`
	Type    storage.Channel `json:"type"`
	Name    string          `json:"name,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Body    string          `json:"body"`
}

// templateInfo is a template on the admin API.
type templateInfo struct {
	templateRequest
	// UUID is the id by which the v2 dialect knows it.
	UUID       uuid.UUID  `json:"uuid"`
	Version    int        `json:"version"`
	ArchivedAt *time.Time `json:"archived_at,omitempty"`
}

func infoOf(t storage.Template) templateInfo {
	info := templateInfo{
		templateRequest: templateRequest{ID: t.ID, Type: t.Channel, Name: t.Name, Subject: t.Subject, Body: t.Body},
		UUID:            storage.TemplateUUID(t.ServiceID, t.ID),
		Version:         t.Version,
	}
	if !t.ArchivedAt.IsZero() {
		info.ArchivedAt = &t.ArchivedAt
	}
	return info
}

func listTemplates(app *App, r *http.Request) (int, any, error) {
	ts, err := app.directory.ListTemplates(r.Context(), r.PathValue("service"))
	out := make([]templateInfo, len(ts))
	for i, t := range ts {
		out[i] = infoOf(t)
	}
	return http.StatusOK, out, err
}

func putTemplate(app *App, r *http.Request) (int, any, error) {
	var in templateRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	t := storage.Template{
		ServiceID: r.PathValue("service"), ID: in.ID,
		Channel: in.Type, Name: in.Name, Subject: in.Subject, Body: in.Body,
	}
	if t.ID == "" {
		t.ID = uuid.NewString()
	}
	if err := notifications.CheckTemplate(t); err != nil {
		return 0, nil, &directory.InputError{Text: "template " + t.ID + ": " + err.Error()}
	}
	t, err := app.directory.PutTemplate(r.Context(), t)
	return http.StatusCreated, infoOf(t), err
}

func archiveTemplate(app *App, r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, app.directory.ArchiveTemplate(r.Context(), r.PathValue("service"), r.PathValue("id"))
}
