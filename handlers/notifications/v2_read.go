package notifications

import (
	"errors"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// v2Notification is a notification as this dialect shows it. Every member is
// always there.
type v2Notification struct {
	ID                     string        `json:"id"`
	Reference              *string       `json:"reference"`
	EmailAddress           *string       `json:"email_address"`
	PhoneNumber            *string       `json:"phone_number"`
	Line1                  *string       `json:"line_1"`
	Line2                  *string       `json:"line_2"`
	Line3                  *string       `json:"line_3"`
	Line4                  *string       `json:"line_4"`
	Line5                  *string       `json:"line_5"`
	Line6                  *string       `json:"line_6"`
	Postcode               *string       `json:"postcode"`
	Type                   string        `json:"type"`
	Status                 string        `json:"status"`
	Template               v2TemplateRef `json:"template"`
	Body                   string        `json:"body"`
	Subject                *string       `json:"subject"`
	CreatedAt              *string       `json:"created_at"`
	CreatedByName          *string       `json:"created_by_name"`
	SentAt                 *string       `json:"sent_at"`
	CompletedAt            *string       `json:"completed_at"`
	ScheduledFor           *string       `json:"scheduled_for"`
	Postage                *string       `json:"postage"`
	OneClickUnsubscribeURL *string       `json:"one_click_unsubscribe_url"`
	v2Cost
}

// v2Cost is what Notify says while it doesn't know what a notification costs.
// There are no prices here, so that it is never known.
type v2Cost struct {
	Ready   bool     `json:"is_cost_data_ready"`
	Pounds  *float64 `json:"cost_in_pounds"`
	Details struct{} `json:"cost_details"`
}

// v2Object is a notification for the caller.
func (c *v2Call) v2Object(n storage.Notification) v2Notification {
	o := v2Notification{
		ID:        n.UUID.String(),
		Reference: v2Text(n.Reference),
		Type:      string(n.Channel),
		Status:    string(n.Status),
		Template: v2TemplateRef{
			ID:      v2TemplateID(n.ServiceID, n.TemplateID),
			Version: n.TemplateVersion,
			URI:     c.templateURI(n.ServiceID, n.TemplateID, n.TemplateVersion),
		},
		Body:                   n.Body,
		CreatedAt:              v2Instant(n.CreatedAt),
		SentAt:                 v2Instant(n.SentAt),
		ScheduledFor:           v2Instant(n.Details.ScheduledFor),
		OneClickUnsubscribeURL: v2Text(n.Details.UnsubscribeURL),
	}
	if n.Status.Final() {
		o.CompletedAt = v2Instant(n.CompletedAt)
	}
	to := n.Details.Supplied
	if to == "" {
		to = n.To
	}
	if n.Channel == storage.Email {
		o.EmailAddress, o.Subject = &to, &n.Subject
	} else {
		o.PhoneNumber = &to
	}
	return o
}

// v2Get answers GET /v2/notifications/{id}. It shows notifications of all key
// types, unlike the list.
func (a *API) v2Get(c *v2Call) (status int, result string) {
	n, ref := a.v2Find(c)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	writeJSON(c.w, http.StatusOK, c.v2Object(n))
	return http.StatusOK, resultOK
}

// v2Pdf answers GET /v2/notifications/{id}/pdf. Only letters have a PDF.
func (a *API) v2Pdf(c *v2Call) (status int, result string) {
	_, ref := a.v2Find(c)
	if ref == nil {
		ref = v2Bad(codeNotLetter, "Notification is not a letter")
	}
	return a.v2Refuse(c, ref)
}

// v2Find finds the notification that a path names. An unknown one and another
// service's get the same answer.
func (a *API) v2Find(c *v2Call) (n storage.Notification, ref *refusal) {
	id, ok := parseUUID(c.args[0])
	if !ok {
		return n, v2Invalid(codeInvalid, "notification_id "+textNotUUID)
	}
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	n, err := a.config.Store.NotificationByUUID(ctx, c.id.ServiceID, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return n, v2NotFound(codeNotFound)
	case err != nil:
		return n, technical(c.r, err)
	}
	return n, nil
}
