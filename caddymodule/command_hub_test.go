package caddymodule

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/pkcs11"
)

// TestHubCommand runs the hub with a key in a file, with the NHS ports, and
// without a Caddyfile.
func TestHubCommand(t *testing.T) {
	opened := openedPages(t)
	s := newHubSite(t, keysAt(t), "")
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(hub.PRSPorts()[2]))
	if err == nil { // else another program has it, which is as good
		defer taken.Close()
	}
	r := start(t, "", "hub", "--listen", s.addr(), "--requests-from", s.base, "--keyfile", s.card, "--prs")
	require.Equal(t, "hub          http://"+s.addr(), r.page)
	require.Equal(t, 1, hubsInUse())
	require.Empty(t, appRunning(t).needs, "it needs no storage")

	requireSigned(t, s.signAsked(t, plainClient, opened, s.request(t), "step=1&decision=approve"))
	require.Equal(t, 200, s.ask(t, "GET", "/PRS/GetPortNumber", "").StatusCode)

	r.cancel()
	out, err := r.end()
	require.NoError(t, err)
	require.Contains(t, out, "answers      "+originOf(s.base)+"\n")
	require.Contains(t, out, "requests     signed by the clients of "+s.base+"\n")
	require.Regexp(t, `NHS ports    .*in use by another program: .*45031`, out)
	require.Contains(t, out, "certificate  555086689106_TEST, issued by 555086689106_TEST, valid until 2096-10-02\n")
	require.Zero(t, hubsInUse())
}

// TestHubCommandWithoutCompatibility: what nobody asked for isn't there.
func TestHubCommandWithoutCompatibility(t *testing.T) {
	s := newHubSite(t, keysAt(t), "")
	r := start(t, "", "hub", "--listen", "localhost:"+strconv.Itoa(s.port), "--origin", originOf(s.base), "--requests-from", s.base, "--keyfile", s.card)
	require.Equal(t, 200, s.ask(t, "GET", "/hub/v1/info", "").StatusCode)
	require.Equal(t, 404, s.ask(t, "GET", "/PRS/GetPortNumber", "").StatusCode)

	// Caddy would share the port.
	_, err := runCommand(t, "", "hub", "--listen", s.addr(), "--requests-from", s.base, "--keyfile", s.card)
	require.ErrorContains(t, err, "is a hub running already?")
	r.cancel()
	_, err = r.end()
	require.NoError(t, err)
}

func TestHubCommandRefusals(t *testing.T) {
	const base = "https://sign.example.org/signing-service"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "[module keyfile]"},
		{"two keys", []string{"--module", "a", "--keyfile", "b", "--requests-from", base}, "[keyfile module]"},
		{"nobody's requests", []string{"--keyfile", "b"}, "[requests-from unsigned-requests]"},
		{"argument", []string{"x"}, `unknown command "x"`},
		{"listen", []string{"--keyfile", "b", "--requests-from", base, "--listen", "0.0.0.0:43480"}, "--listen"},
		{"port", []string{"--keyfile", "b", "--requests-from", base, "--listen", "127.0.0.1:0"}, "--listen"},
		{"no sites", []string{"--keyfile", "b", "--unsigned-requests", "--prs"}, "--origin is required"},
		{"unsigned", []string{"--keyfile", "b", "--requests-from", base, "--unsigned-requests"}, "it needs --prs"},
		{"consent", []string{"--keyfile", "b", "--requests-from", base, "--consent", "never"}, "it must be page or terminal"},
		{"token", []string{"--keyfile", "b", "--requests-from", base, "--token", "x"}, "--token belongs to --module"},
		{"certificate", []string{"--module", "b", "--requests-from", base, "--certificate", "x"}, "--certificate belongs to --keyfile"},
		{"origin", []string{"--keyfile", "b", "--requests-from", base, "--origin", "https://a.example/"}, "--origin: \"https://a.example/\""},
		{"http", []string{"--keyfile", "b", "--requests-from", "http://sign.example.org"}, "--requests-from: "},
		{"slash", []string{"--keyfile", "b", "--requests-from", base + "/"}, "--requests-from \""},
		{"no key", []string{"--keyfile", "/nonexistent/key", "--requests-from", base}, "keyfile: /nonexistent/key can't be opened"},
		{"no authorities", []string{"--keyfile", "/nonexistent/key", "--requests-from", base, "--trust", "/nonexistent/ca"}, "/nonexistent/ca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Each has a port of its own: Caddy may let go of one a moment after it
			// has stopped.
			listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
			_, err := runCommand(t, "", append([]string{"hub", "--listen", listen}, c.args...)...)
			require.ErrorContains(t, err, c.want)
			require.Zero(t, hubsInUse())
		})
	}
}

// TestHubCommandWithoutCgo: what needs a card says which binary has it.
func TestHubCommandWithoutCgo(t *testing.T) {
	if needCards() == nil {
		t.Skip("this binary has cgo")
	}
	for _, args := range [][]string{
		{"hub", "--module", "/nonexistent/module.so", "--requests-from", "https://sign.example.org"},
		{"hub", "cards", "--module", "/nonexistent/module.so"},
		{"hub", "testcard", "--dir", filepath.Join(t.TempDir(), "card")},
	} {
		_, err := runCommand(t, "", args...)
		require.ErrorContains(t, err, "built without cgo: use ./xcaddy.sh hub", strings.Join(args, " "))
	}
}

func TestHubCards(t *testing.T) {
	now := time.Unix(1800000000, 0)
	certificate := func(change func(*hub.Certificate)) hub.Certificate {
		c := hub.Certificate{Algorithms: []string{"RS256", "RS1"}, NonRepudiation: true, Leaf: &x509.Certificate{
			Subject: pkix.Name{CommonName: "1_A"}, Issuer: pkix.Name{Organization: []string{"CA, Ltd"}},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		}}
		change(&c)
		return c
	}
	good := certificate(func(*hub.Certificate) {})
	for _, c := range []struct {
		name  string
		token pkcs11.Token
		rows  []string
		any   bool
	}{
		{"good", pkcs11.Token{Label: "a", Serial: "1", Certificates: []hub.Certificate{good}},
			[]string{"a\t1\tready\t1_A\tyes: RS256, RS1, until 2027-01-15"}, true},
		{"two", pkcs11.Token{Label: "a", Serial: "1", Certificates: []hub.Certificate{
			certificate(func(c *hub.Certificate) { c.NonRepudiation = false }), good,
		}}, []string{
			"a\t1\tready\t1_A\tno: it is not for signing documents (key usage contentCommitment), unless with --all-certificates",
			"\t\t\t1_A\tyes: RS256, RS1, until 2027-01-15",
		}, true},
		{"expired", pkcs11.Token{Label: "a\x1b", Certificates: []hub.Certificate{
			certificate(func(c *hub.Certificate) { c.Leaf.NotAfter = now.Add(-time.Minute) }),
		}}, []string{"\"a\\x1b\"\t-\tready\t1_A\tno: it expired on 2027-01-15"}, false},
		{"early", pkcs11.Token{Label: "a", Certificates: []hub.Certificate{
			certificate(func(c *hub.Certificate) { c.Leaf.NotBefore = now.Add(time.Minute) }),
		}}, []string{"a\t-\tready\t1_A\tno: it is valid from 2027-01-15 on"}, false},
		{"no RSA", pkcs11.Token{Label: "a", Certificates: []hub.Certificate{
			certificate(func(c *hub.Certificate) { c.Algorithms = nil }),
		}}, []string{"a\t-\tready\t1_A\tno: the card can't make RSA signatures"}, false},
		{"empty", pkcs11.Token{Label: "a", PINBlocked: true, PINFinalTry: true},
			[]string{"a\t-\tPIN blocked\t-\tno: no certificate with a private key"}, false},
		{"unreadable", pkcs11.Token{Label: "a", PINFinalTry: true, PINPad: true, Err: errors.New("broken")},
			[]string{"a\t-\tone PIN try left, PIN at the reader\t-\tno: broken"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cards := showCards([]pkcs11.Token{c.token}, now)
			require.Equal(t, c.rows, cardRows(cards))
			require.Equal(t, c.any, anyUsable(cards) == nil)
		})
	}
	require.ErrorContains(t, anyUsable(nil), "there is no card")
	require.Equal(t, `1_A, issued by "O=CA\\, Ltd", valid until 2027-01-15`, describe(good, false, now))
	require.Contains(t, describe(good, false, now.Add(2*time.Hour)), "NOT USABLE: it expired")
}

// TestHubAuthorities: Caddy's own authority is for servers on this computer.
func TestHubAuthorities(t *testing.T) {
	own := filepath.Join(t.TempDir(), "caddy", "pki", "authorities", "local", "root.crt")
	t.Setenv("XDG_DATA_HOME", strings.TrimSuffix(own, "/caddy/pki/authorities/local/root.crt"))
	authorities := func(trust string, requestsFrom ...string) string {
		return hubFlags{trust: &trust, requestsFrom: &requestsFrom}.authorities()
	}
	require.Empty(t, authorities("", "https://localhost:8447"), "it isn't there yet")
	require.NoError(t, os.MkdirAll(filepath.Dir(own), 0o700))
	writeFile(t, own, "x")
	require.Equal(t, own, authorities("", "https://localhost:8447", "https://127.0.0.1:1/a", "https://[::1]:1/a"))
	require.Empty(t, authorities("", "https://localhost:8447", "https://sign.example.org"))
	require.Equal(t, "/ca.pem", authorities("/ca.pem", "https://sign.example.org"))
}

func TestOriginOf(t *testing.T) {
	for address, want := range map[string]string{
		"https://sign.example.org/signing-service": "https://sign.example.org",
		"https://SIGN.example.org:443/a":           "https://sign.example.org",
		"https://sign.example.org:8443":            "https://sign.example.org:8443",
		"http://127.0.0.1:80/a":                    "http://127.0.0.1",
		"http://[::1]:443/a":                       "http://[::1]:443",
		"%":                                        "",
	} {
		require.Equal(t, want, originOf(address))
	}
}
