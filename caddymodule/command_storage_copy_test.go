package caddymodule

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/copy"
)

func TestCopyPlaces(t *testing.T) {
	key := bytes.Repeat([]byte{7}, storage.SecretsKeySize)
	text := base64.StdEncoding.EncodeToString(key)
	dsn := "postgres://signpost@db.example.org/signpost"
	file := filepath.Join(t.TempDir(), "dsn")
	require.NoError(t, os.WriteFile(file, []byte(dsn+"\n"), 0o600))
	for value, want := range map[string]string{
		dsn:                      dsn,
		"postgresql://x/y":       "postgresql://x/y",
		"postgres:host=x user=y": "host=x user=y",
		"postgres:@" + file:      dsn,
	} {
		p, err := copyPlace("--to", value, "--secrets-key", text, "")
		require.NoError(t, err, value)
		assert.Nil(t, p.SQLite)
		assert.Equal(t, want, p.Postgres.DSN)
		assert.Equal(t, key, p.Postgres.SecretsKey)
	}
	p, err := copyPlace("--from", "sqlite:a.db", "--from-secrets-key", "", "")
	require.NoError(t, err)
	assert.Equal(t, "a.db", p.SQLite.Path)
	assert.Nil(t, p.SQLite.SecretsKey, "that of the file beside the database")

	t.Setenv(secretsKeyEnv, text)
	p, err = copyPlace("--to", dsn, "--secrets-key", "", secretsKeyEnv)
	require.NoError(t, err)
	assert.Equal(t, key, p.Postgres.SecretsKey)
	t.Setenv(secretsKeyEnv, "")

	for value, want := range map[string]string{
		"": "--to: write sqlite:<path>", "sqlite:": "--to: write", "postgres:": "--to: write", "mysql://x": "--to: write",
		"a.db": "--to: write", "postgres:@" + file + "x": "no such file", dsn: "--secrets-key is required",
	} {
		_, err := copyPlace("--to", value, "--secrets-key", "", "")
		require.ErrorContains(t, err, want, value)
	}
	_, err = copyPlace("--to", "sqlite:a.db", "--secrets-key", "short", "")
	require.ErrorContains(t, err, "--secrets-key must be 32 bytes as base64")
}

func TestCopyProgress(t *testing.T) {
	steps := []copy.Progress{
		{Table: "service", AllTotal: 2000},
		{Table: "notification", Done: 1000, Rows: 2000, AllDone: 1000, AllTotal: 2000},
		{Table: "notification", Done: 2000, Rows: 2000, AllDone: 2000, AllTotal: 2000},
		{Table: "callback", AllDone: 2000, AllTotal: 2000},
	}
	for name, tc := range map[string]struct {
		terminal bool
		want     string
	}{
		"lines for a log":    {false, "  0 %  0 of 2,000 rows  service\n100 %  2,000 of 2,000 rows  notification\n"},
		"a bar on one line":  {true, "\r[" + strings.Repeat(".", barWidth) + "]   0 %  0 of 2,000 rows"},
		"that is full later": {true, "[" + strings.Repeat("#", barWidth) + "] 100 %  2,000 of 2,000 rows"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(&out, tc.terminal)
			for _, s := range steps {
				p.show(s)
			}
			p.end()
			p.end()
			assert.Contains(t, out.String(), tc.want)
			if tc.terminal {
				assert.Equal(t, 1, strings.Count(out.String(), "\n"))
				return
			}
			assert.Equal(t, tc.want, out.String())
		})
	}
	var none bytes.Buffer
	newProgress(&none, true).end()
	assert.Empty(t, none.String())
}
