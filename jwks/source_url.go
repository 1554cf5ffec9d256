package jwks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Limits and defaults of a [URL].
const (
	// MaxURLBytes is the longest document that is read, unless [URLConfig] says
	// otherwise.
	MaxURLBytes = 512 << 10
	// FetchTimeout bounds one fetch, from the look-up of the name to the last
	// byte of the document.
	FetchTimeout = 5 * time.Second
	// DefaultRefresh is the pause between two fetches when neither the operator
	// nor the server says anything.
	DefaultRefresh = 10 * time.Minute
	// DefaultStaleIfError is how long keys are used without a successful fetch.
	DefaultStaleIfError = 24 * time.Hour

	minRefresh      = time.Second
	minMaxAge       = time.Minute
	maxMaxAge       = 24 * time.Hour
	unknownKidEvery = 30 * time.Second
	maxWaiters      = 100
	maxRedirects    = 3
	retryAfterMin   = time.Second
	retryAfterMax   = time.Minute
)

// URLConfig configures a [URL].
type URLConfig struct {
	// URL is where the key set is: https, or http on a loopback address.
	// Required.
	URL string
	// Refresh is the pause between two fetches, at least 1 s. Default, when 0:
	// the max-age of the answer, but at least 1 min and at most 24 h, nor more
	// than half of StaleIfError; 10 min when it has none.
	Refresh time.Duration
	// StaleIfError is how long keys are used after the last fetch that
	// succeeded; at least Refresh. Default, when 0: 24 h, or Refresh doubled if
	// that is longer.
	StaleIfError time.Duration
	// TLS is for servers with certificates of a private authority, or that ask
	// for one. Default: the system's roots, TLS 1.2 or newer.
	TLS *tls.Config
	// Transport makes the requests instead of the source's own connections,
	// which end with every fetch. Whoever sets it closes it.
	Transport http.RoundTripper
	// Seed has keys of this URL that another source has at hand, which are used
	// until the first fetch succeeds, for as long as StaleIfError allows since
	// they were confirmed. Default: none.
	Seed Snapshot
	// MaxKeys is how many keys of a document are read, at most 1000; those after
	// them are skipped. Default, when 0: 100.
	MaxKeys int
	// MaxBytes is the longest document that is read, at most 4 MiB. Default, when
	// 0: 512 KiB.
	MaxBytes int
	// Issuers reads whose keys these are, from [IssuerMember] of each JWK: see
	// [Limits]. Default: the member counts as little as others that aren't known.
	Issuers bool
	// UserAgent is sent with every fetch; default "signpost-jwks".
	UserAgent string
	// Clock is the time; default [time.Now].
	Clock func() time.Time
}

// URL is a [Source] of keys that a server publishes. It fetches in the
// background, some time before the keys in use run out, and when a token
// names an unknown key: for that at most once in 30 s.
//
// A fetch that fails changes nothing but the status, and is tried again after 1
// s, 2 s, 4 s and so on up to 1 min; keys that could not be confirmed for
// StaleIfError are no longer used. A document without any usable key counts as
// a failure, unless its list is empty: then there are no keys.
type URL struct {
	*poller

	cfg    URLConfig
	url    *url.URL
	client *http.Client
	own    *http.Transport // nil with a Transport of the caller's

	etag string // of the document last read well; used by the poller's goroutine only
	// next is when that document says to look again, 0 when it doesn't.
	next time.Duration
}

// NewURL checks the configuration. It fetches nothing: see [Set.Start].
func NewURL(cfg URLConfig) (*URL, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.Refresh < 0, cfg.StaleIfError < 0:
		return nil, errors.New("jwks: refresh and stale_if_error must not be negative")
	case cfg.Refresh > 0 && cfg.Refresh < minRefresh:
		return nil, fmt.Errorf("jwks: refresh %s is too short: at least %s", cfg.Refresh, minRefresh)
	case cfg.MaxKeys < 0 || cfg.MaxKeys > DefaultMaxKeys, cfg.MaxBytes < 0 || cfg.MaxBytes > DefaultMaxBytes:
		return nil, fmt.Errorf("jwks: at most %d keys and %d MiB can be read of a URL", DefaultMaxKeys, DefaultMaxBytes>>20)
	case cfg.StaleIfError == 0:
		cfg.StaleIfError = max(DefaultStaleIfError, 2*cfg.Refresh)
	case cfg.StaleIfError < minRefresh:
		return nil, fmt.Errorf("jwks: stale_if_error %s is too short: at least %s", cfg.StaleIfError, minRefresh)
	case cfg.StaleIfError < cfg.Refresh:
		return nil, fmt.Errorf("jwks: stale_if_error %s is shorter than refresh %s: the keys would run out between two fetches", cfg.StaleIfError, cfg.Refresh)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.MaxKeys == 0 {
		cfg.MaxKeys = MaxURLKeys
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = MaxURLBytes
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "signpost-jwks"
	}
	s := &URL{cfg: cfg, url: u}
	transport := cfg.Transport
	if transport == nil {
		s.own = newTransport(cfg.TLS, u.Scheme == "http")
		transport = s.own
	}
	s.client = &http.Client{Transport: transport, CheckRedirect: s.checkRedirect}
	shown := *u
	shown.RawQuery = "" // may hold a credential
	s.poller = newPoller(pollerConfig{
		kind: "url", location: shown.String(), load: s.fetch, clock: cfg.Clock,
		stale: cfg.StaleIfError, askEvery: unknownKidEvery, maxWaiters: maxWaiters,
		retryMin: retryAfterMin, retryMax: min(retryAfterMax, max(retryAfterMin, cfg.StaleIfError/2)),
	})
	if now := cfg.Clock(); cfg.Seed.usable(now) {
		if latest := now.Add(cfg.StaleIfError); cfg.Seed.Until.IsZero() || cfg.Seed.Until.After(latest) {
			cfg.Seed.Until = latest
		}
		s.seed(cfg.Seed)
	}
	return s, nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("jwks: a key source needs a URL")
	case err != nil:
		// url.Parse's own errors quote the text, which may hold a credential.
		return nil, errors.New("jwks: the URL of the key set is malformed")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, fmt.Errorf("jwks: %s is no URL of a key set: expected https://host/path", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("jwks: the URL of the key set on %s has a user name or password: key sets are public, leave it out", u.Host)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("jwks: the key set on %s must be fetched by https: http is for loopback addresses only", u.Host)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// newTransport makes connections that end with their request, so that nothing
// is left between two fetches, nor after Close.
func newTransport(config *tls.Config, loopbackOnly bool) *http.Transport {
	dialer := &net.Dialer{Timeout: FetchTimeout}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    FetchTimeout,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 32 << 10,
	}
	if loopbackOnly {
		// "localhost" is only a name; what it leads to is checked here.
		t.Proxy = nil
		dialer.ControlContext = loopbackControl
	}
	if config != nil {
		t.TLSClientConfig = config.Clone()
	} else {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return t
}

// Start implements [Source]. The first fetch ends after 5 s at the latest.
func (s *URL) Start(ctx context.Context, changed func()) error { return s.start(ctx, changed) }

// Snapshot implements [Source].
func (s *URL) Snapshot() Snapshot { return s.snapshot() }

// Status implements [Source].
func (s *URL) Status() SourceStatus { return s.describe() }

// Refresh implements [Refresher]: it lets one fetch start in 30 s, and 100 wait
// for a fetch.
func (s *URL) Refresh() (<-chan struct{}, func(), Verdict) { return s.refresh() }

// Close implements [Source]. A fetch on its way is cut off.
func (s *URL) Close() error {
	s.close()
	if s.own != nil {
		s.own.CloseIdleConnections()
	}
	return nil
}
