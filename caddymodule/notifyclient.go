package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// credentials say as whom a command signs.
type credentials struct {
	service, secret, key *string
}

func credentialFlags(cmd *cobra.Command) credentials {
	f := cmd.Flags()
	return credentials{
		service: f.String("service", os.Getenv("SIGNPOST_SERVICE"), "The service's id ($SIGNPOST_SERVICE)"),
		secret: f.String("secret", "", "The key's secret, or @file to read it from ($SIGNPOST_SECRET)\n"+
			"(others on this machine may see arguments of commands; prefer the file or the variable)"),
		key: f.String("key", "", "Service and secret in one: name-service-secret, or @file ($SIGNPOST_KEY)"),
	}
}

// given reports whether anything was said about it.
func (c credentials) given() bool {
	return *c.service != "" || *c.secret != "" || *c.key != "" || os.Getenv("SIGNPOST_SECRET") != "" || os.Getenv("SIGNPOST_KEY") != ""
}

// get returns the service id and the secret.
func (c credentials) get() (service, secret string, err error) {
	key, err := secretFlag(*c.key, "SIGNPOST_KEY")
	if err != nil {
		return "", "", err
	}
	if secret, err = secretFlag(*c.secret, "SIGNPOST_SECRET"); err != nil {
		return "", "", err
	}
	if key != "" && (secret == "" || *c.key != "") {
		_, service, secret, err = notifyauth.ParseKeyString(key)
		return service, secret, err
	}
	service = *c.service
	if _, of, _, err := notifyauth.ParseKeyString(secret); err == nil && service == "" {
		service = of // the key string says it too
	}
	if service == "" || secret == "" {
		return "", "", errors.New("say as whom to sign: --service and --secret, or --key")
	}
	if secret, err = secretOfKey(service, secret); err != nil {
		return "", "", fmt.Errorf("the secret: %w", err)
	}
	return service, secret, nil
}

// secretFlag reads @file, and the environment when the flag is empty.
func secretFlag(value, env string) (string, error) {
	if value == "" {
		value = os.Getenv(env)
	}
	path, isFile := strings.CutPrefix(value, "@")
	if !isFile {
		return value, nil
	}
	b, err := os.ReadFile(path) //nolint:gosec // the user names their own file
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// notifyClient calls a notification API with signed requests.
type notifyClient struct {
	base            *url.URL
	service, secret string
	dialect         notifyauth.Dialect
	http            *http.Client
}

type clientFlags struct {
	credentials
	url, caCert, dialect *string
	insecure             *bool
}

const defaultURL = "https://localhost:8443"

func notifyClientFlags(cmd *cobra.Command) clientFlags {
	def := os.Getenv("SIGNPOST_URL")
	if def == "" {
		def = defaultURL
	}
	f := cmd.Flags()
	return clientFlags{
		credentials: credentialFlags(cmd),
		url:         f.String("url", def, "Where the API is; a path in it is the base path, which is not signed ($SIGNPOST_URL)"),
		dialect:     f.String("dialect", "signed", "Which of the two APIs to call: signed or v2"),
		caCert:      f.String("cacert", "", "A PEM file with the authority to trust (default: the system's and Caddy's local one)"),
		insecure:    f.BoolP("insecure", "k", false, "Trust any certificate"),
	}
}

const clientTimeout = 30 * time.Second

func (f clientFlags) client() (*notifyClient, error) {
	base, err := url.Parse(*f.url)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("--url %q: it must be such as %s", *f.url, defaultURL)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	c := &notifyClient{base: base}
	if c.dialect, err = notifyauth.ParseDialect(*f.dialect); err != nil {
		return nil, err
	}
	if c.service, c.secret, err = f.get(); err != nil {
		return nil, err
	}
	roots, err := trustedRoots(*f.caCert)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, InsecureSkipVerify: *f.insecure} //nolint:gosec // asked for with --insecure
	c.http = &http.Client{Transport: transport, Timeout: clientTimeout}
	return c, nil
}

// trustedRoots returns the system's authorities and Caddy's local one, which a
// Caddy on this machine has made; or those of a file only.
func trustedRoots(file string) (*x509.CertPool, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s holds no PEM certificate", file)
		}
		return pool, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if b, err := os.ReadFile(filepath.Join(caddy.AppDataDir(), "pki", "authorities", "local", "root.crt")); err == nil {
		pool.AppendCertsFromPEM(b)
		return pool, nil
	}
	// Caddy may keep it where only Caddy can read it: ask.
	if resp, err := caddycmd.AdminAPIRequest(caddy.DefaultAdminListen, http.MethodGet, "/pki/ca/local", nil, nil); err == nil {
		defer resp.Body.Close()
		var ca struct {
			Root string `json:"root_certificate"`
		}
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&ca) == nil {
			pool.AppendCertsFromPEM([]byte(ca.Root))
		}
	}
	return pool, nil
}

// answerError is an answer of 400 and above.
type answerError struct {
	status int
	body   string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("the API answered %d: %s", e.status, e.body)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// call signs and sends one request, and decodes the answer. path is what is
// signed.
func (c *notifyClient) call(ctx context.Context, method, path string, body []byte, out any) error {
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: c.service, Secret: c.secret, IssuedAt: clock(), Dialect: c.dialect, Method: method, Path: path, Body: body,
	})
	if err != nil {
		return err
	}
	u := *c.base
	u.Path += path
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.As(err, new(x509.UnknownAuthorityError)) {
			return fmt.Errorf("%w (name the authority with --cacert)", err)
		}
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return &answerError{resp.StatusCode, strings.TrimSpace(string(answer))}
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return c.notTheAPI(resp.StatusCode)
	}
	return nil
}

// notTheAPI says that something else has answered.
func (c *notifyClient) notTheAPI(status int) error {
	return fmt.Errorf("the answer (%d) is not that of a notification API: is %s the right address?", status, c.base)
}

const (
	firstPoll = 100 * time.Millisecond
	maxPoll   = 2 * time.Second
)

// wait asks until the status is final, and tells each new one.
func (c *notifyClient) wait(ctx context.Context, n *notification, tell func(*notification)) (*notification, error) {
	for pause := firstPoll; !n.final; pause = min(2*pause, maxPoll) {
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("notification %s is still %q: %w", n.id, n.status, ctx.Err())
		case <-time.After(pause):
		}
		next, err := c.get(ctx, n.id)
		if err != nil {
			return n, err
		}
		if next.status != n.status {
			tell(next)
		}
		n = next
	}
	return n, nil
}
