//go:build unix

package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// empty makes a database without our schema.
func empty(t *testing.T) (*pgtest.Server, string) {
	t.Helper()
	server := pgtest.Shared(t)
	name, err := server.Create(t.Context(), "")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Drop(context.Background(), name)) })
	return server, name
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
	return c
}

// ours is this program's migrations.
func ours(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	require.NoError(t, err)
	for _, name := range names {
		data, err := migrations.ReadFile(name)
		require.NoError(t, err)
		files[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: data}
	}
	return files
}

// next is the migrations of a later version, which adds a column.
func next(t *testing.T) fstest.MapFS {
	files := ours(t)
	files[fmt.Sprintf("%05d_next.sql", len(files)+1)] = &fstest.MapFile{Data: []byte(`-- +goose Up
ALTER TABLE signpost.notification ADD COLUMN later text NOT NULL DEFAULT '';
ALTER TABLE signpost.outbox ADD COLUMN later text NOT NULL DEFAULT '';
-- +goose Down
ALTER TABLE signpost.outbox DROP COLUMN later;
ALTER TABLE signpost.notification DROP COLUMN later;
`)}
	return files
}

func TestTwoNodesMigrateAtOnce(t *testing.T) {
	for range 3 {
		server, name := empty(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s := New(Config{DSN: server.DSN(name), SecretsKey: testKey})
				if assert.NoError(t, s.Open(context.Background())) {
					assert.NoError(t, s.Ping(context.Background()))
				}
				assert.NoError(t, s.Close())
			})
		}
		wg.Wait()
	}
}

func TestMigrateCheck(t *testing.T) {
	server, name := empty(t)
	check := New(Config{DSN: server.DSN(name), SecretsKey: testKey, Migrate: MigrateCheck})
	err := check.Open(t.Context())
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorContains(t, err, fmt.Sprintf("schema version 0, and this program needs %d: start one node with migrate auto", len(ours(t))))
	var schemas int
	require.NoError(t, connect(t, server.DSN(name)).QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname = 'signpost'`).Scan(&schemas))
	assert.Zero(t, schemas, "nothing was touched")

	node(t, Config{DSN: server.DSN(name)})
	require.NoError(t, check.Open(t.Context()), "after another node has migrated")
	require.NoError(t, check.Close())
}

func TestNewerSchema(t *testing.T) {
	server, name := database(t)
	c := connect(t, server.DSN(name))
	require.NoError(t, migrateTo(t.Context(), c, c.Config(), next(t), MigrateAuto, time.Minute))
	known := len(ours(t))
	for _, mode := range []MigrateMode{MigrateAuto, MigrateCheck} {
		s := New(Config{DSN: server.DSN(name), SecretsKey: testKey, Migrate: mode})
		require.ErrorContains(t, s.Open(t.Context()), fmt.Sprintf("schema version %d, and this program knows up to %d: a newer program has migrated it",
			known+1, known))
	}
}

// TestMigrateUnderLoad brings the schema to a later version while this one's
// nodes run on, and back.
func TestMigrateUnderLoad(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	l := newLoad(t, s, 8)
	claims := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			got, err := s.Claim(context.Background(), storage.ClaimRequest{Channel: storage.SMS, Limit: 5, Now: time.Now(), Lease: time.Minute})
			for _, c := range got {
				if err == nil {
					err = s.Complete(context.Background(), c, storage.Outcome{Status: storage.StatusDelivered, At: time.Now()})
				}
			}
			if err != nil {
				claims <- err
				return
			}
		}
		claims <- nil
	}()
	until(t, 10*time.Second, "load before", func() bool { return l.good.Load() > 50 })
	c := connect(t, server.DSN(name))
	require.NoError(t, migrateTo(t.Context(), c, c.Config(), next(t), MigrateAuto, time.Minute))
	good := l.good.Load()
	until(t, 10*time.Second, "load after", func() bool { return l.good.Load() > good+50 })
	cancel()
	require.NoError(t, <-claims)
	l.nothingLost(t)
	assert.Zero(t, l.failed.Load())
}

// TestMigrationWaits: a node that finds another migrating waits, and says for
// whom when it gives up.
func TestMigrationWaits(t *testing.T) {
	server, name := empty(t)
	other, err := connect(t, server.DSN(name)).Begin(t.Context())
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, migrationLock)
	require.NoError(t, err)
	s := New(Config{DSN: server.DSN(name), SecretsKey: testKey, MigrateWait: 250 * time.Millisecond})
	require.ErrorContains(t, s.Open(t.Context()), "another node has not finished its migration in 250ms")
	s = New(Config{DSN: server.DSN(name), SecretsKey: testKey})
	opened := make(chan error)
	go func() { opened <- s.Open(context.Background()) }()
	require.NoError(t, other.Rollback(t.Context()))
	require.NoError(t, <-opened)
	require.NoError(t, s.Close())
}

// TestMigrationYieldsToTraffic: a table that is in use delays the migration, and
// the migration doesn't stop what comes after it for long.
func TestMigrationYieldsToTraffic(t *testing.T) {
	server, name := database(t)
	reader, err := connect(t, server.DSN(name)).Begin(t.Context())
	require.NoError(t, err)
	_, err = reader.Exec(t.Context(), `SELECT count(*) FROM signpost.notification`)
	require.NoError(t, err)
	c := connect(t, server.DSN(name))
	done := make(chan error)
	go func() { done <- migrateTo(context.Background(), c, c.Config(), next(t), MigrateAuto, time.Minute) }()
	waiting := connect(t, server.DSN(name))
	until(t, 10*time.Second, "the migration waits for the table", func() bool {
		var n int
		require.NoError(t, waiting.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&n))
		return n > 0
	})
	until(t, 10*time.Second, "it gives way", func() bool {
		var n int
		require.NoError(t, waiting.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&n))
		return n == 0
	})
	require.NoError(t, reader.Rollback(t.Context()))
	require.NoError(t, <-done)
}

// TestMigrationsReversible: each migration's way back names all that it made.
func TestMigrationsReversible(t *testing.T) {
	for name, file := range ours(t) {
		up, down, found := strings.Cut(string(file.Data), "-- +goose Down")
		require.True(t, found, name)
		for _, kind := range []string{"TABLE", "SEQUENCE", "FUNCTION"} {
			made := strings.Count(up, "CREATE "+kind+" ") + strings.Count(up, "CREATE UNLOGGED "+kind+" ")
			assert.Equal(t, made, strings.Count(down, "DROP "+kind+" "), "%s: %s", name, kind)
		}
	}
}
