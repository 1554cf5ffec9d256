package notifications

import (
	"strconv"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// v2Accepted is the answer to a request to send. It is made of what never
// changes, so a repeated request gets the same bytes.
type v2Accepted struct {
	ID           string        `json:"id"`
	Reference    *string       `json:"reference"`
	URI          string        `json:"uri"`
	Template     v2TemplateRef `json:"template"`
	ScheduledFor *string       `json:"scheduled_for"`
	Content      any           `json:"content"`
	// SanitisedContent is an empty object in answers for emails, absent in others.
	SanitisedContent *struct{} `json:"sanitised_content,omitempty"`
}

// v2TemplateRef names the template of a notification.
type v2TemplateRef struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	URI     string `json:"uri"`
}

type v2SMSContent struct {
	Body       string  `json:"body"`
	FromNumber *string `json:"from_number"`
}

type v2EmailContent struct {
	Body                   string  `json:"body"`
	Subject                string  `json:"subject"`
	FromEmail              *string `json:"from_email"`
	OneClickUnsubscribeURL *string `json:"one_click_unsubscribe_url"`
}

func (a *API) v2Created(c *v2Call, n storage.Notification) v2Accepted {
	template := v2TemplateID(n.ServiceID, n.TemplateID)
	answer := v2Accepted{
		ID:        n.UUID.String(),
		Reference: v2Text(n.Reference),
		URI:       c.notificationURI(n),
		Template: v2TemplateRef{
			ID:      template,
			Version: n.TemplateVersion,
			URI:     c.root + "/services/" + n.ServiceID + "/templates/" + template,
		},
		ScheduledFor: v2Instant(n.Details.ScheduledFor),
	}
	if n.Channel == storage.SMS {
		answer.Content = v2SMSContent{Body: n.Body, FromNumber: v2Text(n.Details.From)}
		return answer
	}
	answer.Content = v2EmailContent{
		Body: n.Body, Subject: n.Subject,
		FromEmail:              v2Text(a.emailFrom(n)),
		OneClickUnsubscribeURL: v2Text(n.Details.UnsubscribeURL),
	}
	answer.SanitisedContent = &struct{}{}
	return answer
}

// emailFrom is the address that an email is from, empty when it isn't known.
func (a *API) emailFrom(n storage.Notification) string {
	if n.Details.From != "" {
		return n.Details.From
	}
	return a.config.EmailFrom
}

// templateURI is where a version of a template can be read.
func (c *v2Call) templateURI(serviceID, templateID string, version int) string {
	return c.root + "/v2/template/" + v2TemplateID(serviceID, templateID) + "/version/" + strconv.Itoa(version)
}
