package notifications

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// signedGet answers GET /notifications/{id}. An id that can't be one, an
// unknown one and another service's get the same answer.
func (a *API) signedGet(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, text string) (status int, result string) {
	n, ref := a.find(r, id.ServiceID, text)
	if ref != nil {
		return a.refuse(w, r, id, routeGet, ref)
	}
	writeJSON(w, http.StatusOK, signedEnvelope{signedObject(n)})
	return http.StatusOK, resultOK
}

// find looks a notification up by its number or its UUID.
func (a *API) find(r *http.Request, serviceID, text string) (n storage.Notification, ref *refusal) {
	ctx, cancel := withStorageTimeout(r)
	defer cancel()
	var err error
	if number, ok := parseID(text); ok {
		n, err = a.config.Store.NotificationByID(ctx, serviceID, number)
	} else if u, ok := parseUUID(text); ok {
		n, err = a.config.Store.NotificationByUUID(ctx, serviceID, u)
	} else {
		return n, notFound(codeNotFound)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return n, notFound(codeNotFound)
	case err != nil:
		return n, technical(r, err)
	}
	return n, nil
}

// parseID reads an id in its only spelling: decimal ASCII digits, no sign, no
// leading zero, at most 2^63-1.
func parseID(s string) (int64, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseUUID reads a UUID in its usual form of 36 characters only.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	u, err := uuid.Parse(s)
	return u, err == nil
}
