package caddymodule

import (
	"net/http"

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
