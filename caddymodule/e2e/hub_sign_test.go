//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// From the command that asks to files that openssl accepts, and nothing in
// between is made up: a real browser, the signing API, the hub, the user's
// consent on the hub's own page, and a card in SoftHSM whose certificate leads
// to the authority in trust_pool.
func TestHubSigns(t *testing.T) {
	st := newHubStage(t)
	st.hub.start(t, st.hub.caddyfile(st.hubOptions(t, ""), ""))
	require.NoFileExists(t, filepath.Join(st.hub.dir, "signpost.db"), "a hub has nothing to store")
	steps := 0 // of progress that were seen
	for i, c := range []struct {
		algorithm string
		documents int
		wrong     bool // PIN at first
	}{
		{algorithm: "RS256", documents: 1, wrong: true},
		{algorithm: "RS1", documents: 1},
		{algorithm: "RS256", documents: 250},
		{algorithm: "RS1", documents: 250},
	} {
		t.Run(fmt.Sprintf("%s %d", c.algorithm, c.documents), func(t *testing.T) {
			r, b := st.request(t, c.algorithm, c.documents), st.tab(t)
			b.visit(r.page)
			b.press("Show the documents")
			b.await("documents")
			b.press("Sign with your smartcard")
			if i == 0 {
				// Once for a site, as long as the hub runs.
				shown := st.hub.consent(b)
				shown.shot("hub-certificates")
				assert.Contains(t, shown.text("main"), originOf(t, st.app.base))
				assert.Contains(t, shown.text("fieldset"), prescriber+"_"+cardHolder)
				shown.press("Show")
				shown.ends("Certificates shown")
			}
			asked := st.hub.consent(b)
			asked.shot(fmt.Sprintf("hub-sign-%d", c.documents))
			requireConsent(asked, r, c.algorithm)
			asked.quiet()
			if c.wrong {
				asked.enter(wrongPIN)
				asked.press("Sign")
				asked.shows("pin")
				asked.shot("hub-pin-wrong")
				assert.Contains(t, asked.text("main"), "The PIN was wrong.")
			}
			asked.enter(cardPIN)
			progress := st.hub.watch(t, asked.address(), c.documents+1)
			asked.press("Sign")
			asked.do(chromedp.WaitNotPresent(chromedp.CSS(`main[data-state="asking"], main[data-state="pin"]`)))
			if c.documents > 1 {
				asked.shot("hub-working")
			}
			numbers := <-progress
			asked.ends("Signed")
			asked.shot("hub-signed")
			if c.documents > 1 {
				assert.True(t, slices.IsSorted(numbers), "%v", numbers)
				steps = max(steps, len(slices.Compact(slices.Clone(numbers))))
			}
			r.requireSigned(t, c.algorithm, st.hub.card.CA)
			b.quiet()
		})
	}
	// A batch takes a fifth of a second: one of the two is seen on its way.
	assert.Greater(t, steps, 3, "the page shows progress")
	require.Equal(t, 4, st.hub.logged(t, "signed"))
	st.hub.requireDiscreet(t, st.app)
}

// requireConsent checks that the hub's page tells the user what it is about.
func requireConsent(b *tab, r *asking, algorithm string) {
	b.Helper()
	facts := b.text("dl")
	for _, fact := range []string{r.origin, r.client, prescriber, strconv.Itoa(len(r.files)), algorithm} {
		assert.Contains(b, facts, fact)
	}
	require.Equal(b, len(r.files), evaluate[int](b, `document.querySelectorAll("pre").length`))
	for i := range r.files {
		if i > 0 && i < len(r.files)-1 {
			continue // all are made alike
		}
		document, err := os.ReadFile(r.files[i])
		require.NoError(b, err)
		assert.Equal(b, string(document), evaluate[string](b, fmt.Sprintf(`document.querySelectorAll("pre")[%d].textContent`, i)))
	}
}

// address is where the tab is.
func (b *tab) address() string {
	b.Helper()
	return evaluate[string](b, `location.href`)
}

var signedSoFar = regexp.MustCompile(`(\d+) of \d+ documents? signed`)

// watch looks at a page of the hub again and again, as fast as it can, until it
// tells the end or that enough documents are signed, and returns the numbers of
// signed documents that it showed.
func (h *hubServer) watch(t testing.TB, page string, enough int) <-chan []int {
	t.Helper()
	all := make(chan []int, 1)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	t.Cleanup(stop)
	go func() {
		var numbers []int
		defer func() { all <- numbers }()
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, http.NoBody)
			if err != nil {
				return
			}
			resp, err := h.client.Do(req)
			if err != nil {
				return
			}
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || bytes.Contains(b, []byte(`data-state="ended"`)) {
				return
			}
			if m := signedSoFar.FindSubmatch(b); m != nil {
				n, _ := strconv.Atoi(string(m[1])) // digits
				if numbers = append(numbers, n); n >= enough {
					return
				}
			}
		}
	}()
	return all
}

// asking is a running `sign request`.
type asking struct {
	origin, client string
	page           string // where the user signs
	files          []string

	cmd    *exec.Cmd
	out    *bufio.Reader
	errors bytes.Buffer
}

// request runs the command for documents of this kind.
func (st *hubStage) request(t testing.TB, algorithm string, documents int) *asking {
	t.Helper()
	r := &asking{origin: originOf(t, st.app.base), client: st.cli.id}
	dir := t.TempDir()
	key, err := jwks.EncodePrivateKey(st.cli.private)
	require.NoError(t, err)
	keyFile := filepath.Join(dir, "client.key")
	require.NoError(t, os.WriteFile(keyFile, key, 0o600))
	for i := range documents {
		file := filepath.Join(dir, fmt.Sprintf("prescription-%03d.xml", i))
		document := signedInfo(fmt.Sprintf("%s%06d", algorithm, i))
		require.NoError(t, os.WriteFile(file, document, 0o600))
		st.app.secrets.add(string(document), encoded(document))
		r.files = append(r.files, file)
	}
	args := []string{
		"signpost", "sign", "request", "--url", st.app.base, "--cacert", st.rootFile(), "--client", st.cli.id,
		"--key", keyFile, "--kid", st.cli.kid, "--sub", prescriber, "--algorithm", algorithm, "--listen", st.listen,
	}
	r.cmd = exec.Command(binary, append(args, r.files...)...)
	r.cmd.Dir, r.cmd.Env, r.cmd.Stderr = dir, st.env, &r.errors
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill() // it may have ended
			_ = r.cmd.Wait()
		}
	})
	r.out = bufio.NewReader(out)
	page, err := r.out.ReadString('\n')
	require.NoError(t, err, "%s", &r.errors)
	r.page = strings.TrimSpace(page)
	require.Contains(t, r.page, st.app.base+"/client?token=")
	return r
}

// requireSigned waits for the command to end, and checks its files without
// anything of ours.
func (r *asking) requireSigned(t testing.TB, algorithm, authority string) {
	t.Helper()
	said, err := io.ReadAll(r.out)
	require.NoError(t, err)
	require.NoError(t, r.cmd.Wait(), "%s%s", said, &r.errors)
	require.Regexp(t, `(?m)^signed by +"CN=`+prescriber+"_"+cardHolder+",OU=People,", string(said))
	require.Contains(t, string(said), "key         RSA of 2048 bits")

	hash := map[string]string{"RS256": "-sha256", "RS1": "-sha1"}[algorithm]
	dir := filepath.Dir(r.files[0])
	public := filepath.Join(dir, "public.pem")
	began := time.Now()
	for i, file := range r.files {
		certificate := file + ".cert.pem"
		if i == 0 {
			openssl(t, dir, "x509", "-in", certificate, "-pubkey", "-noout", "-out", public)
			require.Contains(t, openssl(t, dir, "verify", "-CAfile", authority, "-purpose", "any", certificate), "OK")
			require.Regexp(t, `X509v3 Key Usage: critical\s+Non Repudiation\s`, openssl(t, dir, "x509", "-in", certificate, "-noout", "-ext", "keyUsage"))
		}
		require.Equal(t, "Verified OK\n", openssl(t, dir, "dgst", hash, "-verify", public, "-signature", file+".sig", file))
	}
	t.Logf("openssl has verified %d signatures in %s", len(r.files), time.Since(began).Round(time.Millisecond))
	// It would have noticed.
	require.NoError(t, os.WriteFile(r.files[0], []byte("another"), 0o600))
	require.NotZero(t, execute(t, dir, os.Environ(), "", "openssl", "dgst", hash, "-verify", public, "-signature", r.files[0]+".sig", r.files[0]).code)
}

// openssl runs a command that must succeed, and returns what it prints.
func openssl(t testing.TB, dir string, args ...string) string {
	t.Helper()
	_, err := exec.LookPath("openssl")
	require.NoError(t, err, "apt-get install openssl")
	out := execute(t, dir, os.Environ(), "", "openssl", args...)
	require.Zero(t, out.code, "openssl %s: %s", strings.Join(args, " "), out.all())
	return out.stdout
}
