package caddymodule

import (
	"encoding/json"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/directory"
)

func listClients(app *App, r *http.Request) (int, any, error) {
	c, err := app.clients.ListClients(r.Context())
	return http.StatusOK, c, err
}

// clientRequest adds a signing client. Its keys are a JWK or a JWK set, or a
// text that holds one of these or PEM.
type clientRequest struct {
	Name     string          `json:"name,omitempty"`
	Callback string          `json:"callback"`
	Keys     json.RawMessage `json:"keys"`
}

func addClient(app *App, r *http.Request) (int, any, error) {
	var in clientRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	keys := []byte(in.Keys)
	var text string
	if json.Unmarshal(in.Keys, &text) == nil {
		keys = []byte(text)
	}
	if len(keys) == 0 {
		return 0, nil, &directory.InputError{Text: "the client needs keys: a JWK, a JWK set or PEM"}
	}
	c, err := app.clients.AddClient(r.Context(), in.Name, in.Callback, keys)
	return http.StatusCreated, c, err
}

func removeClient(app *App, r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, app.clients.RemoveClient(r.Context(), r.PathValue("client"))
}
