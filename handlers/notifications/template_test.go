package notifications

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestCheckTemplate(t *testing.T) {
	sms := storage.Template{ID: "1", Channel: storage.SMS, Body: "Hi ((name))"}
	email := storage.Template{ID: "f5a9a2d6", Channel: storage.Email, Subject: "For ((name))", Body: "x"}
	require.NoError(t, CheckTemplate(sms))
	require.NoError(t, CheckTemplate(email))
	for want, change := range map[string]func(sms, email *storage.Template){
		"no id":                 func(s, _ *storage.Template) { s.ID = "" },
		"at most 255 bytes":     func(s, _ *storage.Template) { s.ID = strings.Repeat("1", 256) },
		"without control":       func(s, _ *storage.Template) { s.ID = "1\n\x00" },
		"sms or email":          func(s, _ *storage.Template) { s.Channel = "letter" },
		"no body":               func(s, _ *storage.Template) { s.Body = " \n" },
		"no subject":            func(s, _ *storage.Template) { s.Subject = "x" },
		"needs a subject":       func(_, e *storage.Template) { e.Subject = "" },
		"not valid UTF-8":       func(_, e *storage.Template) { e.Subject = "\xff" },
		"control characters":    func(s, _ *storage.Template) { s.Body = "\x00" },
		"more than 1000 placeh": func(s, _ *storage.Template) { s.Body = strings.Repeat("((a))", 1001) },
	} {
		s, e := sms, email
		change(&s, &e)
		err := CheckTemplate(s)
		if err == nil {
			err = CheckTemplate(e)
		}
		assert.ErrorContains(t, err, want)
	}
}
