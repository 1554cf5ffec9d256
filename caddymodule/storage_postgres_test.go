package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestStoragePostgresLimits: what a Caddyfile can't say, JSON can't either.
func TestStoragePostgresLimits(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	t.Setenv("STORAGE_POSTGRES_KEY", base64.StdEncoding.EncodeToString(make([]byte, storage.SecretsKeySize)))
	for text, want := range map[string]string{
		`{}`:                                          "",
		`{"max_connections": 2}`:                      "",
		`{"max_connections": 1}`:                      "max_connections 1: it must be between 2 and 10000",
		`{"max_connections": -1}`:                     "max_connections -1: it must be",
		`{"max_connections": 10001}`:                  "max_connections 10001: it must be",
		`{"connect_timeout": -1000000000}`:            "must be more than 0",
		`{"connect_timeout": 1500000000}`:             "connect_timeout 1.5s: it must be whole seconds",
		`{"statement_timeout": -1}`:                   "must be more than 0",
		`{"statement_timeout": 1000, "pooler": true}`: "can't be set through a pooler",
	} {
		s := StoragePostgres{DSN: "postgres://db.example.org/signpost", SecretsKey: "{env.STORAGE_POSTGRES_KEY}"}
		require.NoError(t, json.Unmarshal([]byte(text), &s), text)
		err := s.Provision(ctx)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
	s := StoragePostgres{StatementTimeout: caddy.Duration(time.Microsecond)}
	dsn, err := s.withTimeouts("host=x")
	require.NoError(t, err)
	require.Equal(t, "host=x statement_timeout=1", dsn, "0 would be no limit")
}
