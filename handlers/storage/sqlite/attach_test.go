package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func alter(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	for _, s := range statements {
		_, err := db.ExecContext(t.Context(), s)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
}

// A source in use is seen at one moment, and can't be written to.
func TestAttachSourceInUse(t *testing.T) {
	ctx := t.Context()
	cfg := Config{Path: filepath.Join(t.TempDir(), "signpost.db"), OpenWait: time.Millisecond}
	s := New(cfg)
	require.NoError(t, s.Open(ctx))
	a, err := AttachSource(ctx, cfg, true)
	require.NoError(t, err)
	assert.True(t, a.Live)
	key, err := s.SecretsKey(ctx)
	require.NoError(t, err)
	assert.Equal(t, key, a.SecretsKey)
	services := func(tx *sql.Tx) (n int) {
		t.Helper()
		require.NoError(t, tx.QueryRowContext(ctx, "SELECT count(*) FROM service").Scan(&n))
		return n
	}
	tx, err := a.DB.BeginTx(ctx, nil)
	require.NoError(t, err)
	assert.Zero(t, services(tx))
	require.NoError(t, s.PutService(ctx, storage.Service{ID: "a", Name: "A", CreatedAt: time.Now()}))
	assert.Zero(t, services(tx))
	require.NoError(t, tx.Rollback())
	tx, err = a.DB.BeginTx(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, services(tx))
	_, err = tx.ExecContext(ctx, "DELETE FROM service")
	require.ErrorContains(t, err, "readonly")
	require.NoError(t, tx.Rollback())
	require.NoError(t, a.Close())
	_, err = AttachTarget(ctx, cfg)
	require.ErrorContains(t, err, "in use by")
	require.NoError(t, s.Close())

	// Nobody uses it, and nobody can while it is attached.
	a, err = AttachSource(ctx, cfg, true)
	require.NoError(t, err)
	assert.False(t, a.Live)
	require.ErrorContains(t, New(cfg).Open(ctx), "in use by")
	require.NoError(t, a.Close())
	s = New(cfg)
	require.NoError(t, s.Open(ctx))
	require.NoError(t, s.Close())
}

// Settings of a service may hold secrets, with or without API keys.
func TestSettingsNeedTheirKey(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "signpost.db")}
	s := New(cfg)
	require.NoError(t, s.Open(t.Context()))
	require.NoError(t, s.PutService(t.Context(), storage.Service{ID: "a", CreatedAt: time.Now(), Settings: []byte(`{"x":"sealed"}`)}))
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(cfg.Path+".key"))
	_, err := AttachSource(t.Context(), cfg, false)
	require.ErrorContains(t, err, "is missing")
	require.ErrorContains(t, New(cfg).Open(t.Context()), "is gone")
}

func TestAttachSourceRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, cfg *Config)
		want   string
	}{
		"nothing":  {func(_ *testing.T, cfg *Config) { cfg.Path += "x" }, "there is no database"},
		"a folder": {func(_ *testing.T, cfg *Config) { cfg.Path = filepath.Dir(cfg.Path) }, "is not a file"},
		"an older schema": {func(t *testing.T, cfg *Config) {
			t.Helper()
			alter(t, cfg.Path, "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
		}, "start Caddy with this program"},
		"a newer schema": {func(t *testing.T, cfg *Config) {
			t.Helper()
			alter(t, cfg.Path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
		}, "a newer program has used it"},
		"another program's": {func(t *testing.T, cfg *Config) {
			t.Helper()
			cfg.Path += "2"
			alter(t, cfg.Path, "CREATE TABLE x (y)")
		}, "not a database of Signpost"},
		"no database": {func(t *testing.T, cfg *Config) {
			t.Helper()
			cfg.Path += "3"
			require.NoError(t, os.WriteFile(cfg.Path, make([]byte, 5000), 0o600))
		}, "the file is damaged, or no SQLite database"},
		"another key": {func(_ *testing.T, cfg *Config) { cfg.SecretsKey = make([]byte, storage.SecretsKeySize) }, "is not the one under which"},
		"no key": {func(t *testing.T, cfg *Config) {
			t.Helper()
			require.NoError(t, os.Remove(cfg.Path+".key"))
		}, "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Path: filepath.Join(t.TempDir(), "signpost.db")}
			s := New(cfg)
			require.NoError(t, s.Open(t.Context()))
			require.NoError(t, s.PutService(t.Context(), storage.Service{ID: "a", Name: "A", CreatedAt: time.Now()}))
			require.NoError(t, s.AddKey(t.Context(), storage.APIKey{
				ServiceID: "a", Name: "k", Type: storage.KeyNormal, Secret: []byte("sealed"), CreatedAt: time.Now(),
			}))
			require.NoError(t, s.Close())
			tc.change(t, &cfg)
			_, err := AttachSource(t.Context(), cfg, false)
			require.ErrorContains(t, err, tc.want)
		})
	}
}
