package field

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	d := json.NewDecoder(strings.NewReader(`{"a":{"b":["x",12345678901234567890]},"n":null,"t":true,"":"e"}`))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	for path, want := range map[string]string{
		"a.b.0": "x", "a.b.1": "12345678901234567890",
		"a.b.2": "-", "a.b.-1": "-", "a.b.x": "-", "a.b": "-", "a": "-", "n": "-", "t": "-", "z": "-", "a.b.0.c": "-",
	} {
		p, err := Parse(path)
		require.NoError(t, err)
		got, ok := p.Text(v)
		assert.Equal(t, want != "-", ok, path)
		if ok {
			assert.Equal(t, want, got, path)
		}
	}
	for _, bad := range []string{".", "a.", ".a", "a..b"} {
		_, err := Parse(bad)
		require.ErrorContains(t, err, "names joined by dots")
	}
	p, err := Parse("")
	require.NoError(t, err)
	assert.Nil(t, p)
}
