package jwks

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFetch(t *testing.T) {
	var accept string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept = r.Header.Get("Accept")
		switch r.URL.Path {
		case "/keys":
			_, _ = io.WriteString(w, `{"keys":[7]}`)
		case "/empty":
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat(" ", MaxURLBytes+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	fetch := func(path string) ([]byte, error) {
		return Fetch(t.Context(), URLConfig{URL: server.URL + path + "?token=hidden"})
	}
	text, err := fetch("/keys")
	require.NoError(t, err)
	assert.Equal(t, `{"keys":[7]}`, string(text), "though no key of it can be used")
	assert.Equal(t, "application/jwk-set+json, application/json", accept)
	text, err = fetch("/empty")
	require.NoError(t, err)
	assert.Empty(t, text)

	for path, says := range map[string]string{"/long": "longer than 512 KiB", "/none": "found status 404, expected 200"} {
		_, err := fetch(path)
		require.ErrorContains(t, err, says)
		assert.True(t, strings.HasPrefix(err.Error(), "jwks: key set at "+server.URL+path+": "), err)
		assert.NotContains(t, err.Error(), "hidden")
	}
	_, err = Fetch(t.Context(), URLConfig{URL: "http://id.example.org/"})
	require.ErrorContains(t, err, "http is for loopback addresses only")
	stopped := errors.New("stopped")
	_, err = Fetch(t.Context(), URLConfig{URL: "https://id.example.org/", Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, stopped })})
	require.ErrorIs(t, err, stopped)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
