package caddymodule

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
)

// minSecret is the least length of a secret in the configuration: RFC 7518,
// section 3.2, asks for a key at least as long as the hash, 32 bytes.
const minSecret = 32

// Secret is a secret as written in the configuration: best a placeholder such
// as `{env.NAME}` or `{file./run/secrets/name}`, which is expanded when the
// configuration loads. The JSON keeps the placeholder, so that the admin
// endpoint does not show the value; a literal secret is shown there and in the
// autosaved configuration, and a warning says so.
type Secret string

// expand returns the value. A placeholder that is unknown, or that has no
// value, is an error: a missing file must stop the load and not make an empty
// secret.
func (s Secret) expand(what string, logger *zap.Logger) (string, error) {
	value, err := s.expandQuietly(what)
	if err == nil && value == string(s) {
		logger.Warn("a secret is written literally in the configuration; anyone who can read the configuration or the admin endpoint can read it: use {env.*} or {file.*}",
			zap.String("secret", what))
	}
	return value, err
}

// expandQuietly is expand for values that need not be secret.
func (s Secret) expandQuietly(what string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("%s is empty", what)
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(string(s), true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	value = strings.TrimSpace(value) // of files that end in a blank line
	if value == "" {
		return "", fmt.Errorf("%s: %s has no value", what, string(s))
	}
	return value, nil
}

// expandKey is expand for secrets that sign or seal.
func (s Secret) expandKey(what string, logger *zap.Logger) (string, error) {
	value, err := s.expand(what, logger)
	if err != nil {
		return "", err
	}
	if len(value) < minSecret {
		return "", fmt.Errorf("%s has %d characters, it needs at least %d: `caddy signpost key generate` makes one",
			what, len(value), minSecret)
	}
	return value, nil
}

// String keeps the secret out of formatted text.
func (Secret) String() string { return "REDACTED" }

// MarshalLogObject keeps the secret out of structured logs.
func (Secret) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("secret", "REDACTED")
	return nil
}
