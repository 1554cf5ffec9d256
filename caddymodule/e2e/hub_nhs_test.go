//go:build linux

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// prsPorts are those of the NHS port service. They can't be others: pages know
// them by heart.
var prsPorts = []int{43487, 44213, 45031, 46478, 48853}

// Pages for NHS Credential Management get their signatures from this hub, by
// the very library that they use, and our own page from a hub that speaks only
// their protocol.
func TestHubCompatibility(t *testing.T) {
	st := newHubStage(t)
	st.page.serve("/signalr.js", "text/javascript", signalRBundle(t))
	client, err := os.ReadFile("testdata/signalr/client.js")
	require.NoError(t, err)
	st.page.serve("/client.js", "text/javascript", string(client))
	st.page.serve("/{$}", "text/html", `<!doctype html><link rel="icon" href="data:,"><title>Prescriptions</title>
<script src="/signalr.js"></script><script src="/client.js"></script>`)

	// Of the five, two are the hub's, and the others what one may meet: nobody,
	// somebody who never answers, and another program.
	awaitPRSPorts(t)
	silent, err := net.Listen("tcp", address(prsPorts[1]))
	require.NoError(t, err)
	defer silent.Close()
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		_, _ = w.Write([]byte("It works!")) // the browser may have gone
	})}
	defer other.Close()
	l, err := net.Listen("tcp", address(prsPorts[3]))
	require.NoError(t, err)
	go func() { _ = other.Serve(l) }()
	addresses := []string{
		fmt.Sprintf("http://localhost:%d", st.hub.port), fmt.Sprintf("http://127.0.0.1:%d", st.hub.port),
		fmt.Sprintf("http://localhost:%d", prsPorts[2]), fmt.Sprintf("http://localhost:%d", prsPorts[4]),
	}
	// It has nothing of hub/1.
	options := st.hub.options(st.hubOptions(t, fmt.Sprintf("key_set pages\nunsigned_requests on\naddress localhost:%d", st.hub.port)))
	st.hub.base = fmt.Sprintf("http://localhost:%d", st.hub.port)
	st.hub.start(t, st.hub.sites(addresses, "@nhs path /PRS/* /signalr/* /consent/*\nsigning_hub @nhs {\n"+options+"\n}\nrespond 404",
		fmt.Sprintf("key_set pages {\n source inline `%s`\n issuer %s\n}", st.app.keySet(t), st.app.id)))
	page := st.app.at(st.page.URL+"/prescriptions", st.app.http)
	documents := twoDocuments()
	signedRequest := page.mint(t, page.claims(documents, map[string]any{"algorithm": "RS1"}))

	const ok, notProcessed, refused = 0, 0x53494703, 0x534947F1
	for _, c := range []struct {
		name, argument, algorithm string
		unsigned, again           bool
		status                    int
		says                      string
	}{
		{name: "base64 JSON RS256", argument: unsignedRequest(t, "RS256", documents), algorithm: "RS256", unsigned: true},
		{name: "base64 JSON RS1", argument: unsignedRequest(t, "RS1", documents), algorithm: "RS1", unsigned: true},
		{name: "JWT", argument: signedRequest, algorithm: "RS1"},
		{name: "JWT again", argument: signedRequest, algorithm: "RS1", again: true},
		{name: "JWT for another site", argument: st.app.mint(t, st.app.claims(documents, nil)), status: notProcessed, says: "aud"},
		{name: "not base64", argument: "%", status: notProcessed, says: "base64"},
		{name: "refused", argument: unsignedRequest(t, "RS256", documents), algorithm: "RS256", unsigned: true, status: refused, says: "did not agree"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := st.tab(t)
			b.visit(st.page.URL)
			evaluate[bool](b, fmt.Sprintf(`(requestToSign(%s, %q).then(r => window.result = JSON.stringify(r), e => window.result = "failed: " + e), true)`,
				marshal(t, prsPorts), c.argument))
			if c.algorithm != "" {
				asked := st.hub.consent(b)
				assert.Contains(t, asked.text("dl"), c.algorithm)
				assert.Equal(t, c.unsigned, strings.Contains(asked.text("main"), "Nobody but this web site vouches for the request."))
				if c.unsigned {
					asked.shot("hub-unsigned")
				}
				switch {
				case c.again:
					asked.shot("hub-again")
					asked.press("Hand over")
				case c.status == ok:
					asked.enter(cardPIN)
					asked.press("Sign")
				default:
					asked.press("Refuse")
				}
			}
			var result string
			eventually(t, patience, func() (bool, string) {
				result = evaluate[string](b, `window.result ?? ""`)
				return result != "", "the library has no result"
			})
			var got struct {
				signed

				Failed     []any  `json:"failed_signatures"`
				StatusCode int    `json:"status_code"`
				Message    string `json:"message"`
			}
			require.NoError(t, json.Unmarshal([]byte(result), &got), result)
			require.Equal(t, c.status, got.StatusCode, result)
			assert.Empty(t, got.Failed)
			if c.status != ok {
				assert.Contains(t, got.Message, c.says)
				assert.Contains(t, got.Message, fmt.Sprintf("0x%08X", c.status))
				assert.Empty(t, got.Signatures)
				assert.Empty(t, got.Certificate)
				return
			}
			got.requireVerifies(t, st.hub.card.roots(t), c.algorithm, false, documents)
		})
	}
	for _, algorithm := range []string{"RS256", "RS1"} {
		t.Run("our page "+algorithm, func(t *testing.T) {
			b := st.tab(t)
			request := st.nhs.askFor(t, "", documents, map[string]any{"algorithm": algorithm})
			b.visit(request.RedirectURI)
			b.press("Show the documents")
			b.await("documents")
			b.press("Sign with your smartcard")
			asked := st.hub.consent(b)
			asked.enter(cardPIN)
			asked.press("Sign")
			st.requireReturned(b, request.Token)
			for _, line := range b.said() {
				assert.Contains(t, line, "/PRS/GetPortNumber", "a browser tells of ports at which there is nobody, and nothing else is the matter")
			}
			st.nhs.requireResult(t, request.Token).requireVerifies(t, st.hub.card.roots(t), algorithm, false, documents)
		})
	}
	resp := st.hub.ask(t, http.MethodGet, "/hub/v1/info", "", st.page.URL)
	assert.Equal(t, http.StatusNotFound, resp.status, "this hub speaks nothing else")
	st.hub.requireDiscreet(t, st.app)
}

// unsignedRequest is what pages send that have no JWT.
func unsignedRequest(t testing.TB, algorithm string, documents []document) string {
	t.Helper()
	payloads := make([]map[string]string, len(documents))
	for i, d := range documents {
		payloads[i] = map[string]string{"id": d.id, "payload": encoded(d.payload)}
	}
	return base64.StdEncoding.EncodeToString(marshal(t, map[string]any{
		"algorithm": algorithm, "requestType": 1, "version": 1, "flags": 0, "payloads": payloads,
	}))
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// awaitPRSPorts waits until nobody has the ports: other tests on this computer
// may.
func awaitPRSPorts(t testing.TB) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		for _, port := range prsPorts {
			l, err := net.Listen("tcp", address(port))
			if err != nil {
				return false, err.Error()
			}
			_ = l.Close()
		}
		return true, ""
	})
}

// signalRBundle installs the package, and makes one script of it and what it
// requires, which defines signalR.
func signalRBundle(t testing.TB) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	require.NoError(t, err, "apt-get install npm")
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join("testdata/signalr", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	out := execute(t, dir, os.Environ(), "", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	require.Zero(t, out.code, "npm ci, which needs the registry of npm: %s", out.all())

	var script strings.Builder
	loader, err := os.ReadFile("testdata/signalr/loader.js")
	require.NoError(t, err)
	script.Write(loader)
	script.WriteString("const signalR = load({\n")
	root, mains := filepath.Join(dir, "node_modules"), map[string]string{}
	for _, pattern := range []string{"*/*.js", "*/lib/*.js", "*/build/*.js"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			name, err := filepath.Rel(root, path)
			require.NoError(t, err)
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			fmt.Fprintf(&script, "%q: function (module, exports, require) {\n%s\n},\n", name, source)
		}
	}
	packages, err := filepath.Glob(filepath.Join(root, "*/package.json"))
	require.NoError(t, err)
	for _, path := range packages {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		var about struct{ Name, Main string }
		require.NoError(t, json.Unmarshal(b, &about))
		mains[about.Name] = about.Name + "/" + about.Main
	}
	fmt.Fprintf(&script, "}, %s, %q);\n", marshal(t, mains), "signalr-no-jquery")
	return script.String()
}
