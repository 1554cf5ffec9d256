//go:build unix

package sqlite

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// TestMigrateFirstVersion opens a database that the first version of this
// program made, in which it has stored something of each kind.
func TestMigrateFirstVersion(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := openSQL(path, "journal_mode(wal)")
	require.NoError(t, err)
	files, err := fs.Sub(migrations, "migrations")
	require.NoError(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = provider.UpTo(ctx, 1)
	require.NoError(t, err)
	for _, text := range []string{
		`INSERT INTO service (id, name, created_at) VALUES ('a', 'A', 1)`,
		`INSERT INTO template VALUES ('a', '1', 1, 'sms', 'n', '', 'body', 1)`,
		`INSERT INTO tenant (no, id) VALUES (1, 'a')`,
		`INSERT INTO notification (id, uuid, tenant, kind, phase, due, updated_at, job, created_at, expires_at, key_name, key_type,
			recipient, template_id, template_version, reference, sender, subject, body) VALUES
			(7, x'0192f0c1a3b47c8d9e0f112233445566', 1, 8, 1, 1, 1, 7, 1, 99, 'k', 'normal', '+447700900123', '1', 1, '', 'log', '', 'text'),
			(8, x'0192f0c1a3b47c8d9e0f112233445567', 1, 10, 4, 1, 1, 8, 1, 99, 'k', 'test', '+447700900123', '1', 1, '', 'log', '', 'text')`,
		`INSERT INTO total VALUES (1, 8, 1), (1, 10, 1)`,
		`INSERT INTO counter VALUES ('day', 3, 99)`,
	} {
		_, err = db.ExecContext(ctx, text)
		require.NoError(t, err)
	}
	require.NoError(t, provider.Close())

	s := openAt(t, path)
	n, err := s.NotificationByID(ctx, "a", 7)
	require.NoError(t, err)
	assert.Equal(t, "text", n.Body)
	assert.Zero(t, n.Details)
	for keyType, id := range map[storage.KeyType]int64{storage.KeyNormal: 7, storage.KeyTest: 8} {
		p, err := s.Notifications(ctx, storage.Query{ServiceID: "a", KeyTypes: []storage.KeyType{keyType}, Limit: 10})
		require.NoError(t, err)
		require.Len(t, p.Notifications, 1)
		assert.Equal(t, id, p.Notifications[0].ID)
		assert.Equal(t, keyType, p.Notifications[0].KeyType)
	}
	p, err := s.Notifications(ctx, storage.Query{ServiceID: "a", Limit: 10})
	require.NoError(t, err)
	assert.EqualValues(t, 2, p.Total)
	services, err := s.Services(ctx)
	require.NoError(t, err)
	assert.Len(t, services, 1)
	count, err := s.Counter(ctx, "day")
	require.NoError(t, err)
	assert.EqualValues(t, 3, count)
	ended, changed, err := s.Receipt(ctx, storage.Receipt{
		Sender: "log", Reference: n.UUID.String(), Status: storage.StatusTechnicalFailure, At: time.Now(), Callback: func(string) bool { return true },
	})
	require.NoError(t, err)
	assert.True(t, changed)
	dead, err := s.DeadLetters(ctx, storage.DeadLetterQuery{})
	require.NoError(t, err)
	assert.Equal(t, []storage.Notification{ended}, dead)
	r := benchRequest(time.Now())
	require.NoError(t, s.CreateSigningRequest(ctx, r))
	require.NoError(t, s.Close())

	s = openAt(t, path) // nothing is left to migrate
	got, err := s.SigningRequest(ctx, r.Token)
	require.NoError(t, err)
	assert.Equal(t, r.JWT, got.JWT)
	assert.Equal(t, storage.SigningRequested, got.Status)
	_, err = s.NotificationByID(ctx, "a", 7)
	require.NoError(t, err)
}
