package caddymodule

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// TestSigningHubTerminal: the terminal is opened at the start, and not by a
// configuration that is only validated.
func TestSigningHubTerminal(t *testing.T) {
	opened, old := 0, openConsole
	openConsole = func() (*hub.TTY, error) {
		opened++
		return nil, errors.New("there is no terminal to ask at")
	}
	t.Cleanup(func() { openConsole = old })
	s := newHubSite(t, keysAt(t), "consent terminal")
	file := globals("") + s.caddyfile()
	cfg, err := adaptCaddyfile(t, file)
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, json.Unmarshal(cfg, &c))
	require.NoError(t, caddy.Validate(&c))
	require.Zero(t, opened)
	require.Zero(t, hubsInUse())

	require.ErrorContains(t, tryLoad(t, file), "consent terminal of signing_hub: there is no terminal to ask at")
	require.Equal(t, 1, opened)
	require.Zero(t, hubsInUse())
}

// TestLateConsole: what was never opened is not opened after its end.
func TestLateConsole(t *testing.T) {
	l := new(lateConsole)
	require.NoError(t, l.Close())
	_, err := l.ReadLine(t.Context(), "", false)
	require.ErrorContains(t, err, "closed")
	_, err = l.Write(nil)
	require.ErrorContains(t, err, "closed")
	require.NoError(t, l.Close())
}
