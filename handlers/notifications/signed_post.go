package notifications

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// signedPost answers POST /notifications/sms and /notifications/email.
//
// The token signs the whole request, so a token that has created a
// notification can only mean that one. A refusal is therefore held back until
// it is clear that the token is new: what was accepted stays accepted when the
// template has changed or a limit is used up since.
func (a *API) signedPost(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, rt route, channel storage.Channel) (status int, result string) {
	ctx, cancel := withStorageTimeout(r)
	defer cancel()
	created, ref := a.signedOnce(ctx, r, id, channel)
	if ref != nil {
		return a.refuse(w, r, id, rt, ref)
	}
	result = resultOK
	if created.Replayed {
		result = resultReplayed
		w.Header().Set("Idempotent-Replayed", "true")
	}
	a.config.Logger.DebugContext(ctx, "notification accepted",
		"service_id", id.ServiceID, "key_name", id.KeyName, "id", created.Notification.ID, "channel", string(channel), "replayed", created.Replayed)
	writeJSON(w, http.StatusCreated, signedEnvelope{signedCreated(created.Notification)})
	return http.StatusCreated, result
}

// signedOnce creates the notification, or finds what this token has created
// before. Limits count it once.
func (a *API) signedOnce(ctx context.Context, r *http.Request, id notifyauth.Identity, channel storage.Channel) (created storage.Created, ref *refusal) {
	if !a.config.NoIdempotency {
		first, done := a.twins.begin(id.TokenMAC)
		if first {
			defer a.twins.end(id.TokenMAC, done)
		} else {
			select {
			case <-done:
			case <-ctx.Done():
				return created, technical(r, ctx.Err())
			}
			if n, ok := a.earlier(ctx, id); ok {
				return storage.Created{Notification: n, Replayed: true}, nil
			}
		}
	}
	giveBack, ref := a.take(ctx, r, id)
	if ref == nil {
		created, ref = a.signedCreate(ctx, r, id, channel)
	}
	if ref != nil && ref.cause == nil && !a.config.NoIdempotency {
		if n, ok := a.earlier(ctx, id); ok {
			created, ref = storage.Created{Notification: n, Replayed: true}, nil
		}
	}
	if created.Replayed {
		giveBack()
	}
	return created, ref
}

// earlier returns what this token has created before.
func (a *API) earlier(ctx context.Context, id notifyauth.Identity) (storage.Notification, bool) {
	n, err := a.config.Store.Idempotent(ctx, id.ServiceID, id.TokenMAC[:])
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		a.config.Logger.ErrorContext(ctx, "could not look for an earlier notification of this token", "service_id", id.ServiceID, "error", err)
	}
	return n, err == nil
}

// readBody reads the verified body, whose length is known then.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength <= 0 {
		return io.ReadAll(r.Body)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// signedCreate does what is asked, in this order: channel, JSON, fields and
// template, daily limit.
func (a *API) signedCreate(ctx context.Context, r *http.Request, id notifyauth.Identity, channel storage.Channel) (created storage.Created, ref *refusal) {
	if a.config.Senders[channel] == "" {
		return created, noProvider(channel)
	}
	body, err := readBody(r)
	if err != nil {
		return created, &refusal{status: http.StatusBadRequest, code: codeBodyUnread, text: "The request body could not be read"}
	}
	req, ref := parseSignedRequest(body)
	if ref != nil {
		return created, ref
	}
	d, ref := a.signedDraft(ctx, r, id, channel, req)
	if ref != nil {
		return created, ref
	}
	return a.create(ctx, r, id, d, !a.config.NoIdempotency)
}

func noProvider(channel storage.Channel) *refusal {
	what := "text messages"
	if channel == storage.Email {
		what = "emails"
	}
	return &refusal{status: http.StatusBadRequest, code: codeNoProvider, text: "Service is not allowed to send " + what}
}

// signedDraft checks a request's fields and renders its template. All faults
// are reported at once; an unknown template only counts when there is no
// other.
func (a *API) signedDraft(ctx context.Context, r *http.Request, id notifyauth.Identity, channel storage.Channel, req signedRequest) (draft, *refusal) {
	d := draft{channel: channel}
	wrong := req.wrong
	if _, bad := wrong["to"]; !bad {
		to, err := a.normalise(channel, req.to)
		if err != nil {
			wrong.add("to", err.Error())
		}
		d.to = to
	}
	known := true
	if _, bad := wrong["template"]; !bad {
		t, err := a.config.Directory.Template(ctx, id.ServiceID, req.template)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			known = false
		case err != nil:
			return d, technical(r, err)
		default:
			d.template = t
			c, p, err := compose(channel, t, req.values)
			if err != nil {
				return d, &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
			}
			d.content = c
			if _, bad := wrong["personalisation"]; bad {
				p = problems{wrongChannel: p.wrongChannel} // the others may only follow from it
			}
			p.signedFaults(channel, t, wrong)
		}
	}
	switch {
	case len(wrong) > 0:
		return d, &refusal{status: http.StatusBadRequest, code: codeInvalid, fields: wrong}
	case !known:
		return d, notFound(codeNoTemplate)
	}
	return d, nil
}

func (a *API) normalise(channel storage.Channel, to string) (string, error) {
	if channel == storage.Email {
		return recipient.NormaliseEmail(to)
	}
	return a.phones.Normalise(to)
}

// signedFaults adds the dialect's texts.
func (p problems) signedFaults(channel storage.Channel, t storage.Template, wrong faults) {
	if p.wrongChannel {
		wrong.add("template", fmt.Sprintf("%s template is not suitable for %s notification", t.Channel, channel))
	}
	if len(p.missing) > 0 {
		wrong.add("template", "Missing personalisation: "+strings.Join(p.missing, ", "))
	}
	if len(p.surplus) > 0 {
		wrong.add("template", "Personalisation not needed for template: "+strings.Join(p.surplus, ", "))
	}
	if p.empty {
		wrong.add("content", "Your message is empty.")
	}
	if p.tooLong {
		wrong.add("content", tooLongText(channel, p.length))
	}
}

func tooLongText(channel storage.Channel, length int) string {
	if channel == storage.Email {
		return fmt.Sprintf("Your message is too long. Emails cannot be longer than %d bytes.", message.MaxRenderedBytes)
	}
	text := fmt.Sprintf("Your message is too long. Text messages cannot be longer than %d characters.", message.MaxSMS)
	if length > 0 {
		text += fmt.Sprintf(" Your message is %d characters long.", length)
	}
	return text
}
