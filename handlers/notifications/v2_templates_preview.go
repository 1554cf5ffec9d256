package notifications

import (
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/notifications/message/email"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// v2PreviewObject is a template with its placeholders filled in. Every member
// is always there.
type v2PreviewObject struct {
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	Version int     `json:"version"`
	Body    string  `json:"body"`
	HTML    *string `json:"html"` // of emails
	Subject *string `json:"subject"`
	Postage *string `json:"postage"`
}

// v2Preview answers POST /v2/template/{id}/preview with what would be sent,
// however long it is. It creates nothing and counts nowhere.
func (a *API) v2Preview(c *v2Call) (status int, result string) {
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	body, ref := readBody(c.w, c.r)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	values, wrong, ref := readPreview(body)
	id, wrongID := v2PathTemplate(c)
	if wrong = append(wrongID, wrong...); ref == nil && len(wrong) > 0 {
		ref = v2Invalid(codeInvalid, wrong...)
	}
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	t, ref := a.v2FindTemplate(ctx, c, id, 0)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	content, p, err := compose(t.Channel, t, values)
	switch {
	case err != nil:
		return a.v2Refuse(c, internal(err))
	case len(p.missing) > 0:
		return a.v2Refuse(c, v2Bad(codeMissing, "Missing personalisation: "+strings.Join(p.missing, ", ")))
	case p.tooLong && content.body == "":
		return a.v2Refuse(c, v2Bad(codeTooLong, tooLongText(t.Channel, p.length)))
	}
	answer := v2PreviewObject{ID: v2TemplateID(t.ServiceID, t.ID), Type: string(t.Channel), Version: t.Version, Body: content.body}
	if t.Channel == storage.Email {
		html := email.Fragment(email.Body{Text: content.body, Values: content.values})
		answer.HTML, answer.Subject = &html, &content.subject
	}
	writeJSON(c.w, http.StatusOK, answer)
	return http.StatusOK, resultOK
}

// readPreview reads the body of a preview. No body is an empty one, and members
// other than personalisation are ignored.
func readPreview(body []byte) (values message.Values, wrong []string, ref *refusal) {
	if len(body) == 0 {
		return values, nil, nil
	}
	v, err := readJSON(body)
	switch {
	case err != nil:
		return values, nil, v2Bad(codeInvalidJSON, err.Error())
	case v.falsy():
		return values, nil, nil
	case v.kind != jws.KindObject:
		return values, []string{notOfType(v, "object")}, nil
	}
	item, ok := v.member("personalisation")
	if !ok {
		return values, nil, nil
	}
	values, _, fault := v2Values(item)
	if fault != "" {
		wrong = append(wrong, "personalisation "+fault)
	}
	return values, wrong, nil
}
