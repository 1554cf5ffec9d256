package hub

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDoorway(t *testing.T) {
	private, open := t.TempDir(), t.TempDir()
	require.NoError(t, os.Chmod(private, 0o700)) //nolint:gosec // a folder
	require.NoError(t, os.Chmod(open, 0o755))    //nolint:gosec // the point of it
	for _, c := range []struct{ name, runtimeDir, below string }{
		{"runtime directory", private, private},
		{"none", "", os.TempDir()},
		{"relative", ".", os.TempDir()},
		{"missing", filepath.Join(private, "missing"), os.TempDir()},
		{"readable by others", open, os.TempDir()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", c.runtimeDir)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			const address = "http://127.0.0.1:43480/consent/SECRET"
			path, err := Doorway(ctx, address)
			require.NoError(t, err)
			assert.True(t, filepath.IsAbs(path))
			assert.NotContains(t, path, "SECRET")
			assert.Equal(t, c.below, filepath.Dir(filepath.Dir(path)))
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Contains(t, string(text), `content="0; url=`+address+`"`)
			assert.Contains(t, string(text), `content="no-referrer"`)
			if runtime.GOOS != "windows" {
				for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
					info, err := os.Stat(file)
					require.NoError(t, err)
					assert.Equal(t, want, info.Mode().Perm())
				}
			}
			cancel()
			require.Eventually(t, func() bool {
				_, err := os.Stat(filepath.Dir(path))
				return os.IsNotExist(err)
			}, 10*time.Second, time.Millisecond)
			_, err = Doorway(ctx, address)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func TestDoorwayEscapes(t *testing.T) {
	path, err := Doorway(t.Context(), `http://127.0.0.1/"><script>`)
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "<script>")
}

func TestDoorwayNowhere(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if runtime.GOOS == "windows" {
		t.Skip("TMPDIR is not read")
	}
	_, err := Doorway(t.Context(), "http://127.0.0.1/")
	require.ErrorIs(t, err, os.ErrNotExist)
}
