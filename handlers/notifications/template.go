package notifications

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// CheckTemplate says what is wrong with a template before it is used: its
// channel must be known, it needs a body, an email needs a subject and a text
// message has none, and the texts must parse.
func CheckTemplate(t storage.Template) error {
	switch {
	case t.ID == "":
		return errors.New("it has no id")
	case len(t.ID) > maxTemplateID || message.HasControl(t.ID) || !utf8.ValidString(t.ID):
		return fmt.Errorf("its id must be text of at most %d bytes without control characters", maxTemplateID)
	case !t.Channel.Known():
		return fmt.Errorf("type %q: it must be sms or email", t.Channel)
	case strings.TrimSpace(t.Body) == "":
		return errors.New("it has no body")
	case t.Channel == storage.Email && strings.TrimSpace(t.Subject) == "":
		return errors.New("an email needs a subject")
	case t.Channel == storage.SMS && t.Subject != "":
		return errors.New("a text message has no subject")
	}
	for _, text := range []string{t.Subject, t.Body} {
		if _, err := message.Parse(text); err != nil {
			return err
		}
	}
	return nil
}
