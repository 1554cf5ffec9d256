package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// notification is what an API of either dialect says of one.
type notification struct {
	id, to, status string
	final          bool        // the status won't change any more
	failed         bool        // it has not been delivered
	times          [][2]string // what has happened, and when
	answer         any         // what the API said, for programs
}

// send asks the API to send a text message, or an email when the recipient is an
// email address.
func (c *notifyClient) send(ctx context.Context, to, template string, values map[string]any) (*notification, error) {
	channel := "sms"
	if strings.Contains(to, "@") {
		channel = "email"
	}
	if c.dialect == notifyauth.V2 {
		return c.sendV2(ctx, channel, to, template, values)
	}
	body, err := json.Marshal(signedRequest{To: to, Template: templateID(template), Personalisation: values})
	if err != nil {
		return nil, err
	}
	return c.callSigned(ctx, http.MethodPost, "/notifications/"+channel, body)
}

// get asks for one notification.
func (c *notifyClient) get(ctx context.Context, id string) (*notification, error) {
	if c.dialect == notifyauth.V2 {
		return c.getV2(ctx, id)
	}
	return c.callSigned(ctx, http.MethodGet, "/notifications/"+url.PathEscape(id), nil)
}

// signedRequest is the body of a POST in the signed dialect.
type signedRequest struct {
	To              string         `json:"to"`
	Template        any            `json:"template"`
	Personalisation map[string]any `json:"personalisation,omitempty"`
}

// templateID is a number for the ids that are one, as the first clients sent
// them.
func templateID(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
		return n
	}
	return s
}

// signedNotification is one in the signed dialect.
type signedNotification struct {
	ID          int64  `json:"id"`
	To          string `json:"to"`
	Message     string `json:"message,omitempty"`
	CreatedAt   string `json:"createdAt,omitempty"`
	SentAt      string `json:"sentAt,omitempty"`
	DeliveredAt string `json:"deliveredAt,omitempty"`
	Status      string `json:"status"`
	Method      string `json:"method"`
	JobID       int64  `json:"jobId,omitempty"`
	Sender      string `json:"sender,omitempty"`
}

func (c *notifyClient) callSigned(ctx context.Context, method, path string, body []byte) (*notification, error) {
	var out struct {
		Notification *signedNotification `json:"notification"`
	}
	if err := c.call(ctx, method, path, body, &out); err != nil {
		return nil, err
	}
	n := out.Notification
	if n == nil {
		return nil, c.notTheAPI(http.StatusOK)
	}
	return &notification{
		id: strconv.FormatInt(n.ID, 10), to: n.To, status: n.Status,
		final: n.Status == "delivered" || n.Status == "error", failed: n.Status == "error",
		times:  [][2]string{{"created", n.CreatedAt}, {"sent", n.SentAt}, {"delivered", n.DeliveredAt}},
		answer: n,
	}, nil
}

func (c *notifyClient) sendV2(ctx context.Context, channel, to, template string, values map[string]any) (*notification, error) {
	recipient := map[string]string{"sms": "phone_number", "email": "email_address"}[channel]
	request := map[string]any{recipient: to, "template_id": template}
	if len(values) > 0 {
		request["personalisation"] = values
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var answer json.RawMessage
	if err := c.call(ctx, http.MethodPost, "/v2/notifications/"+channel, body, &answer); err != nil {
		return nil, err
	}
	var out struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || out.ID == "" {
		return nil, c.notTheAPI(http.StatusCreated)
	}
	return &notification{id: out.ID, to: to, status: string(storage.StatusCreated), answer: answer}, nil
}

func (c *notifyClient) getV2(ctx context.Context, id string) (*notification, error) {
	var answer json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/v2/notifications/"+url.PathEscape(id), nil, &answer); err != nil {
		return nil, err
	}
	var out struct {
		ID          string  `json:"id"`
		Phone       *string `json:"phone_number"`
		Email       *string `json:"email_address"`
		Status      string  `json:"status"`
		CreatedAt   string  `json:"created_at"`
		SentAt      *string `json:"sent_at"`
		CompletedAt *string `json:"completed_at"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || out.ID == "" {
		return nil, c.notTheAPI(http.StatusOK)
	}
	status := storage.Status(out.Status)
	return &notification{
		id: out.ID, to: fmt.Sprint(orEmpty(out.Phone), orEmpty(out.Email)), status: out.Status,
		final: status.Final(), failed: status.Final() && status != storage.StatusDelivered && status != storage.StatusSent,
		times:  [][2]string{{"created", out.CreatedAt}, {"sent", orEmpty(out.SentAt)}, {"completed", orEmpty(out.CompletedAt)}},
		answer: answer,
	}, nil
}

// orEmpty is what a member says, nothing for null.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
