//go:build unix

package caddymodule

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file that root rotates stays that of the one who reads it.
func TestReplaceFileKeepsOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "f")
	writeFile(t, path, "one")
	require.NoError(t, os.Chown(path, 1234, 4321))
	require.NoError(t, replaceFile(path, []byte("one"), []byte("two")))
	info, err := os.Stat(path)
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	assert.Equal(t, [2]uint32{1234, 4321}, [2]uint32{stat.Uid, stat.Gid})
	requireMode(t, path, 0o600)
}
