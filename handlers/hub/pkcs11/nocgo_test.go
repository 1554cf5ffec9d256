//go:build !cgo

package pkcs11

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

func TestWithoutCgo(t *testing.T) {
	_, err := New(Config{Module: "/usr/lib/softhsm/libsofthsm2.so"})
	require.ErrorIs(t, err, cryptoki.ErrNoCgo)
	require.EqualError(t, err, "built without cgo: use ./xcaddy.sh hub")
	_, err = Tokens(t.Context(), "/usr/lib/softhsm/libsofthsm2.so", nil)
	require.ErrorIs(t, err, cryptoki.ErrNoCgo)
}
