package notifications

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// setSender sets who a notification is from and where answers go: the sender, or
// the address for answers, of that id, or the service's default when id is
// empty. ok is false when there is none of that id.
func setSender(d *storage.Details, s storage.ServiceSettings, channel storage.Channel, id string) (ok bool) {
	if channel == storage.SMS {
		d.From, ok = choose(s.SMSSenders, id, func(o storage.SMSSender) (string, string, bool) { return o.ID, o.Text, o.Default })
		return ok
	}
	d.From = s.EmailFrom
	d.ReplyTo, ok = choose(s.ReplyTo, id, func(o storage.ReplyToAddress) (string, string, bool) { return o.ID, o.Address, o.Default })
	return ok
}

// choose returns the text of the option with that id, and without an id that of
// the default, which is the first when none says so.
func choose[T any](options []T, id string, parts func(T) (id, text string, byDefault bool)) (text string, ok bool) {
	for i, o := range options {
		itsID, itsText, byDefault := parts(o)
		switch {
		case id != "" && strings.EqualFold(itsID, id), id == "" && byDefault:
			return itsText, true
		case id == "" && i == 0:
			text = itsText
		}
	}
	return text, id == ""
}

// settings returns what is set for the caller's service.
func (a *API) settings(ctx context.Context, r *http.Request, id notifyauth.Identity) (storage.ServiceSettings, *refusal) {
	s, err := a.config.Directory.Settings(ctx, id.ServiceID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return s, technical(r, err)
	}
	return s, nil
}
