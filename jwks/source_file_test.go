package jwks

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func startFile(t *testing.T, path string, log *lines) *Set {
	t.Helper()
	f, err := NewFile(path)
	require.NoError(t, err)
	set, err := NewSet(SetConfig{Name: "platform", Sources: []Source{f}, Logger: log.logger()})
	require.NoError(t, err)
	require.NoError(t, set.Start(t.Context()))
	return set
}

// look lets the watcher look once.
func look() {
	time.Sleep(filePoll)
	synctest.Wait()
}

func TestFileIsWatched(t *testing.T) {
	one, two := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1)
	tests := []struct {
		name  string
		setUp func(t *testing.T, dir string) (path string)
		swap  func(t *testing.T, dir string)
	}{
		{
			"written over",
			func(t *testing.T, dir string) string { return dir + "/keys" },
			func(t *testing.T, dir string) { writeFile(t, dir+"/keys", jwksOf(two)) },
		},
		{
			"replaced by rename",
			func(t *testing.T, dir string) string { return dir + "/keys" },
			func(t *testing.T, dir string) {
				writeFile(t, dir+"/new", jwksOf(two))
				require.NoError(t, os.Rename(dir+"/new", dir+"/keys"))
			},
		},
		{
			"mounted secret",
			// keys -> ..data/keys, ..data -> the folder of one version.
			func(t *testing.T, dir string) string {
				require.NoError(t, os.Mkdir(dir+"/v1", 0o700))
				require.NoError(t, os.Rename(dir+"/keys", dir+"/v1/keys"))
				require.NoError(t, os.Symlink("v1", dir+"/..data"))
				require.NoError(t, os.Symlink("..data/keys", dir+"/keys"))
				return dir + "/keys"
			},
			func(t *testing.T, dir string) {
				require.NoError(t, os.Mkdir(dir+"/v2", 0o700))
				writeFile(t, dir+"/v2/keys", jwksOf(two))
				require.NoError(t, os.Symlink("v2", dir+"/..tmp"))
				require.NoError(t, os.Rename(dir+"/..tmp", dir+"/..data"))
				require.NoError(t, os.RemoveAll(dir+"/v1"))
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir+"/keys", jwksOf(one))
			path := tt.setUp(t, dir)
			synctest.Test(t, func(t *testing.T) {
				log := &lines{}
				set := startFile(t, path, log)
				defer set.Close()
				requireKey(t, set, "k1")
				tt.swap(t, dir)
				look()
				assert.Equal(t, []string{"k2"}, set.Status().KeyIDs)
				assert.Equal(t, 1, log.count("keys have changed"))
				look()
				assert.Equal(t, 1, log.count("keys have changed"))
			})
		})
	}
}

func TestUnknownKidLooksAtTheFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeFile(t, path, jwkOf(t, "k1", 0))
	next := jwkOf(t, "k2", 1)
	synctest.Test(t, func(t *testing.T) {
		set := startFile(t, path, &lines{})
		defer set.Close()
		writeFile(t, path, next)
		requireKey(t, set, "k2")
		requireNoKey(t, set, "k1", ErrUnknownKid)
	})
}

func TestFileKeepsItsKeysThroughTrouble(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	good := jwksOf(jwkOf(t, "k1", 0))
	troubles := []struct {
		name, want string
		make       func()
	}{
		{"missing", "no such file", func() {}},
		{"empty", "found nothing", func() { writeFile(t, path, "") }},
		{"half written", "JSON", func() { writeFile(t, path, good[:len(good)/2]) }},
		{"a folder", "found a folder", func() { require.NoError(t, os.Mkdir(path, 0o700)) }},
		{"too long", "more than", func() {
			writeFile(t, path, "{}")
			require.NoError(t, os.Truncate(path, 1<<40))
		}},
		{"secrets only", "no key of the document can be used", func() { writeFile(t, path, `{"keys":[{"kty":"oct","k":"AAAA"}]}`) }},
	}
	synctest.Test(t, func(t *testing.T) {
		writeFile(t, path, good)
		log := &lines{}
		set := startFile(t, path, log)
		defer set.Close()
		for _, tt := range troubles {
			require.NoError(t, os.RemoveAll(path))
			tt.make()
			look()
			look()
			st := set.Status().Sources[0]
			assert.Equal(t, StateFailing, st.State, tt.name)
			assert.Contains(t, st.Error, tt.want, tt.name)
			requireKey(t, set, "k1")
		}
		time.Sleep(time.Hour)
		assert.Zero(t, set.Status().Sources[0].UsableUntil, "a file's keys don't age")
		requireKey(t, set, "k1")
		assert.Equal(t, 1, log.count("can't be refreshed"))

		require.NoError(t, os.RemoveAll(path))
		writeFile(t, path, good)
		look()
		assert.Equal(t, StateOK, set.Status().Sources[0].State)
		assert.Equal(t, 2, log.count("loaded and fresh"))
		assert.Equal(t, 0, log.count("keys have changed"))

		writeFile(t, path, `{"keys":[]}`) // on purpose
		look()
		requireNoKey(t, set, "k1", ErrUnavailable)
	})
}

func TestFileThatComesLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	key := jwkOf(t, "k1", 0)
	synctest.Test(t, func(t *testing.T) {
		f, err := NewFile(path)
		require.NoError(t, err)
		set := setOf(t, f)
		require.ErrorIs(t, set.Start(t.Context()), os.ErrNotExist)
		defer set.Close()
		requireNoKey(t, set, "k1", ErrUnavailable)
		assert.Equal(t, StateAbsent, set.Status().Sources[0].State)
		writeFile(t, path, key)
		look()
		requireKey(t, set, "k1")
	})
}

// An untouched file is looked at, not read.
func TestFileIsNotReadForNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeFile(t, path, jwkOf(t, "k1", 0))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	f, err := NewFile(path)
	require.NoError(t, err)
	doc, err := f.load(t.Context())
	require.NoError(t, err)
	require.False(t, doc.unchanged)

	writeFile(t, path, jwkOf(t, "k2", 0))
	require.NoError(t, os.Chtimes(path, old, old))
	doc, err = f.load(t.Context())
	require.NoError(t, err)
	assert.True(t, doc.unchanged, "same file, size and time")

	now := time.Now()
	require.NoError(t, os.Chtimes(path, now, now))
	doc, err = f.load(t.Context())
	require.NoError(t, err)
	assert.False(t, doc.unchanged)
}

// On a file server whose clock is ahead, every file is new for long.
func TestFileFromTheFuture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		future := time.Now().Add(time.Hour)
		write := func(text string) {
			writeFile(t, path, text)
			require.NoError(t, os.Chtimes(path, future, future))
		}
		f, err := newWatchedFile(path, 100)
		require.NoError(t, err)
		read := func() (string, bool) {
			text, changed, err := f.read()
			require.NoError(t, err)
			return string(text), changed
		}
		write("one")
		text, changed := read()
		require.True(t, changed)
		assert.Equal(t, "one", text)

		time.Sleep(fileRacy)
		write("two")
		text, changed = read()
		require.True(t, changed, "the clock of files may be coarse")
		assert.Equal(t, "two", text)

		time.Sleep(1)
		write("six")
		_, changed = read()
		assert.False(t, changed, "looked at only, after a time")
		f.forget()
		_, changed = read()
		assert.True(t, changed)
	})
}
