package delivery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// callbackAge is how long after the event a service is still told of it.
	callbackAge = 24 * time.Hour
	// maxCallbackPause bounds what a service may ask for by Retry-After.
	maxCallbackPause = time.Hour
	// maxCallbackAnswer bounds what is read of an answer, which is only done to
	// use the connection again, in bytes.
	maxCallbackAnswer = 4 << 10
)

// callbackBody is what a service is told. The members are those of GOV.UK
// Notify's delivery receipts.
type callbackBody struct {
	ID              string  `json:"id"`
	Reference       *string `json:"reference"`
	To              string  `json:"to"`
	Status          string  `json:"status"`
	CreatedAt       string  `json:"created_at"`
	CompletedAt     *string `json:"completed_at"`
	SentAt          *string `json:"sent_at"`
	Type            string  `json:"notification_type"`
	TemplateID      string  `json:"template_id"`
	TemplateVersion int     `json:"template_version"`
}

// callbackTime is how GOV.UK Notify writes times: six digits and a Z.
const callbackTime = "2006-01-02T15:04:05.000000Z"

func newCallbackBody(n *storage.Notification) ([]byte, error) {
	b := callbackBody{
		ID: n.UUID.String(), To: cmp.Or(n.Details.Supplied, n.To), Status: string(n.Status), CreatedAt: n.CreatedAt.UTC().Format(callbackTime),
		CompletedAt: callbackAt(n.CompletedAt), SentAt: callbackAt(n.SentAt),
		Type: string(n.Channel), TemplateID: storage.TemplateUUID(n.ServiceID, n.TemplateID).String(), TemplateVersion: n.TemplateVersion,
	}
	if n.Reference != "" {
		b.Reference = &n.Reference
	}
	return json.Marshal(b)
}

func callbackAt(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Format(callbackTime))
}

// call tells a service once; nil means that it has taken it. Only Permanent,
// RetryAfter and Reason of a failure count.
func (c *Callbacks) call(t *target, n *storage.Notification) *SendError {
	body, err := newCallbackBody(n)
	if err != nil {
		return &SendError{Permanent: true, Reason: "the callback can't be written"}
	}
	req, err := http.NewRequestWithContext(c.calls, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return &SendError{Permanent: true, Reason: "the request can't be made"}
	}
	req.Header = t.header.Clone()
	res, err := t.client.Do(req)
	if err != nil {
		return &SendError{Reason: outgoing.Describe("the service", err, c.cfg.Timeout), Err: err}
	}
	defer res.Body.Close()
	// The status decides, whatever comes after it.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxCallbackAnswer))
	status := res.StatusCode
	failure := &SendError{Reason: fmt.Sprintf("the service answered %d", status)}
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		failure.Reason += "; redirects are not followed"
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
		failure.Permanent = true
		return failure
	}
	failure.RetryAfter = outgoing.RetryAfter(res.Header, c.cfg.Now)
	return failure
}

// judge turns the end of a call into what is to be recorded: next is when to
// call again, zero for never.
func (c *Callbacks) judge(claim *storage.CallbackClaim, failure *SendError) (result CallbackResult, next time.Time, reason string) {
	now := c.cfg.Now()
	switch {
	case failure == nil:
		return CallbackDone, time.Time{}, ""
	case errors.Is(context.Cause(c.calls), errStopped) && errors.Is(failure.Err, context.Canceled):
		return CallbackReturned, now, "the server stopped during the call"
	case failure.Permanent:
		return CallbackRefused, time.Time{}, failure.Reason
	case claim.Attempts > c.cfg.Retries:
		return CallbackGaveUp, time.Time{}, failure.Reason
	}
	return CallbackRetry, now.Add(c.pause(claim.Attempts, failure.RetryAfter)), failure.Reason
}

// pause is how long to wait after that many calls.
func (c *Callbacks) pause(calls int, retryAfter time.Duration) time.Duration {
	mean := c.cfg.Pause
	for range calls - 1 {
		mean = min(time.Duration(c.cfg.Factor)*mean, maxCallbackPause)
	}
	d := time.Duration((0.5 + c.random()) * float64(mean))
	// A wish may make the pause longer, never shorter.
	return max(d, min(retryAfter, maxCallbackPause))
}
