package outgoing

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "93.184.215.14": true, "100.63.255.255": true, "100.128.0.0": true, "172.32.0.1": true,
		"2606:2800:220:1:248:1893:25c8:1946": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true, "2002:808:808::1": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "100.64.0.1": false, "127.0.0.1": false, "127.255.255.254": false,
		"169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "198.18.0.1": false,
		"192.0.2.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2002:a00:1::1": false, "2001:0:1::1": false,
		"fc00::1": false, "fd12::1": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false,
		"2001:db8::1": false,
	} {
		assert.Equal(t, want, Public(netip.MustParseAddr(address)), address)
	}
	assert.False(t, Public(netip.Addr{}))
}

// nameserver answers every question for an IPv4 address from a list, one after
// the other, and the last for ever.
func nameserver(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		asked := 0
		buf := make([]byte, 512)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 + strings.IndexByte(string(buf[12:n]), 0) + 5 // of the question
			reply := append([]byte{}, buf[:end]...)
			reply[2], reply[3] = 0x84, 0 // an authoritative answer
			clear(reply[6:12])
			if binary.BigEndian.Uint16(reply[end-4:]) == 1 { // A
				a := netip.MustParseAddr(addresses[min(asked, len(addresses)-1)]).As4()
				asked++
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, a[:]...)
			}
			_, _ = conn.WriteTo(reply, peer)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// hit calls the URL under the policy.
func hit(t *testing.T, rawURL string, p Policy) error {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	c, err := NewClient(u, p, 5*time.Second)
	require.NoError(t, err)
	defer c.CloseIdleConnections()
	res, err := c.Get(rawURL)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func TestDialing(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	require.NoError(t, err)
	public := []string{"203.0.114.7"} // never dialled

	for name, tc := range map[string]struct {
		url     string
		policy  Policy
		resolve []string
		ok      bool
	}{
		"literal loopback":                 {"http://127.0.0.1:" + port, Policy{}, nil, true},
		"mapped literal":                   {"http://[::ffff:127.0.0.1]:" + port, Policy{}, nil, true},
		"localhost":                        {"http://localhost:" + port, Policy{}, []string{"127.0.0.1"}, true},
		"LOCALHOST.":                       {"http://LOCALHOST.:" + port, Policy{}, []string{"127.0.0.1"}, true},
		"a name for loopback":              {"http://sms.test:" + port, Policy{AllowHTTP: true}, []string{"127.0.0.1"}, false},
		"allowed by name":                  {"http://sms.test:" + port, Policy{AllowHTTP: true, AllowPrivate: []string{"SMS.test."}}, []string{"127.0.0.1"}, true},
		"allowed by address":               {"http://sms.test:" + port, Policy{AllowHTTP: true, AllowPrivate: []string{"127.0.0.1"}}, []string{"127.0.0.1"}, true},
		"allowed by mapped address":        {"http://sms.test:" + port, Policy{AllowHTTP: true, AllowPrivate: []string{"[::ffff:127.0.0.1]"}}, []string{"127.0.0.1"}, true},
		"allowed by range":                 {"http://sms.test:" + port, Policy{AllowHTTP: true, AllowPrivate: []string{"127.0.0.0/8"}}, []string{"127.0.0.1"}, true},
		"another name allowed":             {"http://sms.test:" + port, Policy{AllowHTTP: true, AllowPrivate: []string{"xsms.test", "10.0.0.0/8"}}, []string{"127.0.0.1"}, false},
		"literal elsewhere isn't a name's": {"http://sms.test:" + port, Policy{AllowHTTP: true}, []string{"127.0.0.2"}, false},
		"metadata service":                 {"http://sms.test:" + port, Policy{AllowHTTP: true}, []string{"169.254.169.254"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tc.policy.Resolver = nameserver(t, append(tc.resolve, public...)...)
			before := calls.Load()
			err := hit(t, tc.url, tc.policy)
			if tc.ok {
				require.NoError(t, err)
				assert.Equal(t, before+1, calls.Load())
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Contains(t, err.Error(), "allow_private")
			assert.Equal(t, before, calls.Load(), "no connection may be made")
		})
	}
}

// A name that was public when somebody looked and is private when it is
// dialled (DNS rebinding): what is dialled is what was checked.
func TestRebinding(t *testing.T) {
	var accepted atomic.Int64
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	require.NoError(t, err)
	r := nameserver(t, "8.8.8.8", "127.0.0.1")
	addrs, err := r.LookupNetIP(t.Context(), "ip4", "evil.test")
	require.NoError(t, err)
	require.True(t, Public(addrs[0]))
	var refused *RefusedError
	require.ErrorAs(t, hit(t, "http://evil.test:"+port, Policy{AllowHTTP: true, Resolver: r}), &refused)
	assert.Equal(t, "127.0.0.1", refused.Address.String())
	assert.Zero(t, accepted.Load())
}

func TestTargets(t *testing.T) {
	for raw, want := range map[string]string{
		"https://sms.example.org/send":  "",
		"https://10.1.2.3/":             "",
		"https://[::1]:8443/":           "",
		"http://127.0.0.1:8080/":        "",
		"http://[::1]/":                 "",
		"http://localhost/":             "",
		"http://192.168.7.7/":           "",
		"http://sms.example.org/":       "plain http",
		"http://8.8.8.8/":               "plain http",
		"http://localhost.example.org/": "plain http",
		"ftp://sms.example.org/":        "must begin with https://",
		"sms.example.org/send":          "must begin with https://",
		"https:///send":                 "no host",
		"https:opaque":                  "no host",
		"https://2130706433/":           "in disguise",
		"https://0x7f000001/":           "in disguise",
		"https://0x7f.1/":               "in disguise",
		"https://0177.0.0.1/":           "in disguise",
		"https://127.1/":                "in disguise",
		"https://127.0.0.1./":           "",
		"https://sms.0x/":               "in disguise",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		_, err = NewClient(u, Policy{}, time.Second)
		if want == "" {
			assert.NoError(t, err, raw)
		} else {
			assert.ErrorContains(t, err, want, raw)
		}
	}
	u, err := url.Parse("http://sms.example.org/")
	require.NoError(t, err)
	_, err = NewClient(u, Policy{AllowHTTP: true}, time.Second)
	require.NoError(t, err)
	for _, bad := range []string{"", "http://x", "a b", "10.0.0.0/33", "*.example.org", "1.2.3", "host:80"} {
		_, err = NewClient(u, Policy{AllowHTTP: true, AllowPrivate: []string{bad}}, time.Second)
		require.ErrorContains(t, err, "is not a host name, IP address or CIDR range", bad)
	}
	_, err = NewClient(u, Policy{AllowHTTP: true, Proxy: "nowhere"}, time.Second)
	require.ErrorContains(t, err, "the proxy is not a URL")
}

func TestProxy(t *testing.T) {
	var target atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { target.Store(r.RequestURI) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	require.NoError(t, hit(t, "http://sms.example.org/x", Policy{AllowHTTP: true, Proxy: proxy.URL}))
	assert.Equal(t, "http://sms.example.org/x", target.Load())
}

func TestRedirectsAreReturned(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	require.NoError(t, hit(t, srv.URL, Policy{TLS: &tls.Config{RootCAs: roots}}))
	assert.EqualValues(t, 1, calls.Load())
	err := hit(t, srv.URL, Policy{})
	var untrusted *tls.CertificateVerificationError
	require.True(t, errors.As(err, &untrusted))
}

// For a client of others' URLs nothing is exempt, not even a literal address.
func TestOpenClient(t *testing.T) {
	var accepted atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	require.NoError(t, err)
	get := func(host string, p Policy) error {
		c, err := NewOpenClient(p, 5*time.Second)
		require.NoError(t, err)
		res, err := c.Get("http://" + host + ":" + port)
		if err != nil {
			return err
		}
		assert.Equal(t, http.StatusFound, res.StatusCode, "redirects are returned")
		return res.Body.Close()
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "crl.test"} {
		var refused *RefusedError
		require.ErrorAs(t, get(host, Policy{AllowHTTP: true, Resolver: nameserver(t, "127.0.0.1")}), &refused, host)
	}
	assert.Zero(t, accepted.Load())
	require.NoError(t, get("127.0.0.1", Policy{AllowPrivate: []string{"127.0.0.1"}}))
	require.NoError(t, get("crl.test", Policy{AllowPrivate: []string{"crl.test"}, Resolver: nameserver(t, "127.0.0.1")}))
	assert.EqualValues(t, 2, accepted.Load(), "connections are not kept")

	_, err = NewOpenClient(Policy{AllowPrivate: []string{"a b"}}, time.Second)
	require.ErrorContains(t, err, "is not a host name, IP address or CIDR range")
}
