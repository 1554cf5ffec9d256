package notifications

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// v2ReceivedObject is a text message that somebody has sent to the service.
type v2ReceivedObject struct {
	ID           string  `json:"id"`
	CreatedAt    *string `json:"created_at"`
	ServiceID    string  `json:"service_id"`
	NotifyNumber string  `json:"notify_number"`
	UserNumber   string  `json:"user_number"`
	Content      string  `json:"content"`
}

type v2ReceivedPage struct {
	ReceivedTextMessages []v2ReceivedObject `json:"received_text_messages"`
	Links                v2Links            `json:"links"`
}

// v2Received answers GET /v2/received-text-messages, newest first.
func (a *API) v2Received(c *v2Call) (status int, result string) {
	q, ref := parseV2Query(c.query)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	f := v2Filter{olderThan: q.uuid(paramOlderThan)}
	if ref := q.refusal(paramOlderThan); ref != nil {
		return a.v2Refuse(c, ref)
	}
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	page, err := a.v2Inbound(ctx, c, f)
	if err != nil {
		return a.v2Refuse(c, technical(c.r, err))
	}
	answer := v2ReceivedPage{ReceivedTextMessages: make([]v2ReceivedObject, 0, len(page))}
	var last uuid.NullUUID
	for _, m := range page {
		answer.ReceivedTextMessages = append(answer.ReceivedTextMessages, v2ReceivedObject{
			ID:           m.ID.String(),
			CreatedAt:    v2Instant(m.CreatedAt),
			ServiceID:    m.ServiceID,
			NotifyNumber: v2Number(m.NotifyNumber),
			UserNumber:   v2Number(m.UserNumber),
			Content:      m.Content,
		})
		last = uuid.NullUUID{UUID: m.ID, Valid: true}
	}
	answer.Links = f.links(c.root+v2Prefix+"/received-text-messages", last)
	writeJSON(c.w, http.StatusOK, answer)
	return http.StatusOK, resultOK
}

// v2Inbound returns the page that a filter asks for.
func (a *API) v2Inbound(ctx context.Context, c *v2Call, f v2Filter) ([]storage.InboundMessage, error) {
	if f.olderThan.Valid && f.olderThan.UUID == uuid.Nil { // nobody's id, which the storage takes for none
		return nil, nil
	}
	return a.config.Store.Inbound(ctx, storage.InboundQuery{ServiceID: c.id.ServiceID, Before: f.olderThan.UUID, Limit: v2PageSize})
}

// v2Number is a phone number as Notify writes those that it has normalised:
// E.164 without the "+".
func v2Number(number string) string { return strings.TrimPrefix(number, "+") }
