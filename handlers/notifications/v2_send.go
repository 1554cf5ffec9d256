package notifications

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/simulate"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const maxSupplied = 500 // bytes

// v2SendSMS answers POST /v2/notifications/sms.
func (a *API) v2SendSMS(c *v2Call) (status int, result string) {
	return a.v2Send(c, storage.SMS, v2SMSSchema)
}

// v2SendEmail answers POST /v2/notifications/email.
func (a *API) v2SendEmail(c *v2Call) (status int, result string) {
	return a.v2Send(c, storage.Email, v2EmailSchema)
}

func (a *API) v2Send(c *v2Call, channel storage.Channel, schema v2Schema[v2Message]) (status int, result string) {
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	body, ref := readBody(c.w, c.r)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	rep, ref := a.headerRepeat(c.r, c.id, c.route, body)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	created, ref := a.once(ctx, c.r, c.id, rep, func() (storage.Created, *refusal) {
		return a.v2Create(ctx, c, channel, schema, body, rep)
	})
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	result = resultOK
	if created.Replayed {
		result = resultReplayed
		c.w.Header().Set(headerReplayed, "true")
	}
	n := created.Notification
	a.config.Logger.DebugContext(ctx, "notification accepted",
		"service_id", c.id.ServiceID, "key_name", c.id.KeyName, "id", n.ID, "uuid", n.UUID, "channel", string(channel), "replayed", created.Replayed)
	writeJSON(c.w, http.StatusCreated, a.v2Created(c, n))
	return http.StatusCreated, result
}

// v2Create does what is asked, after the rate limit in this order: daily limit,
// JSON, its members, the channel, template, personalisation, sender, recipient,
// length.
func (a *API) v2Create(ctx context.Context, c *v2Call, channel storage.Channel, schema v2Schema[v2Message], body []byte, rep *repeat) (created storage.Created, ref *refusal) {
	settings, ref := a.settings(ctx, c.r, c.id)
	if ref != nil {
		return created, ref
	}
	now := a.now()
	if ref = a.reached(ctx, c.r, channel, a.daily(c.id, channel, settings.Trial, now), now); ref != nil {
		return created, ref
	}
	m, ref := readV2(a, schema, body)
	if ref != nil {
		return created, ref
	}
	switch {
	case a.config.Senders[channel] == "":
		return created, noProvider(channel)
	case m.hasFile:
		return created, v2Bad(codeNoFiles, "Send files by email has not been set up for this service")
	}
	d := draft{channel: channel, to: m.to.address, reference: m.reference, details: m.details(), trial: settings.Trial}
	p, ref := a.v2Compose(ctx, c, m, &d)
	if ref != nil {
		return created, ref
	}
	if !setSender(&d.details, settings, channel, m.sender) {
		return created, noSender(c, channel, m.sender)
	}
	simulated := simulate.Recipient(channel, d.to)
	if !simulated {
		if ref := a.restricted(c.id, settings, channel, d.to); ref != nil {
			return created, ref
		}
	}
	if ref := a.v2Permit(m.to); ref != nil {
		return created, ref
	}
	if p.tooLong {
		return created, v2Bad(codeTooLong, tooLongText(channel, p.length))
	}
	if simulated {
		return a.simulated(c, d, rep)
	}
	return a.create(ctx, c.r, c.id, d, rep)
}

// readV2 reads a body by a schema; all faults are reported at once.
func readV2(a *API, schema v2Schema[v2Message], body []byte) (m v2Message, ref *refusal) {
	v, err := readJSON(body)
	if err != nil {
		return m, v2Bad(codeInvalidJSON, err.Error())
	}
	if wrong := schema.read(a, &m, v); len(wrong) > 0 {
		return m, v2Invalid(codeInvalid, wrong...)
	}
	return m, nil
}

// details are those of a message, without what the settings add.
func (m *v2Message) details() storage.Details {
	d := storage.Details{
		UnsubscribeURL: m.unsubURL,
		ScheduledFor:   m.scheduled,
		International:  m.to.phone.International,
	}
	// More than that is blanks, which nobody needs to see again.
	if m.to.supplied != m.to.address && len(m.to.supplied) <= maxSupplied {
		d.Supplied = m.to.supplied
	}
	return d
}

// v2Compose finds the template and renders it. What it finds in the length of
// the text is reported later.
func (a *API) v2Compose(ctx context.Context, c *v2Call, m v2Message, d *draft) (problems, *refusal) {
	t, err := a.config.Directory.Template(ctx, c.id.ServiceID, m.template)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return problems{}, v2Bad(codeNoTemplate, "Template not found")
	case err != nil:
		return problems{}, technical(c.r, err)
	case t.Channel != d.channel:
		return problems{}, v2Bad(codeWrongType, fmt.Sprintf("%s template is not suitable for %s notification", t.Channel, d.channel))
	case !t.ArchivedAt.IsZero():
		return problems{}, v2Bad(codeArchived, "Template has been deleted")
	}
	content, p, err := compose(d.channel, t, m.values)
	switch {
	case err != nil:
		return p, &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
	case len(p.missing) > 0:
		return p, v2Bad(codeMissing, "Missing personalisation: "+strings.Join(p.missing, ", "))
	case p.empty:
		return p, v2Bad(codeEmpty, "Your message is empty.")
	}
	d.template, d.content = t, content
	return p, nil
}

func noSender(c *v2Call, channel storage.Channel, id string) *refusal {
	name := "sms_sender_id"
	if channel == storage.Email {
		name = "email_reply_to_id"
	}
	return v2Bad(codeNoSender, fmt.Sprintf("%s %s does not exist in database for service id %s", name, id, c.id.ServiceID))
}

// v2Permit refuses phone numbers that exist but may not be sent to.
func (a *API) v2Permit(to recipientOf) *refusal {
	if to.channel != storage.SMS {
		return nil
	}
	err := a.phones.Permit(to.phone)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, recipient.ErrLandline):
		return &refusal{status: http.StatusBadRequest, code: codeLandline, kind: errorInvalidPhone, text: err.Error()}
	}
	return v2Bad(codeInternational, err.Error())
}

// simulated answers for a recipient that nothing is stored for. A repeated
// request gets the same id, which can be computed again.
func (a *API) simulated(c *v2Call, d draft, rep *repeat) (storage.Created, *refusal) {
	id := uuid.New()
	if rep != nil {
		digest := sha256.Sum256(append(rep.key[:], rep.request...))
		id = uuid.NewHash(sha256.New(), uuid.Nil, digest[:], 8)
	}
	n := a.notification(c.id, d, id)
	return storage.Created{Notification: n}, nil
}
