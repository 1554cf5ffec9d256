//go:build unix

package jwks

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Opening a pipe would block until somebody writes to it.
func TestPipeIsNotOpened(t *testing.T) {
	path := t.TempDir() + "/pipe"
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := NewRevocationFile(path, nil)
	require.ErrorContains(t, err, "found a pipe, expected a regular file")
	f, err := NewFile(path)
	require.NoError(t, err)
	_, err = f.load(t.Context())
	require.ErrorContains(t, err, "found a pipe, expected a regular file")
}
