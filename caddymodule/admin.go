package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// adminAPI serves `/signpost/…` on Caddy's admin listener: the management of
// stored services, keys, templates and signing clients, and the state of storage,
// queue and key sets. It never returns secrets (but for a key just made),
// recipients or tokens.
type adminAPI struct {
	mux *http.ServeMux
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.signpost", New: func() caddy.Module { return new(adminAPI) }}
}

// maxAdminBody bounds what a management request may send.
const maxAdminBody = 1 << 20

// Provision sets up the routes.
func (a *adminAPI) Provision(caddy.Context) error {
	a.mux = http.NewServeMux()
	for pattern, h := range map[string]adminHandler{
		"GET /signpost/clients":                               stored(listClients),
		"POST /signpost/clients":                              stored(addClient),
		"DELETE /signpost/clients/{client}":                   stored(removeClient),
		"GET /signpost/dead-letters":                          stored(listDeadLetters),
		"POST /signpost/dead-letters/retry":                   stored(retryDeadLetters),
		"GET /signpost/keys":                                  getKeySets,
		"GET /signpost/status":                                stored(getStatus),
		"GET /signpost/services":                              stored(listServices),
		"POST /signpost/services":                             stored(addService),
		"GET /signpost/services/{service}/keys":               stored(listKeys),
		"POST /signpost/services/{service}/keys":              stored(addKey),
		"DELETE /signpost/services/{service}/keys/{key}":      stored(revokeKey),
		"GET /signpost/services/{service}/settings":           stored(getSettings),
		"PUT /signpost/services/{service}/settings":           stored(putSettings),
		"GET /signpost/services/{service}/templates":          stored(listTemplates),
		"POST /signpost/services/{service}/templates":         stored(putTemplate),
		"DELETE /signpost/services/{service}/templates/{id}":  stored(archiveTemplate),
		"GET /signpost/services/{service}/notifications/{id}": stored(getNotification),
		"POST /signpost/storage/backup":                       stored(backupStorage),
	} {
		a.mux.Handle(pattern, h)
	}
	return nil
}

// Routes returns the admin routes.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/signpost/", Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// serve lets the mux choose; a handler's error travels back to Caddy, which
// answers it as JSON.
func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	h, pattern := a.mux.Handler(r)
	if pattern == "" {
		rec := &statusOnly{header: make(http.Header)}
		h.ServeHTTP(rec, r) // 404 or 405, which the mux tells apart
		if allow := rec.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		return caddy.APIError{HTTPStatus: rec.status, Err: fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, http.StatusText(rec.status))}
	}
	var err error
	a.mux.ServeHTTP(&adminWriter{ResponseWriter: w, err: &err}, r)
	return err
}

// statusOnly takes a status and headers and drops the rest.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// adminWriter carries the error of an adminHandler through the mux.
type adminWriter struct {
	http.ResponseWriter
	err *error
}

// adminHandler returns what to answer as JSON, or an error.
type adminHandler func(app *App, r *http.Request) (status int, answer any, err error)

func (h adminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	aw := w.(*adminWriter)
	*aw.err = h.serve(aw.ResponseWriter, r)
}

func (h adminHandler) serve(w http.ResponseWriter, r *http.Request) error {
	// The active configuration's app, and not that of the configuration which
	// this module came with: Caddy replaces the admin routes before it knows
	// whether the new configuration will run.
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the running configuration does not use signpost")}
	}
	app := v.(*App)
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	status, answer, err := h(app, r)
	if err != nil {
		return adminError(err)
	}
	w.Header().Set("Cache-Control", "no-store")
	if answer == nil {
		w.WriteHeader(status)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(answer)
}

// stored holds the storage open for a handler.
func stored(h adminHandler) adminHandler {
	return func(app *App, r *http.Request) (int, any, error) {
		if err := app.acquire(r.Context()); err != nil {
			return 0, nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
		}
		defer app.handle.Release()
		return h(app, r)
	}
}

// acquire opens the storage if nothing has yet: management may be the first to
// need it.
func (a *App) acquire(ctx context.Context) error {
	if err := a.openStorage(ctx); err != nil {
		return err
	}
	return a.handle.Acquire(ctx, awaitTimeout)
}

func adminError(err error) error {
	var input *directory.InputError
	var tooLarge *http.MaxBytesError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, new(caddy.APIError)):
		return err
	case errors.As(err, &input):
		status = http.StatusBadRequest
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, directory.ErrNoStorage), errors.Is(err, storage.ErrExists):
		status = http.StatusConflict
	case errors.Is(err, storage.ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, storage.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, storage.ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// readJSON decodes a management request strictly.
func readJSON(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return err
		}
		return &directory.InputError{Text: "the request is not the JSON object expected: " + err.Error()}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &directory.InputError{Text: "something follows the JSON object"}
	}
	return nil
}
