//go:build cgo

package caddymodule

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub/testcard"
)

// TestHubCommandCard makes a card, looks at it, and signs with it, all by the
// command.
func TestHubCommandCard(t *testing.T) {
	module, err := testcard.Module()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "a card")
	// SoftHSM reads it when the process first uses the module.
	t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "softhsm2.conf"))
	t.Setenv(cardPINEnv, "")

	out := mustRun(t, "hub", "testcard", "--dir", dir, "--label", "a card", "--pin", "987654")
	require.Contains(t, out, "certificate  555086689106_TEST, issued by Signpost Test CA, valid until ")
	require.Contains(t, out, "export SOFTHSM2_CONF='"+dir+"/softhsm2.conf'\n")
	require.Contains(t, out, "hub --module "+module+" --token 'a card' --requests-from ")
	require.NotContains(t, out, "987654")
	require.NoFileExists(t, "testcard")
	_, err = runCommand(t, "", "hub", "testcard", "--dir", dir, "--label", "a card")
	require.ErrorContains(t, err, "already")
	_, err = runCommand(t, "", "hub", "testcard", "--dir", dir, "--pin", "123")
	require.ErrorContains(t, err, "PIN")

	out = mustRun(t, "hub", "cards", "--module", module)
	require.Regexp(t, `(?m)^TOKEN +SERIAL +STATE +CERTIFICATE +USABLE\na card +[0-9a-f]+ +ready +555086689106_TEST +yes: RS256, RS1, until `, out)
	var shown struct {
		Cards []struct {
			Label, Serial string
			Certificates  []struct {
				Name   string
				Usable bool
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, "hub", "cards", "--module", module, "--json")), &shown))
	require.Len(t, shown.Cards, 1)
	require.True(t, shown.Cards[0].Certificates[0].Usable)

	opened := openedPages(t)
	s := newHubSite(t, keysAt(t), "")
	r := start(t, "", "hub", "--listen", s.addr(), "--requests-from", s.base, "--module", module, "--token", shown.Cards[0].Serial)
	requireSigned(t, s.signAsked(t, plainClient, opened, s.request(t), "step=1&decision=approve&pin=987654"))
	r.cancel()
	out, err = r.end()
	require.NoError(t, err)
	require.Contains(t, out, "card         a card\n")

	// With the PIN in the environment nobody is asked for it.
	t.Setenv(cardPINEnv, "987654")
	r = start(t, "", "hub", "--listen", s.addr(), "--requests-from", s.base, "--module", module)
	requireSigned(t, s.signAsked(t, plainClient, opened, s.request(t), "step=1&decision=approve"))
	r.cancel()
	_, err = r.end()
	require.NoError(t, err)
	require.Zero(t, hubsInUse())

	_, err = runCommand(t, "", "hub", "cards", "--module", "/nonexistent/module.so")
	require.ErrorContains(t, err, "can't be found")
	_, err = runCommand(t, "", "hub", "cards")
	require.ErrorContains(t, err, "module")
}
