package storage_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func sealer(t testing.TB, fill byte) *storage.Sealer {
	t.Helper()
	s, err := storage.NewSealer(bytes.Repeat([]byte{fill}, storage.SecretsKeySize))
	require.NoError(t, err)
	return s
}

func TestSealerKeySize(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		_, err := storage.NewSealer(make([]byte, n))
		require.Error(t, err)
	}
}

func TestSealer(t *testing.T) {
	s := sealer(t, 1)
	for _, plain := range []string{"", "26785a09-ab16-4eb0-8407-a37497a57506", string(make([]byte, 1000))} {
		sealed := s.Seal([]byte(plain), "service/key")
		got, err := s.Open(sealed, "service/key")
		require.NoError(t, err)
		assert.Equal(t, plain, string(got))
		assert.NotEqual(t, sealed, s.Seal([]byte(plain), "service/key"), "never twice the same")
		if plain != "" {
			assert.NotContains(t, string(sealed), plain)
		}
		for name, open := range map[string]func() ([]byte, error){
			"another context": func() ([]byte, error) { return s.Open(sealed, "service/key2") },
			"another key":     func() ([]byte, error) { return sealer(t, 2).Open(sealed, "service/key") },
			"cut":             func() ([]byte, error) { return s.Open(sealed[:len(sealed)-1], "service/key") },
			"longer":          func() ([]byte, error) { return s.Open(append(bytes.Clone(sealed), 0), "service/key") },
		} {
			_, err := open()
			require.Error(t, err, name)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			_, err := s.Open(changed, "service/key")
			require.Error(t, err, "byte %d", i)
		}
	}
}

func FuzzSealerOpen(f *testing.F) {
	s := sealer(f, 1)
	f.Add([]byte(nil), "")
	f.Add([]byte{1}, "c")
	f.Add(s.Seal([]byte("secret"), "other"), "c")
	f.Fuzz(func(t *testing.T, sealed []byte, context string) {
		if context == "other" {
			return
		}
		if _, err := s.Open(sealed, context); err == nil {
			t.Fatal("opened what was never sealed")
		}
	})
}
