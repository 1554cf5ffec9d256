package notifications

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// signedPost answers POST /notifications/sms and /notifications/email.
func (a *API) signedPost(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, rt route, channel storage.Channel) (status int, result string) {
	ctx, cancel := withStorageTimeout(r)
	defer cancel()
	body, ref := readBody(w, r)
	if ref != nil {
		return a.refuse(w, r, id, rt, ref)
	}
	rep, ref := a.signedRepeat(r, id, rt, body)
	if ref != nil {
		return a.refuse(w, r, id, rt, ref)
	}
	created, ref := a.once(ctx, r, id, rep, func() (storage.Created, *refusal) {
		return a.signedCreate(ctx, r, id, channel, body, rep)
	})
	if ref != nil {
		return a.refuse(w, r, id, rt, ref)
	}
	result = resultOK
	if created.Replayed {
		result = resultReplayed
		w.Header().Set(headerReplayed, "true")
	}
	a.config.Logger.DebugContext(ctx, "notification accepted",
		"service_id", id.ServiceID, "key_name", id.KeyName, "id", created.Notification.ID, "channel", string(channel), "replayed", created.Replayed)
	writeJSON(w, http.StatusCreated, signedEnvelope{signedCreated(created.Notification)})
	return http.StatusCreated, result
}

// signedRepeat makes the token stand for the request, which it signs. Tokens of
// V2 sign nothing, and clients use them again: there it takes a header.
func (a *API) signedRepeat(r *http.Request, id notifyauth.Identity, rt route, body []byte) (*repeat, *refusal) {
	if a.config.Dialect == notifyauth.V2 {
		return a.headerRepeat(r, id, rt, body)
	}
	if a.config.NoIdempotency {
		return nil, nil
	}
	return a.tokenRepeat(id), nil
}

// signedCreate does what is asked, in this order: channel, JSON, fields and
// template, recipient, daily limit.
func (a *API) signedCreate(ctx context.Context, r *http.Request, id notifyauth.Identity, channel storage.Channel, body []byte, rep *repeat) (created storage.Created, ref *refusal) {
	if a.config.Senders[channel] == "" {
		return created, noProvider(channel)
	}
	req, ref := parseSignedRequest(body)
	if ref != nil {
		return created, ref
	}
	d, ref := a.signedDraft(ctx, r, id, channel, req)
	if ref != nil {
		return created, ref
	}
	return a.create(ctx, r, id, d, rep)
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
		case errors.Is(err, storage.ErrNotFound), err == nil && !t.ArchivedAt.IsZero():
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
	return a.signedSettle(ctx, r, id, d)
}

// signedSettle adds what the service's settings say. This dialect is older than
// guest lists: team keys are bound to one only when the service has it.
func (a *API) signedSettle(ctx context.Context, r *http.Request, id notifyauth.Identity, d draft) (draft, *refusal) {
	s, ref := a.settings(ctx, r, id)
	if ref != nil {
		return d, ref
	}
	if s.Trial || len(s.GuestList) > 0 {
		if ref := a.restricted(id, s, d.channel, d.to); ref != nil {
			ref.fields = faults{"to": {ref.text}}
			return d, ref
		}
	}
	setSender(&d.details, s, d.channel, "")
	d.trial = s.Trial
	if d.channel == storage.SMS && a.config.International {
		phone, err := a.phones.Parse(d.to)
		d.details.International = err == nil && phone.International
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
