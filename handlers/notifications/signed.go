package notifications

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Texts of the signed dialect that aren't made where they are used. Those of
// fields are marshmallow's, which validated Notify's requests in 2016.
const (
	textNoRoute  = "The requested URL was not found on the server."
	textMethod   = "The method is not allowed for the requested URL."
	textMissing  = "Missing data for required field."
	textNull     = "Field may not be null."
	textString   = "Not a valid string."
	textMapping  = "Not a valid mapping type."
	textInteger  = "Not a valid integer."
	textPositive = "Not a positive integer"
	textChoice   = "Not a valid choice."
	textTemplate = "Not a valid integer or string."
)

// signedTime is the form of times: microseconds, always six digits, and Z.
const signedTime = "2006-01-02T15:04:05.000000Z"

// signedNotification is the notification object, its members in the order of
// the developer page.
type signedNotification struct {
	ID          int64  `json:"id"`
	To          string `json:"to"`
	Message     string `json:"message"`
	CreatedAt   string `json:"createdAt"`
	SentAt      string `json:"sentAt,omitempty"`
	DeliveredAt string `json:"deliveredAt,omitempty"`
	Status      string `json:"status"`
	Method      string `json:"method"`
	JobID       int64  `json:"jobId"`
	Sender      string `json:"sender"`
}

// signedObject shows a notification as it is now.
func signedObject(n storage.Notification) signedNotification {
	o := signedCreated(n)
	o.Status = signedStatus(n.Status)
	o.SentAt = signedInstant(n.SentAt)
	if n.Status == storage.StatusDelivered {
		o.DeliveredAt = signedInstant(n.CompletedAt)
	}
	return o
}

// signedCreated shows a notification as it was when it was created. It reads
// only fields that never change, so a repeated request gets the same bytes.
func signedCreated(n storage.Notification) signedNotification {
	return signedNotification{
		ID:        n.ID,
		To:        n.To,
		Message:   n.Body,
		CreatedAt: signedInstant(n.CreatedAt),
		Status:    signedStatus(storage.StatusCreated),
		Method:    string(n.Channel),
		JobID:     n.JobID,
		Sender:    n.Sender,
	}
}

func signedInstant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(signedTime)
}

func signedStatus(s storage.Status) string {
	switch s {
	case storage.StatusCreated:
		return "created"
	case storage.StatusSending, storage.StatusPending, storage.StatusSent:
		return "sent"
	case storage.StatusDelivered:
		return "delivered"
	case storage.StatusTemporaryFailure, storage.StatusPermanentFailure, storage.StatusTechnicalFailure:
	}
	return "error"
}

// statusWords are the words by which a list may be filtered: those of this
// dialect and today's.
var statusWords = map[string][]storage.Status{
	"created":           {storage.StatusCreated},
	"sent":              {storage.StatusSending, storage.StatusPending, storage.StatusSent},
	"sending":           {storage.StatusSending},
	"pending":           {storage.StatusPending},
	"delivered":         {storage.StatusDelivered},
	"error":             failures,
	"failed":            failures,
	"temporary-failure": {storage.StatusTemporaryFailure},
	"permanent-failure": {storage.StatusPermanentFailure},
	"technical-failure": {storage.StatusTechnicalFailure},
}

var failures = []storage.Status{storage.StatusTemporaryFailure, storage.StatusPermanentFailure, storage.StatusTechnicalFailure}

type signedEnvelope struct {
	Notification signedNotification `json:"notification"`
}

// writeRefusal writes {"result":"error","message":…}; the message is a text or
// an object of lists by field.
func writeRefusal(w http.ResponseWriter, ref *refusal) {
	setRetryAfter(w, ref.retryAfter)
	if ref.allow != "" {
		w.Header().Set("Allow", ref.allow)
	}
	body := struct {
		Result  string `json:"result"`
		Message any    `json:"message"`
	}{"error", ref.text}
	if len(ref.fields) > 0 {
		body.Message = ref.fields
	}
	writeJSON(w, ref.status, body)
}

// setRetryAfter tells when to try again, rounded up so that whoever obeys doesn't
// come too early; 0 says nothing.
func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
	}
}

// writeJSON writes an answer. What is written are structs of strings and
// numbers, so it can't fail to encode; a client that has gone needs no error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"result":"error","message":"` + textInternalError + `"}`)
	}
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
