package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// deadLetterList is a page of what was given up, newest first: why and when,
// and neither recipients nor texts.
type deadLetterList struct {
	DeadLetters []deliveryInfo `json:"dead_letters"`
	// Next is the value of before for the next page, 0 at the end.
	Next int64 `json:"next,omitempty"`
}

func (a *App) deadLetters() *delivery.DeadLetters {
	return &delivery.DeadLetters{Outbox: a.handle.Backend(), Now: clock, Logger: a.slogger}
}

const defaultDeadLetters = 50

func listDeadLetters(app *App, r *http.Request) (int, any, error) {
	q, err := deadLetterQuery(r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	found, err := app.deadLetters().List(r.Context(), q)
	if err != nil {
		return 0, nil, err
	}
	out := deadLetterList{DeadLetters: make([]deliveryInfo, len(found))}
	for i := range found {
		out.DeadLetters[i] = describeNotification(&found[i])
	}
	if len(found) == q.Limit {
		out.Next = found[len(found)-1].ID
	}
	return http.StatusOK, out, nil
}

// deadLetterQuery refuses names that it doesn't know, as a filter with a typing
// error would select everything.
func deadLetterQuery(values url.Values) (q storage.DeadLetterQuery, err error) {
	q.Limit = defaultDeadLetters
	for name := range values {
		text := values.Get(name)
		if text == "" || len(values[name]) > 1 {
			return q, &directory.InputError{Text: name + " must be given once, with a value"}
		}
		switch name {
		case "service":
			q.ServiceID = text
		case "limit":
			n, bad := strconv.Atoi(text)
			if bad != nil || n < 1 || n > storage.MaxPage {
				return q, &directory.InputError{Text: fmt.Sprintf("limit %q: it must be a number from 1 to %d", text, storage.MaxPage)}
			}
			q.Limit = n
		case "before":
			n, bad := strconv.ParseInt(text, 10, 64)
			if bad != nil || n < 1 {
				return q, &directory.InputError{Text: fmt.Sprintf("before %q: it must be a notification's id", text)}
			}
			q.Before = n
		case "since":
			q.Since, err = readMoment(name, text)
		case "until":
			q.Until, err = readMoment(name, text)
		default:
			err = &directory.InputError{Text: fmt.Sprintf("unknown parameter %q; there are: service, limit, before, since, until", name)}
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func readMoment(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &directory.InputError{Text: fmt.Sprintf("%s %q: it must be a time such as 2026-11-22T12:00:00Z", name, text)}
	}
	return t, nil
}

// retryRequest says which dead letters are to be tried again.
type retryRequest struct {
	IDs     []int64    `json:"ids,omitempty"`
	Service string     `json:"service,omitempty"`
	Since   *time.Time `json:"since,omitempty"` // of when they were given up
	Until   *time.Time `json:"until,omitempty"`
	All     bool       `json:"all,omitempty"` // required when nothing else is given
}

// meant reports whether it says either which, or all.
func (r *retryRequest) meant() bool {
	narrowed := len(r.IDs) > 0 || r.Service != "" || r.Since != nil || r.Until != nil
	return narrowed != r.All
}

type retryAnswer struct {
	Retried int `json:"retried"`
}

func retryDeadLetters(app *App, r *http.Request) (int, any, error) {
	var in retryRequest
	if err := readJSON(r, &in); err != nil {
		return 0, nil, err
	}
	switch {
	case !in.meant():
		return 0, nil, &directory.InputError{Text: "name ids, a service or a time, or else say all: true"}
	case len(in.IDs) > storage.MaxPage:
		return 0, nil, &directory.InputError{Text: fmt.Sprintf("%d ids: at most %d at once", len(in.IDs), storage.MaxPage)}
	}
	q := storage.DeadLetterQuery{IDs: in.IDs, ServiceID: in.Service}
	if in.Since != nil {
		q.Since = *in.Since
	}
	if in.Until != nil {
		q.Until = *in.Until
	}
	n, err := app.deadLetters().Retry(r.Context(), q)
	if err != nil {
		return 0, nil, fmt.Errorf("after %d were queued again: %w", n, err)
	}
	return http.StatusOK, retryAnswer{n}, nil
}
