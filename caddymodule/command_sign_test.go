package caddymodule

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing/client"
)

const signUser = "555086689106"

// signSite is a running signing API with a client that was added by command.
type signSite struct {
	addr, admin string
	base        string
	key         string // file
	client      string
	listen      string // address of the client's callback
}

// newSignSite runs one in this process.
func newSignSite(t *testing.T, signpost, options string) *signSite {
	t.Helper()
	port, admin, listen := freePort(t), freePort(t), freePort(t)
	s := &signSite{
		addr: fmt.Sprintf("127.0.0.1:%d", port), admin: fmt.Sprintf("127.0.0.1:%d", admin), listen: fmt.Sprintf("127.0.0.1:%d", listen),
		key: privateKeyFile(t, "test-4096"),
	}
	s.base = "http://" + s.addr + "/signing-service"
	load(t, strings.Replace(globals("storage memory "+strings.ReplaceAll(t.Name(), "/", "-")+"\n"+signpost)+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n handle_path /signing-service/* {\n signing_api {\n base_url %s\n mock on\n %s\n }\n }\n}\n", port, s.base, options),
		"admin off", "admin "+s.admin, 1))
	s.client = s.addClient(t)
	return s
}

// privateKeyFile writes one of the test keys as PEM.
func privateKeyFile(t *testing.T, kid string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(issuerOf(t, kid).key)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), kid+".key.pem")
	writeFile(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return path
}

func publicPEM(t *testing.T, kid string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(issuerOf(t, kid).key.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (s *signSite) addClient(t *testing.T) string {
	t.Helper()
	out, err := runCommand(t, publicPEM(t, "test-4096"), "client", "add", "--address", s.admin, "--keys", "-", "--name", "Pharmacy",
		"--callback", "http://"+s.listen+"/signed?x=1")
	require.NoError(t, err, out)
	lines := strings.Fields(out)
	require.Equal(t, []string{"client", "kid"}, []string{lines[0], lines[2]})
	return lines[1]
}

func (s *signSite) args(more ...string) []string {
	return append([]string{"sign", "request", "--url", s.base, "--client", s.client, "--key", s.key, "--sub", signUser}, more...)
}

// asking is sign request while it waits.
type asking struct {
	t      *testing.T
	page   string // what it printed first
	out    chan string
	err    chan error
	cancel context.CancelFunc
}

// start runs a command until it has printed the page's address.
func start(t *testing.T, stdin string, args ...string) *asking {
	t.Helper()
	root := &cobra.Command{Use: "signpost", SilenceUsage: true, SilenceErrors: true}
	command().CobraFunc(root)
	read, write := io.Pipe()
	root.SetOut(write)
	root.SetErr(write)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	r := &asking{t: t, out: make(chan string, 1), err: make(chan error, 1)}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	t.Cleanup(r.cancel)
	go func() {
		err := root.ExecuteContext(ctx)
		write.Close()
		r.err <- err
	}()
	lines := bufio.NewReader(read)
	first, err := lines.ReadString('\n')
	if err != nil {
		require.NoError(t, <-r.err)
	}
	r.page = strings.TrimSpace(first)
	go func() {
		rest, _ := io.ReadAll(lines)
		r.out <- string(rest)
	}()
	return r
}

func (r *asking) end() (out string, err error) { return <-r.out, <-r.err }

// browser plays the page: it opens the address, signs with the mock, and says
// where the browser goes.
func (s *signSite) browser(t *testing.T, page string) string {
	t.Helper()
	u, err := url.Parse(page)
	require.NoError(t, err)
	token := u.Query().Get("token")
	resp := call(t, s.addr, http.MethodGet, u.RequestURI(), "")
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	require.Contains(t, resp.text, "Pharmacy")
	cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	lines := []string{"Cookie: " + cookie, "Origin: http://" + s.addr, "Sec-Fetch-Site: same-origin", "Content-Type: application/json"}
	resp = call(t, s.addr, http.MethodGet, "/signing-service/signaturerequest/"+token, "", lines[:3]...)
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	resp = call(t, s.addr, http.MethodPost, "/signing-service/mock/"+token, "{}", lines...)
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	resp = call(t, s.addr, http.MethodPost, "/signing-service/signatureresponse/"+token, resp.text, lines...)
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	var answer struct{ RedirectURI string }
	require.NoError(t, json.Unmarshal([]byte(resp.text), &answer))
	return answer.RedirectURI
}

func fetchPage(t *testing.T, address string) (int, string) {
	t.Helper()
	resp, err := plainClient.Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func stubBrowser(t *testing.T, err error) *string {
	t.Helper()
	opened, old := new(string), openBrowser
	openBrowser = func(address string) error { *opened = address; return err }
	t.Cleanup(func() { openBrowser = old })
	return opened
}

// TestSignRequest asks, with a callback, for signatures of files in several
// places, and verifies what was written.
func TestSignRequest(t *testing.T) {
	s := newSignSite(t, "", "")
	opened := stubBrowser(t, nil)
	one, two := t.TempDir(), t.TempDir()
	a, b := filepath.Join(one, "doc.xml"), filepath.Join(two, "doc.xml")
	writeFile(t, a, "<a/>\r\n")
	writeFile(t, b, "\x00\xff not text")
	args := s.args("--listen", s.listen, "--open", "--mock", a, b)

	r := start(t, "", args...)
	require.True(t, strings.HasPrefix(r.page, s.base+"/client?token="), r.page)
	require.True(t, strings.HasSuffix(r.page, "&mock=true"))

	// What doesn't come from the page is not believed.
	status, text := fetchPage(t, "http://"+s.listen+"/signed?token=x&state=y")
	require.Equal(t, http.StatusNotFound, status, text)
	back := s.browser(t, r.page)
	require.Regexp(t, `^http://`+s.listen+`/signed\?x=1&token=\w{48}&state=\w{26}$`, back)
	status, text = fetchPage(t, back)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "Signed, you can close this window")

	out, err := r.end()
	require.NoError(t, err, out)
	require.Equal(t, r.page, *opened)
	for _, want := range []string{
		"Open this page in the browser of user " + signUser, "CN=" + signUser + "_MOCK", "chain       not checked",
		"this is NOT A REAL SIGNATURE", "wrote       " + a + ".sig, " + a + ".cert.pem", b + ".sig",
	} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "does not name the user")
	for _, path := range []string{a, b} {
		require.Len(t, readFile(t, path+".sig"), 256)
		if runtime.GOOS != "windows" {
			requireMode(t, path+".sig", 0o644)
			requireMode(t, path+".cert.pem", 0o644)
		}
		out := mustRun(t, "sign", "verify", "--certificate", path+".cert.pem", "--signature", path+".sig", path)
		assert.Contains(t, out, "ok          the key of this certificate has signed "+path)
	}
	_, err = runCommand(t, "", "sign", "verify", "--certificate", a+".cert.pem", "--signature", a+".sig", b)
	require.EqualError(t, err, "the signatures do not verify: Signature is not valid")

	// Nothing is overwritten, and that is known before anybody is asked to sign.
	before := readFile(t, a+".sig")
	_, err = runCommand(t, "", args...)
	require.ErrorContains(t, err, a+".sig exists already: name another folder with --out, or overwrite it with --force")
	require.Equal(t, before, readFile(t, a+".sig"))
	writeFile(t, a, "another")
	r = start(t, "", append(args, "--force")...)
	_, text = fetchPage(t, s.browser(t, r.page))
	require.Contains(t, text, "Signed")
	out, err = r.end()
	require.NoError(t, err, out)
	require.NotEqual(t, before, readFile(t, a+".sig"))
	mustRun(t, "sign", "verify", "--certificate", a+".cert.pem", "--signature", a+".sig", a)
	require.Len(t, names(t, one), 3)
}

// TestSignRequestPolls asks without a callback, in the form for one document.
func TestSignRequestPolls(t *testing.T) {
	s := newSignSite(t, "", "")
	dir := t.TempDir()
	r := start(t, "from a pipe", s.args("--single", "--algorithm", "RS1", "--mock", "--state", "s t", "--json", "--out", dir, "-")...)
	require.Contains(t, s.browser(t, r.page), "&state=s%20t")
	out, err := r.end()
	require.NoError(t, err, out)
	var report struct {
		Signer struct {
			Subject, SHA256 string
			Mock, Trusted   bool
			Bits            int `json:"key_bits"`
		}
		Files []map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &report), out)
	require.True(t, report.Signer.Mock)
	require.False(t, report.Signer.Trusted)
	require.Equal(t, 2048, report.Signer.Bits)
	require.Len(t, report.Signer.SHA256, 64)
	signature, certificate := filepath.Join(dir, "stdin.sig"), filepath.Join(dir, "stdin.cert.pem")
	require.Equal(t, []map[string]string{{"file": "-", "id": "stdin", "signature_file": signature, "certificate_file": certificate}}, report.Files)
	for algorithm, verdict := range map[string]string{"RS1": "", "RS256": "Signature is not valid"} {
		_, err := runCommand(t, "from a pipe", "sign", "verify", "--certificate", certificate, "--signature", signature, "--algorithm", algorithm, "-")
		if verdict == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, verdict)
		}
	}
}

// What isn't trusted is not written, and the browser isn't told that it is.
func TestSignRequestUntrusted(t *testing.T) {
	s := newSignSite(t, "", "")
	file := filepath.Join(t.TempDir(), "a")
	writeFile(t, file, "a")
	trust := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, trust, string(newCard(t).authority))
	r := start(t, "", s.args("--listen", s.listen, "--trust", trust, "--mock", file)...)
	_, text := fetchPage(t, s.browser(t, r.page))
	require.Contains(t, text, "That did not work")
	_, err := r.end()
	require.EqualError(t, err, "the signatures do not verify: The certificate is not from a trusted authority")
	require.Equal(t, []string{"a"}, names(t, filepath.Dir(file)))
}

func TestSignRequestStops(t *testing.T) {
	s := newSignSite(t, "", "")
	file := filepath.Join(t.TempDir(), "a")
	writeFile(t, file, "a")
	r := start(t, "", s.args("--listen", s.listen, file)...)
	r.cancel()
	_, err := r.end()
	require.ErrorContains(t, err, "stopped waiting for the signatures, nothing was written")

	r = start(t, "", s.args("--expires-in", "1s", file)...)
	_, err = r.end()
	require.ErrorIs(t, err, client.ErrNotSigned)
	require.Equal(t, []string{"a"}, names(t, filepath.Dir(file)))
}

// TestSignRequestRefusals: what can be told without the server is told before
// it is asked.
func TestSignRequestRefusals(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	dir := t.TempDir()
	file, empty, large := filepath.Join(dir, "a"), filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	writeFile(t, file, "a")
	writeFile(t, empty, "")
	writeFile(t, large, strings.Repeat("x", 600<<10))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file, link))
	busy := newUpstream(t).Listener.Addr().String()
	key := privateKeyFile(t, "test-4096")
	curve, _ := newPair(t, "k")
	many := make([]string, 251)
	for i := range many {
		many[i] = file
	}
	base := []string{"sign", "request", "--url", server.URL, "--client", "c", "--key", key, "--sub", signUser}
	for says, args := range map[string][]string{
		"requires at least 1 arg":                           {},
		"there are 251 files, more than the 250":            many,
		"no such file":                                      {filepath.Join(dir, "none")},
		empty + " is empty: there is nothing to sign":       {file, empty},
		"more than 1024 KiB":                                {large, copyOf(t, large)},
		"more than the 1048576 that a signing API takes":    {large},
		"is named twice":                                    {file, link},
		"only one file can be read from standard input":     {"-", "-"},
		"can't hold 2 documents":                            {"--single", file, copyOf(t, file)},
		`--algorithm "RS512": it must be RS256 or RS1`:      {"--algorithm", "RS512", file},
		"can't be given 11m0s to sign":                      {"--expires-in", "11m", file},
		"the state must be UTF-8 of at most 256 bytes":      {"--state", strings.Repeat("a", 257), file},
		`--listen "0.0.0.0:80": it must be a loopback`:      {"--listen", "0.0.0.0:80", file},
		`--listen ":80": it must be a loopback`:             {"--listen", ":80", file},
		`--listen "127.0.0.1": it must be a loopback`:       {"--listen", "127.0.0.1", file},
		"address already in use":                            {"--listen", busy, file},
		"--out " + file + ": it is no folder":               {"--out", file, file},
		"--out nowhere: stat":                               {"--out", "nowhere", file},
		"--trust: " + file + " holds no PEM":                {"--trust", file, file},
		"--min-card-key-bits 512: it must be 1024 to 16384": {"--min-card-key-bits", "512", file},
		"must begin with https:// and a host":               {"--url", "http://sign.example.org", file},
		"--key: jwks: private key":                          {"--key", file, file},
		"signature requests are signed with RS512":          {"--key", curve, file},
		"--access-token: open":                              {"--access-token", "@" + filepath.Join(dir, "none"), file},
		"the client's id is empty":                          {"--client", "", file},
		"holds no PEM certificate":                          {"--cacert", file, file},
	} {
		_, err := runCommand(t, "", append(base[:len(base):len(base)], args...)...)
		require.ErrorContains(t, err, says)
	}
	require.Zero(t, asked)
	_, err := runCommand(t, "", "sign", "request", file)
	require.ErrorContains(t, err, `required flag(s) "client", "key", "sub", "url" not set`)
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), filepath.Base(path))
	writeFile(t, other, string(readFile(t, path)))
	return other
}

// TestSignRequestServerSays: refusals of the server are passed on, with what to
// do about them.
func TestSignRequestServerSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	writeFile(t, file, "a")
	for _, site := range []struct {
		signpost, options string
		cases             map[string][]string
	}{
		{"", "signature_algorithms RS256", map[string][]string{
			`400: JWT header is not valid. "kid" is not known` + "\nAre --client and --kid": {"--kid", "other"},
			"\"kid\" is not known\n":                                                                       {"--client", "other"},
			`400: JWT payload is not valid. "aud" must be [`:                                               {"--aud", "https://other.example"},
			"--url must be the server's base_url to the letter":                                            {"--aud", "https://other.example"},
			"400: JWT signature is not valid\nThe server has another public key":                           {"--key", privateKeyFile(t, "attacker-4096"), "--kid", thumbprint(t, "test-4096")},
			"400: JWT payload is not valid. \"algorithm\" must be [RS256]\nThe server does not take signa": {"--algorithm", "RS1"},
		}},
		{fmt.Sprintf("key_set id {\n source file %s\n issuer client-1\n}\n", keyFile(t)), "access_token {\n key_set id\n}", map[string][]string{
			"401: Invalid Access Token\nThe server asks for an access token": nil,
			"The access token is another client's":                           {"--access-token", issuerOf(t, "test-4096").token(t, map[string]any{"client_id": "client-2"})},
		}},
	} {
		s := newSignSite(t, site.signpost, site.options)
		for says, args := range site.cases {
			_, err := runCommand(t, "", append(s.args(file), args...)...)
			require.ErrorContains(t, err, says)
		}
		if site.signpost == "" {
			continue
		}
		token := issuerOf(t, "test-4096").token(t, map[string]any{"client_id": s.client})
		path := filepath.Join(t.TempDir(), "token")
		writeFile(t, path, token+"\n")
		t.Setenv(accessTokenEnv, "@"+path)
		r := start(t, "", s.args("--mock", "--listen", s.listen, file)...)
		_, text := fetchPage(t, s.browser(t, r.page))
		require.Contains(t, text, "Signed")
		out, err := r.end()
		require.NoError(t, err, out)
	}
}

func thumbprint(t *testing.T, kid string) string {
	t.Helper()
	keys, err := requestKeys([]byte(publicPEM(t, kid)), "")
	require.NoError(t, err)
	return keys[0].Thumbprint
}

func TestSignRequestTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	writeFile(t, file, "a")
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	args := []string{"sign", "request", "--url", server.URL + "/", "--client", "c", "--key", privateKeyFile(t, "test-4096"), "--sub", signUser, file}
	_, err := runCommand(t, "", args...)
	require.ErrorContains(t, err, "--cacert")
	authority := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	_, err = runCommand(t, "", append(args, "--cacert", authority)...)
	require.ErrorContains(t, err, "the signing API answered 404: 404 page not found")
}

func TestDocumentIDs(t *testing.T) {
	taken := make(map[string]bool)
	for _, c := range [][2]string{
		{"/a/doc.xml", "doc.xml"},
		{"doc.xml", "doc.xml-2"},
		{"x/DOC.xml", "DOC.xml-3"},
		{"doc.xml-2", "doc.xml-2-2"},
		{"-", "stdin"},
		{"./stdin", "stdin-2"},
		{"a\xff\nb\u202e", "a__b_"},
		{strings.Repeat("é", 150), strings.Repeat("é", 100)},
	} {
		require.Equal(t, c[1], documentID(c[0], taken), c[0])
	}
}

func TestBrowserCommand(t *testing.T) {
	for system, want := range map[string]string{"linux": "xdg-open", "freebsd": "xdg-open", "darwin": "open", "windows": "rundll32"} {
		name, _ := browserCommand(system)
		require.Equal(t, want, name)
	}
	require.Equal(t, "https://a/client?mock=true", withMock("https://a/client"))
}

// FuzzDocumentID: whatever the files are called, the ids are unique, fit into a
// request and name files in one folder.
func FuzzDocumentID(f *testing.F) {
	f.Add("doc.xml", "x/doc.xml")
	f.Add("-", "stdin")
	f.Add("\xff/..", ".")
	f.Add("a-2", strings.Repeat("€", 90))
	f.Fuzz(func(t *testing.T, a, b string) {
		taken := make(map[string]bool)
		seen := make(map[string]bool)
		for _, path := range []string{a, b, a, strings.ToUpper(b), b} {
			id := documentID(path, taken)
			require.False(t, seen[strings.ToLower(id)], id)
			seen[strings.ToLower(id)] = true
			require.True(t, utf8.ValidString(id))
			require.NotEmpty(t, id)
			require.LessOrEqual(t, len(id), client.MaxName)
			require.NotContains(t, id, "/")
		}
	})
}
