//go:build linux

package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// applicationID is the client of the drills, and the iss of its requests.
const applicationID = "qvP9NoQcOVqKrXEdtLv8B0j7p5VmjPDd"

// document is one that is to be signed.
type document struct {
	id      string
	payload []byte
	display string
}

func twoDocuments() []document {
	return []document{
		{id: "5f1b3a0e-9c1d-4a55-8d3e-000000000001", payload: signedInfo("3YlFQMOrw2Q0dUkytzs50JF7HUo="), display: "Amoxicillin 500 mg capsules\n28 capsules, one three times a day"},
		{id: "second", payload: []byte{0, 1, 2, 0xfe, 0xff, '\r', '\n'}},
	}
}

// signedInfo is what is signed of an XML document (XML Signature, section 4.4).
func signedInfo(digest string) []byte {
	return []byte(`<SignedInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></CanonicalizationMethod><SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></SignatureMethod><Reference><Transforms><Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></Transform></Transforms><DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></DigestMethod><DigestValue>` +
		digest + `</DigestValue></Reference></SignedInfo>`)
}

// application asks for signatures.
type application struct {
	signer

	id, name string
	callback string
	base     string // URL of the API
	bearer   string // access token, if the API wants one
	http     *http.Client
	secrets  *secrets
}

// secrets are texts that must not be logged.
type secrets struct {
	mu  sync.Mutex
	all []string
}

func (s *secrets) add(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		if len(text) >= 6 { // shorter ones are found in any log
			s.all = append(s.all, text)
		}
	}
}

// requireAbsent looks for every secret in what somebody else may see.
func (s *secrets) requireAbsent(t testing.TB, where, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotEmpty(t, s.all)
	for _, secret := range s.all {
		at := strings.Index(text, secret)
		if at >= 0 {
			t.Errorf("%s holds %.60q: …%s…", where, secret, text[max(0, at-300):min(len(text), at+len(secret)+100)])
		}
	}
}

// applicationKey is that of all applications: making one takes a while.
var applicationKey = sync.OnceValues(func() (crypto.Signer, error) { return jwks.GeneratePrivateKey("RS512", 4096) })

func newApplication(t testing.TB, callback string) *application {
	t.Helper()
	private, err := applicationKey()
	require.NoError(t, err)
	return &application{
		signer: signer{"application-1", private}, id: applicationID, name: "Pharmacy system", callback: callback, secrets: new(secrets),
	}
}

// block is the application in the option signpost.
func (a *application) block(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("client `%s` {\n name `%s`\n keys inline `%s`\n callback %s\n}\n", a.id, a.name, a.keySet(t), a.callback)
}

func (a *application) keySet(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": []any{a.public(t)}})
	require.NoError(t, err)
	return string(b)
}

// at is the application as a client of the API under another URL.
func (a *application) at(base string, client *http.Client) *application {
	b := *a
	b.base, b.http = base, client
	return &b
}

// claims are those of a good request; more replaces some, and removes those
// that are nil.
func (a *application) claims(documents []document, more map[string]any) map[string]any {
	payloads := make([]map[string]any, len(documents))
	for i, d := range documents {
		a.secrets.add(encoded(d.payload), string(d.payload), d.display)
		payloads[i] = map[string]any{"id": d.id, "payload": encoded(d.payload)}
		if d.display != "" {
			payloads[i]["display"] = d.display
		}
	}
	now := time.Now().Unix()
	c := map[string]any{
		"iss": a.id, "sub": prescriber, "aud": a.base, "iat": now, "exp": now + 300, "algorithm": "RS256",
		"payloads": payloads, "jti": rand.Text(),
	}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// encoded is how payloads travel.
func encoded(payload []byte) string { return base64.StdEncoding.EncodeToString(payload) }

// single changes claims to those of the dialect with one payload.
func single(claims map[string]any, d document) {
	claims["payloads"], claims["payload"] = nil, encoded(d.payload)
	if d.display != "" {
		claims["display"] = d.display
	}
}

// mint signs claims.
func (a *application) mint(t testing.TB, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS512, jwt.MapClaims(claims))
	token.Header["kid"] = a.kid
	text, err := token.SignedString(a.private)
	require.NoError(t, err)
	a.secrets.add(append(strings.Split(text, "."), text)...)
	return text
}

// accessToken is a bearer token for the API.
func accessToken(t testing.TB, issuer signer, claims map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	all := map[string]any{"iss": issuerName, "jti": rand.Text(), "iat": now, "exp": now + 3600}
	maps.Copy(all, claims)
	token, err := jwks.Sign(jwks.SignRequest{Alg: "RS512", Kid: issuer.kid, Typ: "JWT", Key: issuer.private, Claims: all})
	require.NoError(t, err)
	return token
}

// asked is the answer to a POST.
type asked struct {
	Token, RedirectURI string
}

// ask posts a good request.
func (a *application) ask(t testing.TB, query, jwt string) (out asked) {
	t.Helper()
	resp := a.do(t, http.MethodPost, "/signaturerequest"+query, jwt, "Content-Type", "text/plain")
	require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
	require.NoError(t, json.Unmarshal(resp.body, &out))
	require.Regexp(t, "^[A-Za-z0-9]{48}$", out.Token)
	require.Equal(t, a.base+"/client?token="+out.Token, out.RedirectURI)
	a.secrets.add(out.Token)
	return out
}

// askFor mints and posts a request for documents.
func (a *application) askFor(t testing.TB, query string, documents []document, more map[string]any) asked {
	t.Helper()
	return a.ask(t, query, a.mint(t, a.claims(documents, more)))
}

// downloaded asks, and downloads the request as no browser does.
func (a *application) downloaded(t testing.TB, documents []document, more map[string]any) asked {
	t.Helper()
	out := a.askFor(t, "", documents, more)
	resp := a.do(t, http.MethodGet, "/signaturerequest/"+out.Token, "")
	require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
	return out
}

// upload sends signatures, as no browser does.
func (a *application) upload(t testing.TB, token, body string, headers ...string) answer {
	t.Helper()
	return a.do(t, http.MethodPost, "/signatureresponse/"+token, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

func (a *application) result(t testing.TB, token string) answer {
	t.Helper()
	return a.do(t, http.MethodGet, "/signatureresponse/"+token, "")
}

// requireResult reads the signatures.
func (a *application) requireResult(t testing.TB, token string) (out signed) {
	t.Helper()
	resp := a.result(t, token)
	require.Equal(t, http.StatusOK, resp.status, "%s", resp.body)
	require.NoError(t, json.Unmarshal(resp.body, &out))
	return out
}

// do makes a request; headers are name, value, …
func (a *application) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	resp, err := a.try(method, path, body, headers...)
	require.NoError(t, err)
	return resp
}

func (a *application) try(method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

// requireRefused checks a refusal in the shape of the API, and its text.
func requireRefused(t testing.TB, a answer, status int, message string) {
	t.Helper()
	var out struct {
		StatusCode     int
		Error, Message string
	}
	require.NoError(t, json.Unmarshal(a.body, &out), "%d %s", a.status, a.body)
	require.Equal(t, status, a.status, "%s", a.body)
	require.Equal(t, status, out.StatusCode)
	require.Equal(t, http.StatusText(status), out.Error)
	require.Contains(t, out.Message, message)
}

const (
	textUnknownToken  = "No signature request for specified token"
	textAlreadySigned = "Signature request has already been signed"
	textPending       = "Could not find the specified signature response"
)

// signingPath is where handle_path puts the API.
const signingPath = "/signing-service"

// signingSite is a site with the API below signingPath.
func signingSite(address, options string) string {
	return fmt.Sprintf("%[1]s {\n log\n handle_path %[2]s/* {\n  signing_api {\n   base_url %[1]s%[2]s\n   %[3]s\n  }\n }\n handle {\n  respond ok\n }\n}\n",
		address, signingPath, options)
}

// plainSigning runs the API without TLS, which it allows on loopback only, for
// cards of an authority.
func plainSigning(t testing.TB, cards *authority, options string) (*server, *application) {
	t.Helper()
	s := newServer(t)
	s.write(t, "cards.pem", cards.pem())
	a := plainApplication(t)
	s.start(t, plainSigningConfig(t, a, "trust_pool file cards.pem\n"+options))
	return s, a
}

func plainApplication(t testing.TB) *application {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: patience}
	t.Cleanup(client.CloseIdleConnections)
	return newApplication(t, "https://app.example/cb?x=1").at(plainURL(freePort(t))+signingPath, client)
}

func plainSigningConfig(t testing.TB, a *application, options string) string {
	t.Helper()
	return config{
		signpost: a.block(t),
		sites:    signingSite(strings.TrimSuffix(a.base, signingPath), options),
	}.String()
}

// trusting is a client that trusts the server's own authority.
func (s *server) trusting(t testing.TB) *http.Client {
	t.Helper()
	root := filepath.Join(s.dir, "share", "caddy", "pki", "authorities", "local", "root.crt")
	pool := x509.NewCertPool()
	eventually(t, patience, func() (bool, string) {
		b, err := os.ReadFile(root)
		return err == nil && pool.AppendCertsFromPEM(b), "there is no " + root
	})
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true},
		Timeout:   patience,
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// originOf is the scheme and host of a URL.
func originOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Scheme + "://" + u.Host
}
