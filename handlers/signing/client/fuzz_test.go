package client

import (
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzAnswers: whatever a server answers is a response, or an error that is fit
// for a terminal.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"signatures":[{"id":"a","signature":"AA=="}],"certificate":"AA=="}`,
		`{"signature":"AA==","certificate":"AA=="}`,
		`{"signature":"AA==","signatures":[],"certificate":"AA=="}`,
		`{"statusCode":404,"error":"Not Found","message":"Could not find the specified signature response"}`,
		`{"issue":[{"details":{"coding":[{"display":"Invalid Access Token"}]}}]}`,
		"<html>\x1b[31m", "", "null", "[]", `{"message":"\u001b"}`, "\xff\u2028",
	} {
		f.Add(200, seed)
		f.Add(400, seed)
		f.Add(404, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		s := &service{t: t, answer: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(200 + (status&0x7fffffff)%400)
			_, _ = w.Write([]byte(body))
			return true
		}}
		r, err := s.client().Fetch(t.Context(), "dG9rZW4=")
		if err == nil {
			require.NotEmpty(t, r.Signatures)
			require.NotEmpty(t, r.Certificate)
			_, err = r.Verify(t.Context(), Verification{Documents: twoDocuments()})
			require.Error(t, err, "no random bytes are a signature")
			return
		}
		if e, ok := err.(*Error); ok {
			require.True(t, utf8.ValidString(e.Message))
			require.LessOrEqual(t, utf8.RuneCountInString(e.Message), maxMessage)
			require.False(t, strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsGraphic(r) }), "%q", e.Message)
		}
	})
}
