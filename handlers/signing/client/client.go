package client

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Timeout is how long an answer may take with the default HTTP client.
const Timeout = 30 * time.Second

// Config describes a Client. BaseURL is required; ClientID and Key are for
// [Client.Mint] and [Client.Request].
type Config struct {
	// BaseURL is where the API is, such as
	// https://sign.example.org/signing-service: https, or http on a loopback
	// address.
	BaseURL string
	// Audience is the aud of requests, which the API compares with its own base
	// URL byte for byte. Default, when empty: BaseURL.
	Audience string
	// ClientID is the iss of requests.
	ClientID string
	// Key signs requests: RSA, of as many bits as the API asks for (4096 by
	// default).
	Key crypto.Signer
	// KeyID is the kid under which the API knows the key's public half.
	KeyID string
	// AccessToken, unless nil, returns the bearer token of each call. It is
	// asked every time, as tokens may end before the user has signed.
	AccessToken func(context.Context) (string, error)
	// HTTP makes the calls; redirects are never followed. Default: a client
	// with a timeout of 30 s.
	HTTP *http.Client
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Client is a client of a signing API. It is safe for concurrent use.
type Client struct {
	config Config
	base   *url.URL
	http   *http.Client
}

// New checks the configuration. It calls nothing.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		return nil, errors.New("signing client: BaseURL is required: where is the signing API?")
	case err != nil:
		return nil, fmt.Errorf("signing client: the base URL: %w", err)
	case !usable(base):
		return nil, fmt.Errorf("signing client: the base URL %q must begin with https:// and a host (http:// is for loopback addresses only)", c.BaseURL)
	case base.User != nil, base.RawQuery != "", strings.ContainsAny(c.BaseURL, "?#"):
		return nil, errors.New("signing client: the base URL must not have a user, a query or a fragment")
	case strings.HasSuffix(c.BaseURL, "/"):
		return nil, fmt.Errorf("signing client: the base URL %q must not end with a slash", c.BaseURL)
	}
	if c.Key != nil {
		if _, ok := c.Key.Public().(*rsa.PublicKey); !ok {
			return nil, errors.New("signing client: the key is no RSA key: signature requests are signed with RS512")
		}
	}
	if c.Audience == "" {
		c.Audience = c.BaseURL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &http.Client{Timeout: Timeout}
	if c.HTTP != nil {
		*h = *c.HTTP
	}
	// A request that is signed for one server, and a bearer token, are not to
	// go to another.
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{config: c, base: base, http: h}, nil
}

// usable reports whether a URL is https, or http on a loopback address.
func usable(u *url.URL) bool {
	if u.Opaque != "" || u.Hostname() == "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
