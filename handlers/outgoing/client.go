package outgoing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Policy says what may be called beyond public addresses by https.
type Policy struct {
	// AllowPrivate names what may be reached although it isn't public: host
	// names (wherever they resolve to), IP addresses, or CIDR ranges. A literal
	// IP address or "localhost" in the configured URL needs no entry.
	AllowPrivate []string
	// AllowHTTP permits plain http to other hosts than literal loopback and
	// private addresses and localhost.
	AllowHTTP bool
	// Proxy is the URL of an HTTP proxy. The proxy then resolves and connects,
	// so that the target's address can't be checked here. Default: none; the
	// environment's proxies are never used.
	Proxy string
	// Resolver resolves host names; default net.DefaultResolver.
	Resolver *net.Resolver
	// TLS is the base of the client's TLS configuration, such as own roots.
	TLS *tls.Config
}

// RefusedError says that a host resolved to an address that may not be called.
type RefusedError struct {
	Address netip.Addr
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the address %s is not public; name its host under allow_private if it is meant", e.Address)
}

const (
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second
	idlePerHost    = 16
	maxHeaderBytes = 64 << 10
)

// NewClient returns a client with a connection pool of its own for calls to
// target, which the policy must permit. timeout bounds a whole call, the
// reading of the answer included. Redirects are returned, not followed. Close
// its idle connections when it is not needed any more.
func NewClient(target *url.URL, p Policy, timeout time.Duration) (*http.Client, error) {
	g, err := newGuard(p)
	if err != nil {
		return nil, err
	}
	if err := g.checkTarget(target, p.AllowHTTP); err != nil {
		return nil, err
	}
	return g.client(p, timeout)
}

// NewOpenClient returns a client for calls to URLs that others than the
// operator wrote, such as those in a certificate. Nothing that such a URL names
// is exempt, not even a literal address: only [Policy.AllowPrivate] is. The
// caller decides about the scheme; AllowHTTP has no meaning here. Connections
// are not kept, redirects are returned, and timeout bounds a whole call, the
// reading of the answer included.
func NewOpenClient(p Policy, timeout time.Duration) (*http.Client, error) {
	g, err := newGuard(p)
	if err != nil {
		return nil, err
	}
	c, err := g.client(p, timeout)
	if err != nil {
		return nil, err
	}
	c.Transport.(*http.Transport).DisableKeepAlives = true
	return c, nil
}

func (g *guard) client(p Policy, timeout time.Duration) (*http.Client, error) {
	t := &http.Transport{
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if p.TLS != nil {
		t.TLSClientConfig = p.TLS.Clone()
		t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
	}
	if p.Proxy != "" {
		proxy, err := url.Parse(p.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("the proxy is not a URL with a host, such as http://proxy.example.org:3128")
		}
		g.names = append(g.names, hostName(proxy))
		t.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport:     t,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// guard decides at dial time.
type guard struct {
	names    []string       // hosts that may resolve to anything
	prefixes []netip.Prefix // addresses that any host may resolve to
	resolver *net.Resolver
}

func newGuard(p Policy) (*guard, error) {
	g := &guard{resolver: p.Resolver}
	for _, text := range p.AllowPrivate {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			g.prefixes = append(g.prefixes, prefix.Masked())
			continue
		}
		if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
			addr = addr.Unmap()
			g.prefixes = append(g.prefixes, netip.PrefixFrom(addr.WithZone(""), addr.BitLen()))
			continue
		}
		if text == "" || strings.ContainsAny(text, "/:@*[] ") || endsInNumber(text) {
			return nil, fmt.Errorf("%q is not a host name, IP address or CIDR range", text)
		}
		g.names = append(g.names, canonicalName(text))
	}
	return g, nil
}

// checkTarget refuses a URL that can't be meant, and notes what it names.
func (g *guard) checkTarget(u *url.URL, allowHTTP bool) error {
	if u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("the URL must begin with https://, not %q", u.Scheme)
	}
	host := hostName(u)
	if host == "" || u.Opaque != "" {
		return errors.New("the URL has no host")
	}
	addr, err := netip.ParseAddr(host)
	literal := err == nil
	switch {
	case literal:
		addr = addr.Unmap()
		g.prefixes = append(g.prefixes, netip.PrefixFrom(addr.WithZone(""), addr.BitLen()))
	case host == "localhost":
		g.prefixes = append(g.prefixes, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	case endsInNumber(host):
		// Resolvers and other programs read such names as addresses (2130706433,
		// 0x7f.1, 127.1): RFC 3986 7.4 warns of them.
		return fmt.Errorf("the host %q looks like an IP address in disguise; write it in the usual form, such as 192.0.2.1", host)
	}
	local := host == "localhost" || literal && !Public(addr)
	if u.Scheme == "http" && !local && !allowHTTP {
		return errors.New("plain http would send messages readable over the network: use https, or allow_http if the way is protected otherwise")
	}
	return nil
}

// dial connects to the first permitted address.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout, Resolver: g.resolver}
	if !slices.Contains(g.names, canonicalName(host)) {
		d.Control = g.control
	}
	return d.DialContext(ctx, network, address)
}

// control is called between resolution and connection.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	addr := ap.Addr().Unmap()
	if Public(addr) || slices.ContainsFunc(g.prefixes, func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) }) {
		return nil
	}
	return &RefusedError{addr}
}

func hostName(u *url.URL) string { return canonicalName(u.Hostname()) }

func canonicalName(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// endsInNumber follows the URL standard's test of hosts that are read as IPv4
// addresses: the last label is decimal digits or 0x and hexadecimal ones.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
