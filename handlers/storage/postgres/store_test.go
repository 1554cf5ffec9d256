//go:build unix

package postgres

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
	"github.com/signpost-gateway/signpost/handlers/storage/storagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main{M: m})
}

var testKey = bytes.Repeat([]byte{7}, storage.SecretsKeySize)

// migrated is a database with the schema and nothing in it, which new ones are
// copies of.
var migrated = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	server, err := pgtest.Binary()
	if err != nil {
		return "", err
	}
	name, err := server.Create(ctx, "")
	if err != nil {
		return "", err
	}
	s := New(Config{DSN: server.DSN(name), SecretsKey: testKey})
	if err := s.Open(ctx); err != nil {
		return "", err
	}
	return name, s.Close()
})

// database makes a database with an empty schema, gone at the end of the test.
func database(t testing.TB) (*pgtest.Server, string) {
	t.Helper()
	server := pgtest.Shared(t)
	template, err := migrated()
	require.NoError(t, err)
	_, measured := t.(*testing.B)
	require.NoError(t, durable(server, measured))
	name, err := server.Create(t.Context(), template)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Drop(context.Background(), name)) })
	return server, name
}

var isDurable = true

// durable says whether the server waits for the disk, which only benchmarks
// want: the tests end processes, not machines.
func durable(server *pgtest.Server, on bool) error {
	if isDurable == on {
		return nil
	}
	isDurable = on
	return errors.Join(
		server.Exec(context.Background(), "postgres", fmt.Sprintf("ALTER SYSTEM SET fsync = %t", on)),
		server.Exec(context.Background(), "postgres", "SELECT pg_reload_conf()"))
}

// node opens another store on a database.
func node(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.SecretsKey == nil {
		cfg.SecretsKey = testKey
	}
	s := New(cfg)
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// checks bounds the runs of the suite's state machines, each of which has a
// database of its own.
func checks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	before := f.Value.String()
	if before != f.DefValue {
		return // as the command line wants
	}
	require.NoError(t, f.Value.Set(strconv.Itoa(n)))
	t.Cleanup(func() { require.NoError(t, f.Value.Set(before)) })
}

func TestConformance(t *testing.T) {
	checks(t, 25)
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		server, name := database(t)
		return node(t, Config{DSN: server.DSN(name), Connections: 8})
	})
}

func TestUnopened(t *testing.T) {
	storagetest.Unopened(t, New(Config{DSN: "postgres://nobody@127.0.0.1:1/none", SecretsKey: testKey}))
}

const service = "26785a09-ab16-4eb0-8407-a37497a57506"

var sampleBody = strings.Repeat("The appointment. ", 26)

// sample is a notification of about 600 bytes with an idempotency key and a
// daily limit, as POST makes them.
func sample(now time.Time) storage.Creation {
	id := uuid.Must(uuid.NewV7())
	return storage.Creation{
		Notification: storage.Notification{
			UUID: id, ServiceID: service, KeyName: "live", KeyType: storage.KeyNormal, Channel: storage.SMS, To: "+447700900123",
			Body: sampleBody, TemplateID: "1", TemplateVersion: 1, Sender: "log",
			CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
		},
		Idempotency: &storage.Idempotency{Key: append(id[:], id[:]...), ExpiresAt: now.Add(time.Minute)},
		Limits:      []storage.Limit{{Key: "daily/" + service + "/sms", Max: 1 << 40, ExpiresAt: now.Add(48 * time.Hour)}},
	}
}
