package notifications

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// v2TemplateObject is a version of a template. Every member is always there.
type v2TemplateObject struct {
	ID        string  `json:"id"`
	Type      string  `json:"type"`
	Name      string  `json:"name"`
	CreatedAt *string `json:"created_at"`
	// UpdatedAt is when this version was made, null for the first.
	UpdatedAt          *string               `json:"updated_at"`
	CreatedBy          *string               `json:"created_by"`
	Version            int                   `json:"version"`
	Body               string                `json:"body"`
	Subject            *string               `json:"subject"`
	Personalisation    map[string]v2Required `json:"personalisation"`
	Postage            *string               `json:"postage"`
	LetterContactBlock *string               `json:"letter_contact_block"`
}

// v2Required is what is said of a placeholder.
type v2Required struct {
	Required bool `json:"required"`
}

type v2TemplateList struct {
	Templates []v2TemplateObject `json:"templates"`
}

// v2Template answers GET /v2/template/{id}: the newest version, of an archived
// template too.
func (a *API) v2Template(c *v2Call) (status int, result string) {
	return a.v2ShowTemplate(c, "")
}

// v2TemplateVersion answers GET /v2/template/{id}/version/{n}.
func (a *API) v2TemplateVersion(c *v2Call) (status int, result string) {
	return a.v2ShowTemplate(c, c.args[1])
}

func (a *API) v2ShowTemplate(c *v2Call, versionText string) (status int, result string) {
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	id, wrong := v2PathTemplate(c)
	version := 0
	if versionText != "" {
		var fault string
		if version, fault = parseVersion(versionText); fault != "" {
			wrong = append(wrong, "version "+quotedText(versionText)+" "+fault)
		}
	}
	if len(wrong) > 0 {
		return a.v2Refuse(c, v2Invalid(codeInvalid, wrong...))
	}
	t, ref := a.v2FindTemplate(ctx, c, id, version)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	o, err := v2ObjectOfTemplate(t)
	if err != nil {
		return a.v2Refuse(c, internal(err))
	}
	writeJSON(c.w, http.StatusOK, o)
	return http.StatusOK, resultOK
}

// v2PathTemplate returns the template's id of a path, or what is wrong with it.
func v2PathTemplate(c *v2Call) (id string, wrong []string) {
	u, ok := parseUUID(c.args[0])
	if !ok {
		return "", []string{"id " + textNotUUID}
	}
	return u.String(), nil
}

// noVersion is a version that no template has.
const noVersion = -1

// parseVersion reads the version of a path, or says what is wrong with it.
func parseVersion(text string) (version int, fault string) {
	version, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) && text[0] != '-':
		return noVersion, ""
	case errors.Is(err, strconv.ErrRange), err == nil && version < 1:
		return 0, "is less than the minimum of 1"
	case err != nil:
		return 0, "is not of type integer, null"
	}
	return version, ""
}

// v2FindTemplate finds a version of a template, the newest when version is 0.
func (a *API) v2FindTemplate(ctx context.Context, c *v2Call, id string, version int) (t storage.Template, ref *refusal) {
	var err error
	switch version {
	case 0:
		t, err = a.config.Directory.Template(ctx, c.id.ServiceID, id)
	case noVersion:
		err = storage.ErrNotFound
	default:
		t, err = a.config.Directory.TemplateVersion(ctx, c.id.ServiceID, id, version)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return t, v2NotFound(codeNotFound)
	case err != nil:
		return t, technical(c.r, err)
	}
	return t, nil
}

// v2Templates answers GET /v2/templates: the newest versions of the templates
// that are not archived, by name.
func (a *API) v2Templates(c *v2Call) (status int, result string) {
	q, ref := parseV2Query(c.query)
	if ref != nil {
		return a.v2Refuse(c, ref)
	}
	channel := storage.Channel(q.word("type", v2Types))
	if ref := q.refusal("type"); ref != nil {
		return a.v2Refuse(c, ref)
	}
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	all, err := a.config.Directory.Templates(ctx, c.id.ServiceID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return a.v2Refuse(c, technical(c.r, err))
	}
	shown := make([]storage.Template, 0, len(all))
	for _, t := range all {
		if t.ArchivedAt.IsZero() && (channel == "" || t.Channel == channel) {
			shown = append(shown, t)
		}
	}
	slices.SortStableFunc(shown, func(x, y storage.Template) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Channel, y.Channel), cmp.Compare(x.ID, y.ID))
	})
	answer := v2TemplateList{Templates: make([]v2TemplateObject, 0, len(shown))}
	for _, t := range shown {
		o, err := v2ObjectOfTemplate(t)
		if err != nil {
			return a.v2Refuse(c, internal(err))
		}
		answer.Templates = append(answer.Templates, o)
	}
	writeJSON(c.w, http.StatusOK, answer)
	return http.StatusOK, resultOK
}

// v2ObjectOfTemplate fails for a template that can't be parsed.
func v2ObjectOfTemplate(t storage.Template) (v2TemplateObject, error) {
	o := v2TemplateObject{
		ID:              v2TemplateID(t.ServiceID, t.ID),
		Type:            string(t.Channel),
		Name:            t.Name,
		CreatedAt:       v2Instant(t.FirstAt),
		Version:         t.Version,
		Body:            t.Body,
		Personalisation: map[string]v2Required{},
	}
	if t.Version > 1 {
		o.UpdatedAt = v2Instant(t.CreatedAt)
	}
	texts := []string{t.Body}
	if t.Channel == storage.Email {
		o.Subject = &t.Subject
		texts = []string{t.Subject, t.Body}
	}
	seen := map[string]bool{}
	for _, text := range texts {
		parsed, err := message.Parse(text)
		if err != nil {
			return o, fmt.Errorf("template %s version %d: %w", t.ID, t.Version, err)
		}
		for _, n := range parsed.Names() {
			if !seen[n.Key] {
				seen[n.Key] = true
				o.Personalisation[n.Text] = v2Required{true}
			}
		}
	}
	return o, nil
}

func internal(err error) *refusal {
	return &refusal{status: http.StatusInternalServerError, code: codeInternal, text: textInternalError, cause: err}
}
