//go:build unix

package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b c%20?#")
	path := filepath.Join(folder, "signpost.db")
	s := openAt(t, path)
	_, err := s.Create(t.Context(), benchCreation(time.Now()))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(ownerOnlyFolder), mode(t, folder))
	for _, suffix := range []string{"", "-wal", "-shm", ".lock", ".key"} {
		assert.Equal(t, os.FileMode(ownerOnly), mode(t, path+suffix), suffix)
	}
	require.NoError(t, s.Close())
	assert.NoFileExists(t, path+"-wal", "emptied at close")

	require.NoError(t, os.Chmod(path, 0o644))
	s = openAt(t, path)
	assert.Equal(t, os.FileMode(ownerOnly), mode(t, path), "tightened")
	p, err := s.Notifications(t.Context(), storage.Query{ServiceID: benchService, Limit: 1})
	require.NoError(t, err)
	assert.Len(t, p.Notifications, 1)
}

func TestOpenRefusals(t *testing.T) {
	make := func(t *testing.T, content string) string {
		path := filepath.Join(t.TempDir(), "x.db")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	statements := func(t *testing.T, path string, texts ...string) string {
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		for _, text := range texts {
			_, err = db.Exec(text)
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
		return path
	}
	for name, c := range map[string]struct {
		path func(t *testing.T) string
		want []string
	}{
		"no path":        {func(*testing.T) string { return "" }, []string{"no path"}},
		"text":           {func(t *testing.T) string { return make(t, "some text, longer than a header") }, []string{"is not a SQLite database"}},
		"short text":     {func(t *testing.T) string { return make(t, "hello") }, []string{"is not a SQLite database"}},
		"damaged":        {func(t *testing.T) string { return make(t, string(magic)+strings.Repeat("\xff", 8192)) }, []string{"damaged"}},
		"folder":         {func(t *testing.T) string { return t.TempDir() }, []string{"is not a file"}},
		"file as folder": {func(t *testing.T) string { return filepath.Join(make(t, ""), "x.db") }, []string{"not a folder"}},
		"other program": {
			func(t *testing.T) string { return statements(t, make(t, ""), "CREATE TABLE theirs (x)") },
			[]string{"another program"},
		},
		"newer": {
			func(t *testing.T) string {
				path := filepath.Join(t.TempDir(), "x.db")
				require.NoError(t, openAt(t, path).Close())
				return statements(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, 1)")
			},
			[]string{"version 4711", "up to 4", "newer program"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.path(t)
			before, _ := os.ReadFile(path)
			s := New(Config{Path: path})
			err := s.Open(t.Context())
			require.ErrorIs(t, err, storage.ErrUnavailable)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			after, _ := os.ReadFile(path)
			assert.True(t, bytes.Equal(before, after), "left as it was")
			require.NoError(t, s.Close())
		})
	}
}

func TestOpenUnwritable(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may write anywhere: run this test alone as somebody else.
		run(t, "TestOpenUnwritable", nobody)
		return
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "x.db")
	require.NoError(t, openAt(t, path).Close())
	for _, c := range []struct{ file, want string }{{path, "the database"}, {path + ".lock", "the lock file"}} {
		require.NoError(t, os.Chmod(c.file, 0o400))
		require.ErrorContains(t, New(Config{Path: path}).Open(t.Context()), c.want+" "+c.file+" can't be written")
		require.NoError(t, os.Chmod(c.file, 0o600))
	}
	require.NoError(t, os.Chmod(folder, 0o500))                   //nolint:gosec // a folder
	defer func() { assert.NoError(t, os.Chmod(folder, 0o700)) }() //nolint:gosec // a folder
	require.ErrorContains(t, New(Config{Path: filepath.Join(folder, "new.db")}).Open(t.Context()), "can't be written")
	require.ErrorContains(t, New(Config{Path: filepath.Join(folder, "sub", "new.db")}).Open(t.Context()), "the folder")
}

func TestLockHeldByThisProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	first := openAt(t, path)
	second := New(Config{Path: path, OpenWait: time.Millisecond})
	err := second.Open(t.Context())
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorContains(t, err, "this very process")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, New(Config{Path: path}).Open(ctx), "in use")

	// While the older handle is going away, Open waits.
	opened := make(chan error, 1)
	third := New(Config{Path: path})
	go func() { opened <- third.Open(context.Background()) }()
	require.NoError(t, first.Close())
	require.NoError(t, <-opened)
	require.NoError(t, third.Close())
	require.NoError(t, second.Open(t.Context()), "a failed Open may be repeated")
	require.NoError(t, second.Close())
}

func TestLockHeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := startChild(t, path)
	c.acknowledged(t, 1)
	err := New(Config{Path: path, OpenWait: time.Millisecond}).Open(t.Context())
	c.kill(t)
	require.ErrorContains(t, err, "in use by process")
	require.NoError(t, openAt(t, path).Close(), "the lock goes with the process")
}

func TestSecretsKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := openAt(t, path)
	key, err := s.SecretsKey(t.Context())
	require.NoError(t, err)
	text, err := os.ReadFile(path + ".key")
	require.NoError(t, err)
	assert.Equal(t, base64.StdEncoding.EncodeToString(key)+"\n", string(text))
	require.NoError(t, s.Close())

	refused := func(want string) {
		t.Helper()
		err := New(Config{Path: path}).Open(t.Context())
		require.ErrorIs(t, err, storage.ErrUnavailable)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, os.Chmod(path+".key", 0o640))
	refused("chmod 600")
	require.NoError(t, os.Chmod(path+".key", 0o600))
	for _, bad := range []string{"", "short", "!!!", base64.StdEncoding.EncodeToString(make([]byte, 31))} {
		require.NoError(t, os.WriteFile(path+".key", []byte(bad), 0o600))
		refused("damaged")
	}

	// Without sealed secrets a lost key is made anew.
	require.NoError(t, os.Remove(path+".key"))
	s = openAt(t, path)
	anew, err := s.SecretsKey(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, key, anew)
	require.NoError(t, s.PutService(t.Context(), storage.Service{ID: benchService, CreatedAt: time.Now()}))
	require.NoError(t, s.AddKey(t.Context(), storage.APIKey{ServiceID: benchService, Name: "live", Secret: []byte("sealed"), CreatedAt: time.Now()}))
	require.NoError(t, s.Close())

	// With them it is not.
	require.NoError(t, os.Rename(path+".key", path+".kept"))
	refused("is gone")
	assert.NoFileExists(t, path+".key")
	require.NoError(t, os.WriteFile(path+".key", []byte(base64.StdEncoding.EncodeToString(key)), 0o600))
	refused("not the one under which")
	configured := New(Config{Path: path, SecretsKey: anew})
	require.NoError(t, configured.Open(t.Context()), "the same key, configured")
	require.NoError(t, configured.Close())
	require.ErrorContains(t, New(Config{Path: path, SecretsKey: anew[1:]}).Open(t.Context()), "31 bytes")
}

func TestConfiguredKeyMakesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	key := []byte(strings.Repeat("k", storage.SecretsKeySize))
	s := New(Config{Path: path, SecretsKey: key})
	require.NoError(t, s.Open(t.Context()))
	got, err := s.SecretsKey(t.Context())
	require.NoError(t, err)
	assert.Equal(t, key, got)
	require.NoError(t, s.Close())
	assert.NoFileExists(t, path+".key")
}

func TestBackup(t *testing.T) {
	folder := t.TempDir()
	s := openAt(t, filepath.Join(folder, "x.db"))
	n, err := s.Create(t.Context(), benchCreation(time.Now()))
	require.NoError(t, err)
	copied := filepath.Join(folder, "it's a copy.db")
	require.NoError(t, s.Backup(t.Context(), copied))
	assert.Equal(t, os.FileMode(ownerOnly), mode(t, copied))
	require.ErrorIs(t, s.Backup(t.Context(), copied), storage.ErrExists)
	require.ErrorIs(t, s.Backup(t.Context(), ""), storage.ErrInvalid)
	require.ErrorIs(t, s.Backup(t.Context(), filepath.Join(folder, "none", "x")), storage.ErrUnavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Backup(ctx, filepath.Join(folder, "cancelled")), context.Canceled)
	assert.NoFileExists(t, filepath.Join(folder, "cancelled"))

	restored := openAt(t, copied)
	got, err := restored.NotificationByID(t.Context(), benchService, n.Notification.ID)
	require.NoError(t, err)
	assert.Equal(t, n.Notification, got)
}

// run runs one test of this program again, changed.
func run(t *testing.T, name string, change func(*exec.Cmd)) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	// Others must be able to reach the program.
	copied := filepath.Join(os.TempDir(), filepath.Base(program)+"."+filepath.Base(t.TempDir()))
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(copied, content, 0o755)) //nolint:gosec // a program
	defer func() { assert.NoError(t, os.Remove(copied)) }()
	cmd := exec.CommandContext(t.Context(), copied, "-test.run=^"+name+"$", "-test.v") //nolint:gosec // ourselves
	cmd.Dir = os.TempDir()
	change(cmd)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+name)
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}
