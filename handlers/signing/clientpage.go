package signing

import (
	"context"
	"errors"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// client answers GET /client. It changes nothing in the storage: those who
// look at a link before its reader does must not use it up.
func (a *API) client(w http.ResponseWriter, r *http.Request) (status int, result string) {
	ctx, cancel := withTimeout(r)
	defer cancel()
	v, reason, err := a.view(ctx, r)
	switch {
	case err != nil:
		a.config.Logger.ErrorContext(ctx, "page failed", "route", string(routeClient), "code", reason, "error", err)
	case reason != resultOK:
		a.config.Logger.InfoContext(ctx, "page refused", "route", string(routeClient), "code", reason)
	}
	if v.State == page.StateReady {
		giveCookie(w, r, v.Token)
	}
	if v.State == page.StateError {
		setRetryAfter(w.Header(), unavailableRetry)
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	a.config.Page.Render(seen, r, v)
	return seen.status, reason
}

// statusWriter remembers the status that another handler chose.
type statusWriter struct {
	http.ResponseWriter

	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// view finds what the page is to say. An error is a technical one.
func (a *API) view(ctx context.Context, r *http.Request) (v page.View, reason string, err error) {
	query := r.URL.Query()
	if query.Has("mock") && a.config.Mock == nil {
		return page.View{State: page.StateMockOff}, codeMockOff, nil
	}
	v = page.View{State: page.StateUnknown, Mock: query.Get("mock") == "true"}
	token := query.Get("token")
	digest, ok := a.digest(token)
	if !ok {
		return v, codeToken, nil
	}
	req, err := a.config.Store.SigningRequest(ctx, digest)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return v, codeUnknown, nil
	case err != nil:
		v.State = page.StateError
		return v, codeUnavailable, err
	}
	if ref := gone(&req, a.config.Now()); ref != nil {
		if ref.code == codeExpired && req.Status != storage.SigningSigned {
			v.State = page.StateExpired
		}
		return v, ref.code, nil
	}
	switch req.Status {
	case storage.SigningDownloaded:
		v.State = page.StateDownloaded
		return v, codeDownloaded, nil
	case storage.SigningSigned, storage.SigningRetrieved:
		v.State = page.StateSigned
		return v, codeSigned, nil
	case storage.SigningRequested:
	}
	return a.readyView(ctx, v, token, &req)
}

// readyView says who asks whom for what. A client that has been ended since
// can't be returned to, so its requests are unknown.
func (a *API) readyView(ctx context.Context, v page.View, token string, req *storage.SigningRequest) (page.View, string, error) {
	client, err := a.config.Clients.Client(ctx, req.Client)
	switch {
	case errors.Is(err, ErrUnknownClient), err == nil && client == nil:
		return v, codeClientUnknown, nil
	case err != nil:
		v.State = page.StateError
		return v, codeUnavailable, err
	}
	_, c, err := reread(req.JWT)
	if err != nil {
		v.State = page.StateError
		return v, codeInternal, err
	}
	v.State = page.StateReady
	v.Token = token
	v.ClientName, v.ClientID = client.Name, req.Client
	v.Subject = c.subject
	v.Documents = len(c.documents)
	v.Deadline = req.Deadline
	return v, resultOK, nil
}
