//go:build unix

package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/storagetest"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s := New(Config{Path: path})
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		return openAt(t, filepath.Join(t.TempDir(), "signpost.db"))
	})
}

func TestUnopened(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	storagetest.Unopened(t, New(Config{Path: filepath.Join(folder, "x.db")}))
	assert.NoDirExists(t, folder, "nothing is touched before Open")
}
