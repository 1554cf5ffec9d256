//go:build unix

package postgres

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/storagetest"
)

// firstVersion is the oldest schema whose programs may still be running.
const firstVersion = 3

// unused are versions of the schema of which there are no programs: their
// migrations have come with later ones.
var unused = map[int]bool{5: true}

// statement is one that the programs of a version send.
type statement struct {
	name, text string
	types      string // of its parameters, as the server has it
}

var statementPattern = regexp.MustCompile(`(?ms)^-- name: (.+?) \((.*?)\)\n(.*?);$`)

// statementsOf reads what the programs of a version send.
func statementsOf(t *testing.T, version int) []statement {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/version%d.sql", version))
	require.NoError(t, err)
	var out []statement
	for _, m := range statementPattern.FindAllStringSubmatch(string(b), -1) {
		out = append(out, statement{name: m[1], types: m[2], text: m[3]})
	}
	require.Len(t, out, strings.Count(string(b), "\n-- name: "), "every statement is found")
	return out
}

// asProgram connects as the programs do.
func asProgram(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	config, err := (&Config{DSN: dsn}).pool()
	require.NoError(t, err)
	c, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
	return c
}

// typeNames are the server's names of parameters' types.
func typeNames(t *testing.T, c *pgx.Conn, oids []uint32) string {
	t.Helper()
	var names string
	require.NoError(t, c.QueryRow(t.Context(), `SELECT coalesce(string_agg(format_type(u.oid, NULL), ', ' ORDER BY u.place), '')
		FROM unnest($1::oid[]) WITH ORDINALITY AS u (oid, place)`, oids).Scan(&names))
	return names
}

// TestOlderStatements: what older programs send, the newest schema understands
// as theirs did. A migration that fails here would break nodes that run: leave
// what they use, and remove it in a later release.
func TestOlderStatements(t *testing.T) {
	server, name := database(t)
	c := asProgram(t, server.DSN(name))
	newest := len(ours(t))
	for version := firstVersion; version < max(newest, firstVersion+1); version++ {
		if unused[version] {
			continue
		}
		path := fmt.Sprintf("testdata/version%d.sql", version)
		require.FileExists(t, path, "a schema of version %d needs a record of what the programs of version %d send. On a checkout "+
			"of the last commit before the migration: SIGNPOST_STATEMENTS=%s go test -run TestWriteStatements .", newest, version, path)
		for _, s := range statementsOf(t, version) {
			t.Run(fmt.Sprintf("%d/%s", version, s.name), func(t *testing.T) {
				prepared, err := c.Prepare(t.Context(), "", s.text)
				require.NoError(t, err, s.text)
				assert.Equal(t, s.types, typeNames(t, c, prepared.ParamOIDs), s.text)
			})
		}
	}
}

// TestWriteStatements writes down what this version's programs send, into the
// file that SIGNPOST_STATEMENTS names: what a run of the suite has prepared.
func TestWriteStatements(t *testing.T) {
	path := os.Getenv("SIGNPOST_STATEMENTS")
	if path == "" {
		t.Skip("SIGNPOST_STATEMENTS names no file to write")
	}
	checks(t, 25)
	w := &written{types: map[string]string{}}
	t.Run("suite", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Backend {
			server, name := database(t)
			s := node(t, Config{DSN: server.DSN(name), Connections: 8})
			t.Cleanup(func() { // before node's
				if s.Ping(context.Background()) == nil { // not closed by the suite
					w.collect(t, s)
				}
			})
			return s
		})
	})
	var b strings.Builder
	fmt.Fprintf(&b, "-- What programs of schema version %d send; see TestOlderStatements.\n", len(ours(t)))
	for i, text := range slices.Sorted(maps.Keys(w.types)) {
		fmt.Fprintf(&b, "\n-- name: %d (%s)\n%s;\n", i+1, w.types[text], text)
	}
	require.NoError(t, os.WriteFile(filepath.Clean(path), []byte(b.String()), 0o600))
}

type written struct {
	mu    sync.Mutex
	types map[string]string // by text
}

// collect asks every connection of a pool for what it has prepared.
func (w *written) collect(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	for _, c := range s.pool.AcquireAllIdle(ctx) {
		rows, err := c.Query(ctx, `SELECT statement, array_to_string(parameter_types::text[], ', ') FROM pg_prepared_statements`,
			pgx.QueryExecModeSimpleProtocol)
		if assert.NoError(t, err) {
			var text, types string
			_, err = pgx.ForEachRow(rows, []any{&text, &types}, func() error {
				if strings.Contains(text, "signpost.") {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.types[text] = types
				}
				return nil
			})
			assert.NoError(t, err)
		}
		c.Release()
	}
}
