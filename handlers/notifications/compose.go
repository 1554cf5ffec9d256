package notifications

import (
	"errors"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// content is a rendered message.
type content struct {
	subject, body string
	values        string // where they are in an email's body, see storage.Details
}

// problems are what keeps a template and its values from being a message. They
// are facts; each dialect has its own words and fields for them.
type problems struct {
	wrongChannel     bool
	missing, surplus []string
	empty            bool
	tooLong          bool
	length           int // of the text that is too long, 0 when it wasn't counted
}

// compose renders a template for a channel. An error is a template that can't
// be parsed: a fault of whoever stored it.
func compose(channel storage.Channel, t storage.Template, values message.Values) (content, problems, error) {
	if t.Channel != channel {
		return content{}, problems{wrongChannel: true}, nil
	}
	body, err := message.Parse(t.Body)
	if err != nil {
		return content{}, problems{}, fmt.Errorf("template %s version %d: %w", t.ID, t.Version, err)
	}
	templates := []*message.Template{body}
	if channel == storage.Email {
		subject, err := message.Parse(t.Subject)
		if err != nil {
			return content{}, problems{}, fmt.Errorf("template %s version %d: subject: %w", t.ID, t.Version, err)
		}
		templates = []*message.Template{subject, body}
	}
	var p problems
	p.missing, p.surplus = values.Check(templates...)
	if len(p.missing) > 0 {
		return content{}, p, nil
	}
	c, err := render(channel, templates, values)
	switch {
	case errors.Is(err, message.ErrTooLarge):
		p.tooLong = true
	case err != nil:
		return content{}, p, err
	case c.body == "":
		p.empty = true
	case channel == storage.SMS:
		p.length = message.Characters(c.body)
		p.tooLong = p.length > message.MaxSMS
	}
	return c, p, nil
}

// render renders the body, which comes last, and an email's subject.
func render(channel storage.Channel, templates []*message.Template, values message.Values) (content, error) {
	if channel == storage.SMS {
		text, err := templates[0].Render(values, message.Inline)
		return content{body: message.SMS(text)}, err
	}
	subject, err := templates[0].Render(values, message.Inline)
	if err != nil {
		return content{}, err
	}
	body, spans, err := templates[1].Email(values)
	return content{subject: message.Subject(subject), body: body, values: spans}, err
}
