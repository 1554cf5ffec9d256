package hub

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script is a Console whose user types these lines.
type script struct {
	bytes.Buffer
	lines   []string
	secrets int
}

func (s *script) ReadLine(ctx context.Context, prompt string, secret bool) (string, error) {
	s.WriteString(prompt)
	if secret {
		s.secrets++
	}
	if len(s.lines) == 0 {
		<-ctx.Done()
		return "", ctx.Err()
	}
	text := s.lines[0]
	s.lines = s.lines[1:]
	if text == "^D" {
		return "", io.EOF
	}
	if !secret {
		s.WriteString(text)
	}
	s.WriteString("\n")
	return text, nil
}

func TestTerminal(t *testing.T) {
	many := make([]any, 0, 4)
	for _, id := range []string{"a", "b", "c", "d\x1b[2J"} {
		many = append(many, map[string]any{"id": id, "payload": "PFNpZ25lZEluZm8+"})
	}
	for _, c := range []struct {
		name   string
		lines  []string
		claims map[string]any
		pin    string
		status int
		shows  []string
	}{
		{"yes", []string{"perhaps", "Y"}, nil, "", http.StatusOK, []string{
			site, "client-1", subject, "2 documents", "<SignedInfo>a</SignedInfo>", subject + "_TEST", "Signed.",
		}},
		{"no", []string{"n"}, nil, "", http.StatusForbidden, []string{"Refused."}},
		{"end of input", []string{"^D"}, nil, "", http.StatusForbidden, []string{"Refused."}},
		{"many", []string{"n"}, map[string]any{"payloads": many}, "", http.StatusForbidden, []string{"d<U+001B>[2J"}},
		{"many, shown", []string{"s", "y"}, map[string]any{"payloads": many}, "", http.StatusOK, []string{"     <SignedInfo>"}},
		{"PIN", []string{"y", "0000", secretPIN}, nil, secretPIN, http.StatusOK, []string{"PIN of card", "The PIN was wrong.", "2 tries are left"}},
		{"no PIN", []string{"y", ""}, nil, secretPIN, http.StatusForbidden, []string{"Refused."}},
	} {
		s := &script{lines: c.lines}
		f := newFixture(t, func(config *Config) {
			var err error
			config.Consent, err = NewTerminalConsent(s)
			require.NoError(t, err)
		})
		f.signer.pin = c.pin
		a := f.postSign(f.token(c.claims))
		assert.Equal(t, c.status, a.StatusCode, c.name)
		for _, want := range c.shows {
			assert.Contains(t, s.String(), want, c.name)
		}
		assert.NotContains(t, s.String(), "\x1b", c.name)
		assert.NotContains(t, s.String(), secretPIN, c.name)
		if c.pin == "" {
			assert.Zero(t, s.secrets, c.name)
		}
		if len(c.claims) > 0 && c.lines[0] == "n" {
			assert.NotContains(t, s.String(), "<SignedInfo>")
		}
	}
	_, err := NewTerminalConsent(nil)
	require.Error(t, err)
}

func TestTerminalCertificates(t *testing.T) {
	s := &script{lines: []string{"y", "y", "3", "x", "2", "y", "n"}}
	f := newFixture(t, func(c *Config) { c.Consent, _ = NewTerminalConsent(s) })
	other := goodCertificate(t)
	other.ID = "second"
	f.signer.certificates = append(f.signer.certificates, other)
	a := f.do(call{method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"})
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.Contains(t, s.String(), "to see your certificates")
	assert.Equal(t, http.StatusOK, f.postSign(f.token(map[string]any{"jti": "1"})).StatusCode)
	assert.Equal(t, http.StatusForbidden, f.postSign(f.token(map[string]any{"jti": "2"})).StatusCode)
}
