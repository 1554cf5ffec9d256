package notifications

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// keyMargin is how long an idempotency key outlives its token's window. A
// request that was admitted in the window may still be sending its body, or
// waiting for the storage, when the window closes.
const keyMargin = 10 * time.Minute

// draft is what a dialect has found to be a notification.
type draft struct {
	channel  storage.Channel
	to       string
	template storage.Template
	content  content
}

// create stores a draft. With idempotent, a token that has created a
// notification before returns that one.
func (a *API) create(ctx context.Context, r *http.Request, id notifyauth.Identity, d draft, idempotent bool) (storage.Created, *refusal) {
	now := a.now()
	ref, err := uuid.NewV7()
	if err != nil {
		return storage.Created{}, &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
	}
	c := storage.Creation{
		Notification: storage.Notification{
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
			Sender:          a.sender(id, d.channel),
			CreatedAt:       now,
			ExpiresAt:       now.Add(a.config.Retention),
		},
		Limits: a.daily(id.ServiceID, d.channel, now),
	}
	if idempotent {
		c.Idempotency = &storage.Idempotency{
			Key:       id.TokenMAC[:],
			ExpiresAt: id.IssuedAt.Add(a.config.Leeway + keyMargin),
		}
	}
	created, err := a.config.Store.Create(ctx, c)
	var limit *storage.LimitError
	switch {
	case errors.As(err, &limit):
		return created, a.dailyRefusal(now)
	case err != nil:
		return created, technical(r, err)
	}
	return created, nil
}

// sender is the provider of a channel. Messages of test keys never reach one.
func (a *API) sender(id notifyauth.Identity, channel storage.Channel) string {
	if keyType(id) == storage.KeyTest {
		return Simulated
	}
	return a.config.Senders[channel]
}
