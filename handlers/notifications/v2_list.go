package notifications

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// v2PageSize is the number of objects on a page of this dialect's lists.
	v2PageSize = 250
	// v2PageBytes is how long the texts on a page may be together, so that 250
	// emails of the largest size aren't held in memory at once: the page ends
	// earlier then. Clients go by the link to the next one.
	v2PageBytes = 8 << 20
	// v2PagePart is how many notifications are asked for at first, and again and
	// again when they are long; otherwise all the others come at once.
	v2PagePart = 50
)

type v2Page struct {
	Notifications []v2Notification `json:"notifications"`
	Links         v2Links          `json:"links"`
}

// v2Links are absolute. Next is there whenever the page holds anything, though
// the next one may be empty: clients read on until it is.
type v2Links struct {
	Current string `json:"current"`
	Next    string `json:"next,omitempty"`
}

// v2List answers GET /v2/notifications: those of the caller's key type, newest
// first.
func (a *API) v2List(c *v2Call) (status int, result string) {
	f, ref := parseV2Filter(c.query)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	page, err := a.v2Select(ctx, c, f)
	if err != nil {
		return a.v2Refuse(c, technical(c.r, err))
	}
	answer := v2Page{Notifications: make([]v2Notification, 0, len(page))}
	var last uuid.NullUUID
	for _, n := range page {
		answer.Notifications = append(answer.Notifications, c.v2Object(n))
		last = uuid.NullUUID{UUID: n.UUID, Valid: true}
	}
	answer.Links = f.links(c.root+v2Prefix+"/notifications", last)
	writeJSON(c.w, http.StatusOK, answer)
	return http.StatusOK, resultOK
}

// v2Select returns the page that a filter asks for: nothing when it begins at a
// notification that the service doesn't have, or no longer.
func (a *API) v2Select(ctx context.Context, c *v2Call, f v2Filter) ([]storage.Notification, error) {
	q, possible := f.storageQuery()
	if !possible {
		return nil, nil
	}
	q.ServiceID, q.KeyTypes, q.Limit = c.id.ServiceID, []storage.KeyType{keyType(c.id)}, v2PagePart
	if f.olderThan.Valid {
		n, err := a.config.Store.NotificationByUUID(ctx, q.ServiceID, f.olderThan.UUID)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, err
		}
		q.Before = n.ID
	}
	return a.v2Gather(ctx, q)
}

// v2Gather reads a page part by part. It has one notification at least if there
// is any.
func (a *API) v2Gather(ctx context.Context, q storage.Query) ([]storage.Notification, error) {
	var page []storage.Notification
	size := 0
	for len(page) < v2PageSize {
		part, err := a.config.Store.Notifications(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, n := range part.Notifications {
			size += len(n.Subject) + len(n.Body)
			if size > v2PageBytes && len(page) > 0 {
				return page, nil
			}
			page = append(page, n)
		}
		if len(part.Notifications) < q.Limit {
			break
		}
		q.Before = page[len(page)-1].ID
		if size < v2PageBytes/8 {
			q.Limit = v2PageSize - len(page)
		}
	}
	return page, nil
}
