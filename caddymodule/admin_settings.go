package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// settingsRequest is what replaces the settings of a service. It is what
// directory.SettingsInfo shows, with the callback's bearer token beside its URL.
type settingsRequest struct {
	Service string `json:"service,omitempty"`
	Origin  string `json:"origin,omitempty"`
	storage.ServiceSettings

	// Callback stands for that of ServiceSettings, whose token is no text.
	Callback *callbackRequest `json:"callback,omitempty"`
}

type callbackRequest struct {
	URL    string `json:"url"`
	Bearer string `json:"bearer,omitempty"`
}

func getSettings(app *App, r *http.Request) (int, any, error) {
	s, err := app.directory.SettingsInfo(r.Context(), r.PathValue("service"))
	for _, c := range app.Services {
		if c.ID == s.Service && c.Callback != nil {
			s.Callback = &directory.CallbackInfo{URL: c.Callback.URL}
		}
	}
	return http.StatusOK, s, err
}

func putSettings(app *App, r *http.Request) (int, any, error) {
	var in settingsRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	service := r.PathValue("service")
	if in.Service != "" && in.Service != service {
		return 0, nil, &directory.InputError{Text: fmt.Sprintf("these are the settings of service %s, not of %s", in.Service, service)}
	}
	if in.Callback != nil {
		in.ServiceSettings.Callback = &storage.ServiceCallback{URL: in.Callback.URL, Bearer: []byte(in.Callback.Bearer)}
	}
	s, err := app.directory.PutSettings(r.Context(), service, in.ServiceSettings)
	if err == nil {
		// So that the next notification is told already; other nodes look by
		// themselves.
		err = app.callbacks.Load(r.Context())
	}
	return http.StatusOK, s, err
}
