//go:build linux

package e2e

import (
	"database/sql"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

// requireIntact opens a database that nobody uses and checks all of it.
func requireIntact(t testing.TB, path string) {
	t.Helper()
	require.FileExists(t, path)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path}).String())
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "PRAGMA integrity_check")
	require.NoError(t, err)
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		found = append(found, line)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{"ok"}, found)
}
