package caddymodule

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

func listServices(app *App, r *http.Request) (int, any, error) {
	s, err := app.directory.ListServices(r.Context())
	return http.StatusOK, s, err
}

type serviceRequest struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
}

func addService(app *App, r *http.Request) (int, any, error) {
	var in serviceRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	s, err := app.directory.AddService(r.Context(), in.ID, in.Name)
	return http.StatusCreated, s, err
}

func listKeys(app *App, r *http.Request) (int, any, error) {
	k, err := app.directory.ListKeys(r.Context(), r.PathValue("service"))
	return http.StatusOK, k, err
}

type keyRequest struct {
	Name string          `json:"name"`
	Type storage.KeyType `json:"type,omitempty"`
}

func addKey(app *App, r *http.Request) (int, any, error) {
	var in keyRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	k, err := app.directory.AddKey(r.Context(), r.PathValue("service"), in.Name, in.Type)
	return http.StatusCreated, k, err
}

func revokeKey(app *App, r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, app.directory.RevokeKey(r.Context(), r.PathValue("service"), r.PathValue("key"))
}

// templateInfo is a template on the admin API.
type templateInfo struct {
	ID      string          `json:"id,omitempty"`
	Version int             `json:"version,omitempty"`
	Type    storage.Channel `json:"type"`
	Name    string          `json:"name,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Body    string          `json:"body"`
}

func infoOf(t storage.Template) templateInfo {
	return templateInfo{t.ID, t.Version, t.Channel, t.Name, t.Subject, t.Body}
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
	var in templateInfo
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
