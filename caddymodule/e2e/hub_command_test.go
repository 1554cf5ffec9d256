//go:build linux

package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// command runs `caddy signpost hub` instead of a Caddyfile.
func (h *hubServer) command(t testing.TB, args ...string) {
	t.Helper()
	path, err := hubBinary()
	require.NoError(t, err)
	h.log = filepath.Join(h.dir, "hub.log")
	out, err := os.Create(h.log)
	require.NoError(t, err)
	defer out.Close()
	cmd := exec.Command(path, append([]string{"signpost", "hub"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = h.dir, h.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	h.cmd, h.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // how it ended is judged by its state
		close(exited)
	}()
	eventually(t, patience, func() (bool, string) {
		text := h.said(t)
		return strings.Contains(text, "Stop with Ctrl-C"), text
	})
}

func (h *hubServer) said(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(h.log)
	require.NoError(t, err)
	return string(b)
}

// Without a Caddyfile: a test card, what cards there are, and a hub that signs,
// until Ctrl-C.
func TestHubCommand(t *testing.T) {
	t.Parallel()
	h := newHubServer(t, newCard(t))
	s, a := newServer(t), plainApplication(t)
	s.start(t, plainSigningConfig(t, a, "trust_pool file "+h.card.CA+"\npublish_keys on"))

	out := h.caddy(t, "signpost", "hub", "cards", "--module", h.card.Module)
	require.Zero(t, out.code, out.all())
	assert.Contains(t, out.stdout, cardLabel)
	assert.Contains(t, out.stdout, prescriber+"_"+cardHolder)

	h.command(t, "--module", h.card.Module, "--token", cardLabel, "--requests-from", a.base, "--listen", address(h.port))
	assert.Contains(t, h.said(t), cardLabel)
	assert.Contains(t, h.said(t), prescriber+"_"+cardHolder)
	assert.Contains(t, h.said(t), h.base)
	origin := originOf(t, a.base)
	assert.Contains(t, h.said(t), origin)

	documents := twoDocuments()
	request := a.askFor(t, "", documents, map[string]any{"algorithm": "RS1"})
	token := a.do(t, http.MethodGet, "/signaturerequest/"+request.Token, "")
	require.Equal(t, http.StatusOK, token.status, "%s", token.body)
	answers := make(chan answer, 1)
	go func() {
		answers <- h.ask(t, http.MethodPost, "/hub/v1/sign", signBody(t, string(token.body)), origin)
	}()
	h.answer(t, h.consentPage(t), cardPIN)
	var signatures signed
	require.NoError(t, json.Unmarshal((<-answers).body, &signatures))
	eventually(t, patience, func() (bool, string) {
		_, err := os.Stat(h.door)
		return os.IsNotExist(err), "the way to the question is still there"
	})
	uploaded := a.upload(t, request.Token, signed{Signatures: signatures.Signatures, Certificate: signatures.Certificate}.json(t))
	require.Equal(t, http.StatusOK, uploaded.status, "%s", uploaded.body)
	a.requireResult(t, request.Token).requireVerifies(t, h.card.roots(t), "RS1", false, documents)
	assert.NotContains(t, h.said(t), cardPIN)
	a.secrets.requireAbsent(t, "what the hub says", h.said(t))

	require.NoError(t, h.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-h.exited:
	case <-time.After(patience):
		t.Fatal("the hub does not end")
	}
	assert.Zero(t, h.cmd.ProcessState.ExitCode(), h.said(t))
	h.cmd = nil
	left, err := filepath.Glob(filepath.Join(h.dir, "*.db"))
	require.NoError(t, err)
	assert.Empty(t, left, "the hub has nothing to store")
}

// answer agrees on a page of the hub, as its form does.
func (h *hubServer) answer(t testing.TB, page, pin string) answer {
	t.Helper()
	form := url.Values{"step": {"1"}, "decision": {"approve"}, "pin": {pin}}.Encode()
	return h.submit(t, page, form, h.base)
}

// submit sends the form of a page of the hub from an origin.
func (h *hubServer) submit(t testing.TB, page, form, origin string) answer {
	t.Helper()
	req := h.newRequest(t, http.MethodPost, strings.TrimPrefix(page, h.base), form, origin)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return h.send(t, req)
}
