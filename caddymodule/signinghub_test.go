package caddymodule

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// testCard is a key and its certificate, made once.
var testCard = sync.OnceValues(func() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "555086689106_TEST"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0), KeyUsage: x509.KeyUsageContentCommitment,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...), nil
})

// cardFile writes the key where only this user can read it.
func cardFile(t testing.TB) string {
	t.Helper()
	text, err := testCard()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "card.pem")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// keysAt publishes the vectors' keys as a signing API does, and returns its
// base URL.
func keysAt(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/signing-service"+wellKnownJWKS {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(jwksTestdata(t, "signing_jwks.json"))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/signing-service"
}

// hubSite is a site with a hub that signs with the test card.
type hubSite struct {
	scheme, host, base, options, card string
	port                              int
}

func newHubSite(t testing.TB, base, options string) hubSite {
	t.Helper()
	return hubSite{"http", "", base, options, cardFile(t), freePort(t)}
}

func (s hubSite) caddyfile() string {
	return fmt.Sprintf(`%s://%s:%d {
		bind 127.0.0.1
		signing_hub {
			origins %s
			requests_from %s
			signer keyfile %s
			%s
		}
	}
	`, s.scheme, s.host, s.port, originOf(s.base), s.base, s.card, s.options)
}

func (s hubSite) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// ask calls the hub as a page of the origin does.
func (s hubSite) ask(t testing.TB, method, path, body string, lines ...string) answer {
	t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", method, path, s.addr(), len(body))
	for _, line := range append(lines, "Origin: "+originOf(s.base)) {
		head += line + "\r\n"
	}
	return raw(t, s.addr(), head+"\r\n"+body)
}

// request is a JWT that asks the hub to sign "one".
func (s hubSite) request(t testing.TB) string {
	t.Helper()
	return issuerOf(t, "test-4096").signatureRequest(t, map[string]any{"aud": s.base, "jti": rand.Text()})
}

func (s hubSite) sign(t testing.TB, request string) answer {
	t.Helper()
	return s.ask(t, http.MethodPost, "/hub/v1/sign", `{"request":"`+request+`"}`)
}

// requireSigned verifies the signature of "one" in the hub's answer.
func requireSigned(t testing.TB, a answer) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	var got struct {
		Signatures  []struct{ ID, Signature string }
		Certificate []byte
	}
	require.NoError(t, json.Unmarshal([]byte(a.text), &got))
	require.Len(t, got.Signatures, 1)
	require.Equal(t, "a", got.Signatures[0].ID)
	signature, err := base64.StdEncoding.DecodeString(got.Signatures[0].Signature)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(got.Certificate)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte("one"))
	require.NoError(t, rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], signature))
}

// requireGivenAgain checks that the hub remembers to have signed a JWT: it
// refuses to do so with another certificate.
func requireGivenAgain(t testing.TB, s hubSite, jwt string) {
	t.Helper()
	resp := s.ask(t, http.MethodPost, "/hub/v1/sign", `{"request":"`+jwt+`","certificateId":"another"}`)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, resp.text)
	require.Contains(t, resp.text, "This JWT has been signed with another certificate")
}

// requireForgotten checks that it doesn't.
func requireForgotten(t testing.TB, s hubSite, jwt string) {
	t.Helper()
	resp := s.ask(t, http.MethodPost, "/hub/v1/sign", `{"request":"`+jwt+`","certificateId":"another"}`)
	require.Contains(t, resp.text, `"no_certificate"`)
}

// hubsInUse is how many hubs the loaded configurations have.
func hubsInUse() (n int) {
	hubs.Range(func(_, _ any) bool { n++; return true })
	return n
}

// TestSigningHub: what the directive makes of its options, over a real listener.
func TestSigningHub(t *testing.T) {
	s := newHubSite(t, keysAt(t), "consent never\n name Pharmacy")
	load(t, globals("")+s.caddyfile())

	resp := s.ask(t, http.MethodGet, "/hub/v1/info", "")
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	require.JSONEq(t, `{"version":"1","name":"Pharmacy","algorithms":["RS256","RS1"],"card":"present"}`, resp.text)
	require.Equal(t, originOf(s.base), resp.Header.Get("Access-Control-Allow-Origin"))

	jwt := s.request(t)
	first := s.sign(t, jwt)
	requireSigned(t, first)
	require.Equal(t, first.text, s.sign(t, jwt).text)
	requireGivenAgain(t, s, jwt)

	// Another issuer's keys, another base URL of the same site.
	foreign := issuerOf(t, "test-4096").signatureRequest(t, map[string]any{"aud": strings.TrimSuffix(s.base, "/signing-service")})
	resp = s.sign(t, foreign)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, resp.text)

	// The port service names the hub's own port.
	resp = s.ask(t, http.MethodGet, "/PRS/GetPortNumber", "")
	require.JSONEq(t, fmt.Sprintf(`{"portData":{"portNumber":%d}}`, s.port), resp.text)

	for _, c := range []struct{ name, head string }{
		{"another origin", "Host: " + s.addr() + "\r\nOrigin: https://evil.example\r\n"},
		{"no origin", "Host: " + s.addr() + "\r\n"},
		{"another host", "Host: evil.example:" + fmt.Sprint(s.port) + "\r\nOrigin: " + originOf(s.base) + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := `{"request":"` + s.request(t) + `"}`
			resp := raw(t, s.addr(), fmt.Sprintf("POST /hub/v1/sign HTTP/1.1\r\n%sConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.head, len(body), body))
			require.Equal(t, http.StatusForbidden, resp.StatusCode, resp.text)
			require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
			require.NotContains(t, resp.text, "signature\"")
		})
	}

	require.NoError(t, caddy.Stop())
	require.Zero(t, hubsInUse())
}

// TestSigningHubKeySet: a named key set verifies the requests of its issuer.
func TestSigningHubKeySet(t *testing.T) {
	s := newHubSite(t, "https://sign.example.test/signing-service", "consent never\n compatibility off")
	file := strings.Replace(s.caddyfile(), "requests_from "+s.base, "key_set client", 1)
	load(t, globals(clientKeys(t))+file)
	requireSigned(t, s.sign(t, s.request(t)))
	require.Equal(t, http.StatusNotFound, s.ask(t, http.MethodGet, "/PRS/GetPortNumber", "").StatusCode)
	resp := s.sign(t, issuerOf(t, "test-4096").signatureRequest(t, map[string]any{"aud": s.base, "iss": "client-2"}))
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, resp.text)
}

// TestSigningHubOfTheSameServer: the signing API whose keys verify may be in the
// same configuration.
func TestSigningHubOfTheSameServer(t *testing.T) {
	port := freePort(t)
	base := fmt.Sprintf("http://127.0.0.1:%d/signing-service", port)
	s := newHubSite(t, base, "consent never")
	load(t, globals(signingClient(t))+s.caddyfile()+fmt.Sprintf(
		"http://127.0.0.1:%d {\n bind 127.0.0.1\n handle_path /signing-service/* {\n signing_api {\n base_url %s\n mock on\n publish_keys on\n}\n}\n}\n", port, base))
	// The hub waits for the keys, which come as soon as the other site answers. A
	// fetch that came too early is repeated when the next key is looked up.
	require.Eventually(t, func() bool { return s.sign(t, s.request(t)).StatusCode == http.StatusOK }, 20*time.Second, 50*time.Millisecond)
	requireSigned(t, s.sign(t, s.request(t)))
}

// TestSigningHubReload: a reload that doesn't change the hub leaves it its
// memory; one that does makes another.
func TestSigningHubReload(t *testing.T) {
	s := newHubSite(t, keysAt(t), "consent never")
	load(t, globals("")+s.caddyfile())
	jwt := s.request(t)
	requireSigned(t, s.sign(t, jwt))
	requireGivenAgain(t, s, jwt)
	before := appRunning(t).hubs[0]

	load(t, globals("")+s.caddyfile()+fmt.Sprintf("http://127.0.0.1:%d {\n bind 127.0.0.1\n respond x\n}\n", freePort(t)))
	require.Same(t, before, appRunning(t).hubs[0])
	requireGivenAgain(t, s, jwt)

	require.Error(t, tryLoad(t, globals("")+strings.Replace(s.caddyfile(), s.card, "/nonexistent/card.pem", 1)))
	require.Equal(t, 1, hubsInUse())
	requireGivenAgain(t, s, jwt)

	changed := s
	changed.options += "\n name Another"
	load(t, globals("")+changed.caddyfile())
	require.NotSame(t, before, appRunning(t).hubs[0])
	requireForgotten(t, s, jwt)
	requireSigned(t, s.sign(t, jwt))
	require.Equal(t, 1, hubsInUse())
}

// TestSigningHubPorts: a hub of several sites is one hub.
func TestSigningHubPorts(t *testing.T) {
	s := newHubSite(t, keysAt(t), "consent never")
	s.options += "\n address " + s.addr()
	other := s
	other.port = freePort(t)
	load(t, globals("")+strings.Replace(s.caddyfile(), " {", fmt.Sprintf(", http://:%d {", other.port), 1))
	require.Equal(t, 1, hubsInUse())
	resp := other.ask(t, http.MethodGet, "/PRS/GetPortNumber", "")
	require.JSONEq(t, fmt.Sprintf(`{"portData":{"portNumber":%d}}`, s.port), resp.text)
	jwt := s.request(t)
	requireSigned(t, other.sign(t, jwt))
	requireGivenAgain(t, s, jwt)
}

// doorwayLink is where a file leads that is opened in the browser.
var doorwayLink = regexp.MustCompile(`url=([^"]+)"`)

// openedPages gets the addresses of the pages that are opened in the browser. The
// browser's arguments don't have them.
func openedPages(t testing.TB) <-chan string {
	t.Helper()
	opened, old := make(chan string, 1), openBrowser
	openBrowser = func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		address := doorwayLink.FindStringSubmatch(string(text))[1]
		if strings.Contains(path, address[len(address)-16:]) {
			return errors.New("the browser's argument is the address")
		}
		opened <- address
		return nil
	}
	t.Cleanup(func() { openBrowser = old })
	return opened
}

// signAsked is sign with a user who sees the hub's page and sends a form.
func (s hubSite) signAsked(t testing.TB, client *http.Client, opened <-chan string, request, form string) answer {
	t.Helper()
	type result struct {
		answer
		err error
	}
	signed := make(chan result, 1)
	go func() {
		resp, err := s.post(client, s.scheme+"://"+s.addr()+"/hub/v1/sign", originOf(s.base), "application/json", `{"request":"`+request+`"}`)
		signed <- result{resp, err}
	}()
	var page string
	select {
	case page = <-opened:
	case r := <-signed:
		require.NoError(t, r.err)
		t.Fatalf("nobody was asked: %d %s", r.StatusCode, r.text)
	}
	require.True(t, strings.HasPrefix(page, s.scheme+"://"+s.addr()+"/consent/"), page)
	resp, err := client.Get(page)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	require.Contains(t, string(text), "555086689106_TEST")
	_, err = s.post(client, page, s.scheme+"://"+s.addr(), "application/x-www-form-urlencoded", form)
	require.NoError(t, err)
	r := <-signed
	require.NoError(t, r.err)
	return r.answer
}

func (s hubSite) post(client *http.Client, address, origin, mediaType, body string) (answer, error) {
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Origin", origin)
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp, string(text)}, err
}

// TestSigningHubAsks: the page opens in the browser, with and without TLS.
func TestSigningHubAsks(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			opened := openedPages(t)
			s := newHubSite(t, keysAt(t), "")
			s.scheme, s.host = scheme, "127.0.0.1"
			load(t, strings.Replace(globals(""), "auto_https off", "auto_https disable_redirects\n skip_install_trust\n local_certs", 1)+s.caddyfile())
			roots, err := trustedRoots("")
			require.NoError(t, err)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
			// The certificate is made in the background.
			require.Eventually(t, func() bool {
				resp, err := client.Get(scheme + "://" + s.addr() + "/hub/v1/info")
				if err == nil {
					resp.Body.Close()
				}
				return err == nil
			}, 20*time.Second, 10*time.Millisecond)
			requireSigned(t, s.signAsked(t, client, opened, s.request(t), "step=1&decision=approve"))
			resp := s.signAsked(t, client, opened, s.request(t), "step=1&decision=refuse")
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
			require.Contains(t, resp.text, `"user_cancelled"`)
		})
	}
}

// TestSigningHubListener: a hub that others could reach does not load.
func TestSigningHubListener(t *testing.T) {
	base := keysAt(t)
	s := newHubSite(t, base, "consent never")
	for _, c := range []struct{ name, bind string }{
		{"every interface", ""},
		{"a wildcard", "bind 0.0.0.0"},
		{"one of several", "bind 127.0.0.1 192.0.2.1"},
		{"a name", "bind localhost.example"},
		{"a socket", "bind unix/" + filepath.Join(t.TempDir(), "hub.sock")},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tryLoad(t, globals("")+strings.Replace(s.caddyfile(), "bind 127.0.0.1", c.bind, 1))
			require.ErrorContains(t, err, "signing_hub is for this computer only")
			require.Zero(t, hubsInUse())
		})
	}
}

// TestSignerPKCS11: without its module, or without cgo, it says what to do.
func TestSignerPKCS11(t *testing.T) {
	t.Setenv("SIGNPOST_TEST_PIN", "1234")
	s := newHubSite(t, keysAt(t), "consent never")
	file := globals("") + strings.Replace(s.caddyfile(), "signer keyfile "+s.card, "signer pkcs11 /nonexistent/module.so {\n pin {env.SIGNPOST_TEST_PIN}\n}", 1)
	want := "/nonexistent/module.so can't be found"
	if err := needCards(); err != nil {
		want = "built without cgo: use ./xcaddy.sh hub"
	}
	require.ErrorContains(t, tryLoad(t, file), want)
	cfg, err := adaptCaddyfile(t, file)
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, json.Unmarshal(cfg, &c))
	require.NoError(t, caddy.Validate(&c), "a card is not touched before the start")
	require.Zero(t, hubsInUse())
}

// TestSigningHubHurry: timeouts of the server that don't leave the user enough
// time are noticed.
func TestSigningHubHurry(t *testing.T) {
	long, short := caddy.Duration(time.Hour), caddy.Duration(time.Minute)
	for _, c := range []struct {
		name        string
		server      *caddyhttp.Server
		userTimeout caddy.Duration
		want        time.Duration
	}{
		{"no server", nil, 0, 0},
		{"no timeouts", &caddyhttp.Server{}, 0, 0},
		{"long ones", &caddyhttp.Server{ReadTimeout: long, WriteTimeout: long}, 0, 0},
		{"bodies", &caddyhttp.Server{ReadTimeout: short}, 0, time.Minute},
		{"answers", &caddyhttp.Server{ReadTimeout: long, WriteTimeout: short}, 0, time.Minute},
		{"a quick user", &caddyhttp.Server{ReadTimeout: short}, caddy.Duration(20 * time.Second), 0},
		{"a slow user", &caddyhttp.Server{WriteTimeout: long}, long, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, (&SigningHub{UserTimeout: c.userTimeout}).hurries(c.server))
		})
	}
}
