package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// statusInfo is the state of storage and queue.
type statusInfo struct {
	Storage      string            `json:"storage"`
	Queued       int64             `json:"queued"`
	OldestQueued *time.Time        `json:"oldest_queued,omitempty"`
	Outstanding  int64             `json:"outstanding"`
	DeadLettered int64             `json:"dead_lettered"`
	Callbacks    int64             `json:"callbacks"`
	Senders      map[string]string `json:"senders"` // first provider by channel
	// Routes has all providers of a channel in their order.
	Routes    map[string][]string `json:"routes"`
	Providers []providerInfo      `json:"providers"`
}

// providerInfo is a provider as this node sees it.
type providerInfo struct {
	Name     string                `json:"name"`
	Breaker  delivery.BreakerState `json:"breaker"`
	Failures int                   `json:"failures"` // in a row
	Since    time.Time             `json:"since"`    // the breaker's last change
}

func getStatus(app *App, r *http.Request) (int, any, error) {
	if err := app.handle.Backend().Ping(r.Context()); err != nil {
		return 0, nil, err
	}
	s, err := app.handle.Backend().Stats(r.Context())
	if err != nil {
		return 0, nil, err
	}
	out := statusInfo{
		Storage: "ok", Queued: s.Queued, Outstanding: s.Outstanding, DeadLettered: s.DeadLettered, Callbacks: s.Callbacks,
		Senders: make(map[string]string), Routes: make(map[string][]string),
	}
	if !s.Oldest.IsZero() {
		out.OldestQueued = &s.Oldest
	}
	for channel, name := range app.outlets.senders {
		out.Senders[string(channel)] = name
		out.Routes[string(channel)] = app.outlets.route(channel)
	}
	for _, p := range app.dispatcher.Providers() {
		out.Providers = append(out.Providers, providerInfo{p.Name, p.State, p.Failures, p.Since})
	}
	return http.StatusOK, out, nil
}

// deliveryInfo is what an operator may see of a notification: how far it has
// come and why, and neither recipient nor text.
type deliveryInfo struct {
	ID                int64           `json:"id"`
	UUID              uuid.UUID       `json:"uuid"`
	Service           string          `json:"service"`
	Channel           storage.Channel `json:"channel"`
	Sender            string          `json:"sender"`
	Template          string          `json:"template"`
	Status            storage.Status  `json:"status"`
	Reason            string          `json:"reason,omitempty"`
	Attempts          int             `json:"attempts"`
	ProviderReference string          `json:"provider_reference,omitempty"`
	CreatedAt         time.Time       `json:"created_at"`
	SentAt            *time.Time      `json:"sent_at,omitempty"`
	CompletedAt       *time.Time      `json:"completed_at,omitempty"`
}

func getNotification(app *App, r *http.Request) (int, any, error) {
	n, err := findNotification(app, r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, describeNotification(&n), nil
}

func describeNotification(n *storage.Notification) deliveryInfo {
	out := deliveryInfo{
		ID: n.ID, UUID: n.UUID, Service: n.ServiceID, Channel: n.Channel, Sender: n.Sender, Template: n.TemplateID,
		Status: n.Status, Reason: n.Reason, Attempts: n.Attempts, ProviderReference: n.ProviderReference, CreatedAt: n.CreatedAt,
	}
	if !n.SentAt.IsZero() {
		out.SentAt = &n.SentAt
	}
	if !n.CompletedAt.IsZero() {
		out.CompletedAt = &n.CompletedAt
	}
	return out
}

// backuper is a back end that can copy itself while it is in use.
type backuper interface {
	Backup(ctx context.Context, path string) error
}

type backupRequest struct {
	Path string `json:"path"`
}

func backupStorage(app *App, r *http.Request) (int, any, error) {
	var in backupRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	if !filepath.IsAbs(in.Path) {
		return 0, nil, &directory.InputError{Text: "path must be absolute: the server's working directory need not be yours"}
	}
	b, ok := app.handle.Backend().(backuper)
	if !ok {
		return 0, nil, caddy.APIError{HTTPStatus: http.StatusConflict, Err: errors.New("this storage has no backup of its own: use its tools")}
	}
	if err := b.Backup(r.Context(), in.Path); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, in, nil
}

func findNotification(app *App, r *http.Request) (storage.Notification, error) {
	service, text := r.PathValue("service"), r.PathValue("id")
	if id, err := strconv.ParseInt(text, 10, 64); err == nil {
		return app.handle.Backend().NotificationByID(r.Context(), service, id)
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return storage.Notification{}, storage.ErrNotFound
	}
	return app.handle.Backend().NotificationByUUID(r.Context(), service, id)
}
