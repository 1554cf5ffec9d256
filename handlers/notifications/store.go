package notifications

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// draft is what a dialect has found to be a notification.
type draft struct {
	channel   storage.Channel
	to        string
	template  storage.Template
	content   content
	reference string
	details   storage.Details
	trial     bool // of the service
}

// create stores a draft. A repeat of an earlier request returns what that has
// created.
func (a *API) create(ctx context.Context, r *http.Request, id notifyauth.Identity, d draft, rep *repeat) (storage.Created, *refusal) {
	ref, err := uuid.NewV7()
	if err != nil {
		return storage.Created{}, &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
	}
	n := a.notification(id, d, ref)
	c := storage.Creation{Notification: n, Limits: a.daily(id, d.channel, d.trial, n.CreatedAt)}
	if rep != nil {
		c.Notification.Details.Request = rep.request
		c.Idempotency = &storage.Idempotency{Key: rep.key[:], ExpiresAt: rep.expires}
	}
	created, err := a.config.Store.Create(ctx, c)
	var limit *storage.LimitError
	switch {
	case errors.As(err, &limit):
		return created, dailyRefusal(d.channel, limit.Max, n.CreatedAt)
	case err != nil:
		return created, technical(r, err)
	}
	return created, nil
}

// notification makes a draft a notification of now.
func (a *API) notification(id notifyauth.Identity, d draft, ref uuid.UUID) storage.Notification {
	now := a.now()
	d.details.Values = d.content.values
	return storage.Notification{
		UUID:            ref,
		ServiceID:       id.ServiceID,
		KeyName:         id.KeyName,
		KeyType:         keyType(id),
		Channel:         d.channel,
		To:              d.to,
		Subject:         d.content.subject,
		Body:            d.content.body,
		TemplateID:      d.template.ID,
		TemplateVersion: d.template.Version,
		Reference:       d.reference,
		Sender:          a.provider(id, d.channel),
		Details:         d.details,
		CreatedAt:       now,
		ExpiresAt:       now.Add(a.config.Retention),
	}
}

// provider is the provider of a channel. Messages of test keys never reach one.
func (a *API) provider(id notifyauth.Identity, channel storage.Channel) string {
	if keyType(id) == storage.KeyTest {
		return Simulated
	}
	return a.config.Senders[channel]
}
