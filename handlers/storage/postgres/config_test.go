//go:build unix

package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestConfigRefused(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		says string
	}{
		"no DSN":      {Config{SecretsKey: testKey}, "no DSN is configured"},
		"no key":      {Config{DSN: "postgres://localhost/x"}, "no secrets key is configured"},
		"short key":   {Config{DSN: "postgres://localhost/x", SecretsKey: testKey[1:]}, "it needs 32"},
		"mode":        {Config{DSN: "postgres://localhost/x", SecretsKey: testKey, Migrate: "never"}, `migrate is "never"`},
		"connections": {Config{DSN: "postgres://localhost/x", SecretsKey: testKey, Connections: -1}, "there must be one at least"},
		"bad DSN":     {Config{DSN: "postgres://u:pass word@localhost:port/x", SecretsKey: testKey}, "the DSN"},
		"bad sslmode": {Config{DSN: "postgres://u:hidden@localhost/x?sslmode=perhaps", SecretsKey: testKey}, "sslmode"},
	} {
		err := New(c.cfg).Open(t.Context())
		require.ErrorIs(t, err, storage.ErrUnavailable, name)
		require.ErrorContains(t, err, c.says, name)
		assert.NotContains(t, err.Error(), "hidden", name)
		assert.NotContains(t, err.Error(), "pass word", name)
	}
}

func TestConfigDefaults(t *testing.T) {
	s := New(Config{DSN: "postgres://u@localhost/x", SecretsKey: testKey})
	p, err := s.cfg.pool()
	require.NoError(t, err)
	assert.EqualValues(t, 16, p.MaxConns)
	assert.Equal(t, 2*time.Second, p.ConnConfig.ConnectTimeout)
	assert.Equal(t, "3000", p.ConnConfig.RuntimeParams["statement_timeout"])

	s = New(Config{DSN: "postgres://u@localhost/x?pool_max_conns=5&connect_timeout=7&statement_timeout=9", SecretsKey: testKey})
	p, err = s.cfg.pool()
	require.NoError(t, err)
	assert.EqualValues(t, 5, p.MaxConns)
	assert.Equal(t, 7*time.Second, p.ConnConfig.ConnectTimeout)
	assert.Equal(t, "9", p.ConnConfig.RuntimeParams["statement_timeout"])

	s = New(Config{DSN: "postgres://u@localhost/x?pool_max_conns=5", SecretsKey: testKey, Connections: 3, Pooler: true})
	p, err = s.cfg.pool()
	require.NoError(t, err)
	assert.EqualValues(t, 3, p.MaxConns)
	assert.Empty(t, p.ConnConfig.RuntimeParams, "PgBouncer refuses settings that it doesn't know")
}

func TestOtherSecretsKey(t *testing.T) {
	server, name := database(t)
	node(t, Config{DSN: server.DSN(name)})
	s := New(Config{DSN: server.DSN(name), SecretsKey: bytes.Repeat([]byte{8}, storage.SecretsKeySize)})
	require.ErrorContains(t, s.Open(t.Context()), "is not the one with which this database was first opened")
}

func TestOtherEncoding(t *testing.T) {
	server, _ := database(t)
	require.NoError(t, server.Exec(t.Context(), "postgres", `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0`))
	t.Cleanup(func() { assert.NoError(t, server.Drop(context.Background(), "latin")) })
	require.ErrorContains(t, New(Config{DSN: server.DSN("latin"), SecretsKey: testKey}).Open(t.Context()), "encoding is LATIN1")
}

// TestForgetfulServer: commits are durable whatever the server's default is.
func TestForgetfulServer(t *testing.T) {
	server, name := database(t)
	require.NoError(t, server.Exec(t.Context(), name, "ALTER DATABASE "+name+" SET synchronous_commit = off"))
	s := node(t, Config{DSN: server.DSN(name)})
	var setting string
	require.NoError(t, s.pool.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&setting))
	assert.Equal(t, "on", setting)
	require.ErrorContains(t, New(Config{DSN: server.DSN(name), SecretsKey: testKey, Pooler: true}).Open(t.Context()), "synchronous_commit=off")
}

// TestOddText stores what PostgreSQL's text can't hold.
func TestOddText(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	odd := "a\x00b\xffc" + escape + "d"
	c := sample(time.Now())
	n := &c.Notification
	n.ServiceID, n.To, n.Subject, n.Body, n.Reference, n.KeyName, n.Sender = odd, odd, odd, odd, odd, odd, odd
	c.Limits = []storage.Limit{{Key: odd, ExpiresAt: n.ExpiresAt}}
	created, err := s.Create(t.Context(), c)
	require.NoError(t, err)
	got, err := s.NotificationByID(t.Context(), odd, created.Notification.ID)
	require.NoError(t, err)
	assert.Equal(t, created.Notification, got)
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: odd, Reference: odd, Limit: 1})
	require.NoError(t, err)
	assert.Len(t, p.Notifications, 1)
	v, err := s.Counter(t.Context(), odd)
	require.NoError(t, err)
	assert.EqualValues(t, 1, v)
	claims, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: n.CreatedAt, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.NoError(t, s.Complete(t.Context(), claims[0], storage.Outcome{
		Status: storage.StatusSending, Reason: odd, ProviderReference: odd, At: n.CreatedAt,
	}))
	got, changed, err := s.Receipt(t.Context(), storage.Receipt{Sender: odd, Reference: odd, Status: storage.StatusDelivered, At: n.CreatedAt})
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, odd, got.ProviderReference)
}

// TestLongReferences: texts of clients and providers may be longer than an entry
// of an index.
func TestLongReferences(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	random := make([]byte, 16<<10)
	_, err := rand.Read(random)
	require.NoError(t, err)
	long := hex.EncodeToString(random) // PostgreSQL would compress what repeats
	for _, reference := range []string{long, long + "x"} {
		c := sample(time.Now())
		c.Notification.Reference = reference
		_, err := s.Create(t.Context(), c)
		require.NoError(t, err)
		claims, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: time.Now(), Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.NoError(t, s.Complete(t.Context(), claims[0], storage.Outcome{Status: storage.StatusSending, ProviderReference: reference, At: time.Now()}))
	}
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: service, Reference: long, Limit: 9})
	require.NoError(t, err)
	require.Len(t, p.Notifications, 1)
	got, changed, err := s.Receipt(t.Context(), storage.Receipt{Sender: "log", Reference: long, Status: storage.StatusDelivered, At: time.Now()})
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, p.Notifications[0].ID, got.ID)
}

// TestPoisonedBatch: a value that the server refuses fails alone.
func TestPoisonedBatch(t *testing.T) {
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	require.NoError(t, server.Exec(t.Context(), name, `ALTER TABLE signpost.notification ADD CHECK (body <> 'poison')`))
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 64 {
		wg.Go(func() {
			c := sample(time.Now())
			if i == 20 {
				c.Notification.Body = "poison"
			}
			if _, err := s.Create(context.Background(), c); err != nil {
				assert.ErrorIs(t, err, storage.ErrUnavailable)
				assert.Equal(t, "poison", c.Notification.Body)
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, failed.Load())
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain – ünïcode", "\x00", "\xff\xfe", escape, escape + "00", "a" + escape, "\ufffd", "x\x00\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		stored := asText(s)
		require.NotContains(t, stored, "\x00")
		require.True(t, utf8.ValidString(stored))
		require.Equal(t, s, fromText(stored))
		_ = fromText(s) // whatever the database holds
	})
}
