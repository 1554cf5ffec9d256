package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

// Defaults and limits of [Config].
const (
	DefaultAddress     = "127.0.0.1:43480"
	DefaultName        = "Signpost signing hub"
	DefaultMinKeyBits  = jwks.DefaultMinKeyBits
	DefaultLeeway      = 30 * time.Second
	DefaultUserTimeout = 120 * time.Second
	maxLeeway          = 24 * time.Hour
	maxUserTimeout     = time.Hour
)

// PRSPorts are the ports of localhost at which pages look for the port service
// (the wire reference, section 2.3). A hub that listens there too, or at one of
// them, is found by pages that were made for NHS Credential Management.
func PRSPorts() []int { return []int{43487, 44213, 45031, 46478, 48853} }

// Config describes a Hub. Origins, Signer and Consent are required, and Requests
// unless UnsignedRequests is set; the zero value of every other field is its
// default.
type Config struct {
	// Origins are the web sites that the hub answers, as browsers write them:
	// https://sign.example.org, and http only for localhost and loopback
	// addresses. They are compared exactly.
	Origins []string
	// Requests are the keys that signature requests are verified with.
	Requests []RequestKeys
	// UnsignedRequests also accepts requests that no client has signed: the
	// base64 JSON that some pages for NHS Credential Management send, over the
	// compatibility routes only. Then whatever runs on one of the origins chooses
	// what is signed, and nothing but the user's attention stands against it.
	UnsignedRequests bool

	// Signer holds the keys. The caller closes it, after the hub.
	Signer Signer
	// Consent asks the user: [NewPageConsent], [NewTerminalConsent], or
	// [ConsentNever] in tests.
	Consent Consenter
	// AllCertificates also offers certificates that aren't for contentCommitment.
	AllCertificates bool

	// Address is the host and port under which browsers reach the hub: host
	// localhost, 127.0.0.1 or [::1]. Its port is what the port service answers,
	// whichever listener it was asked on, and consent pages are opened there.
	// Default: 127.0.0.1:43480.
	Address string
	// Name is what the hub calls itself. Default: Signpost signing hub.
	Name string
	// HubOneOnly leaves the compatibility routes out.
	HubOneOnly bool

	// MinKeyBits is the smallest RSA key that a request may be signed with, in
	// bits, 2048 to 16384. Default, when 0: 2048.
	MinKeyBits int
	// Leeway is how far a client's clock may be ahead. Default, when 0: 30 s.
	// Negative means none. At most 24 h.
	Leeway time.Duration
	// UserTimeout is how long the hub waits for the user, each time that it asks.
	// Default, when 0: 120 s. At most 1 h.
	UserTimeout time.Duration

	// Logger gets successes at debug, what was signed and refusals at info and
	// faults at error; never a PIN, a JWT or a document. Default: no log.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// RequestKeys are keys of those who may ask for signatures.
type RequestKeys struct {
	// Audience is the base URL of the signing service whose clients' keys these
	// are, which the aud of their requests must equal. When empty, aud may be any
	// URL of the origin that asks.
	Audience string
	// Issuer is the only iss whose requests these keys may verify. When empty,
	// the keys say themselves whose they are ([jwks.Key]); those that don't verify
	// requests of any iss, of which the log warns.
	Issuer string
	// Keys may also have the method KeyOf of [jwks.Set]. Without it a kid is that
	// of one key.
	Keys jwks.KeySource
}

// Hub is a signing hub. It is safe for concurrent use.
type Hub struct {
	config  Config
	origins map[string]bool
	port    int // of Address
	page    *PageConsent

	slot    chan struct{} // holds the running operation
	using   sync.RWMutex  // held for reading while the signer is in use
	replays replays
	shown   shown
	signalr connections
	unbound sync.Map // audiences that were warned about

	watchers  sync.WaitGroup
	cardWatch time.Duration // of shown; tests shorten it

	// closing ends, by close, what is running.
	closing context.Context
	close   context.CancelFunc
}

// New checks the configuration and makes a Hub.
func New(c Config) (*Hub, error) {
	switch {
	case c.Signer == nil:
		return nil, errors.New("hub: Signer is required: what shall the hub sign with?")
	case c.Consent == nil:
		return nil, errors.New("hub: Consent is required: how shall the hub ask the user?")
	case len(c.Origins) == 0:
		return nil, errors.New("hub: Origins is required: which web sites may ask for signatures? For example https://sign.example.org")
	case len(c.Requests) == 0 && !c.UnsignedRequests:
		return nil, errors.New("hub: Requests is required: with whose keys are signature requests verified?")
	case c.UnsignedRequests && c.HubOneOnly:
		return nil, errors.New("hub: UnsignedRequests and HubOneOnly exclude each other: hub/1 has signed requests only")
	}
	h := &Hub{origins: make(map[string]bool, len(c.Origins)), slot: make(chan struct{}, 1)}
	for _, origin := range c.Origins {
		if err := checkOrigin(origin); err != nil {
			return nil, err
		}
		h.origins[origin] = true
	}
	for i, keys := range c.Requests {
		if keys.Keys == nil {
			return nil, fmt.Errorf("hub: Requests[%d] has no Keys", i)
		}
		if _, ok := originOf(keys.Audience); keys.Audience != "" && !ok {
			return nil, fmt.Errorf("hub: the audience %q is no http or https URL", keys.Audience)
		}
	}
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	var err error
	if h.port, err = checkAddress(c.Address); err != nil {
		return nil, err
	}
	h.config = c
	h.replays.now, h.signalr.now, h.shown.now = c.Now, c.Now, c.Now
	h.cardWatch = cardWatch
	h.closing, h.close = context.WithCancel(context.Background())
	switch consent := c.Consent.(type) {
	case never:
		c.Logger.Warn("the hub signs without asking the user: this is for tests only")
	case *PageConsent:
		h.page = consent
		consent.attach("http://"+c.Address, c.Now)
	}
	if c.UnsignedRequests {
		c.Logger.Warn("the hub also signs requests that no client has signed: every page of its origins can ask for any signature")
	}
	return h, nil
}

func (c *Config) setDefaults() error {
	setDefault(&c.Address, DefaultAddress)
	setDefault(&c.Name, DefaultName)
	setDefault(&c.MinKeyBits, DefaultMinKeyBits)
	setDefault(&c.Leeway, DefaultLeeway)
	setDefault(&c.UserTimeout, DefaultUserTimeout)
	switch {
	case c.MinKeyBits < jwks.DefaultMinKeyBits || c.MinKeyBits > jwks.MaxKeyBits:
		return fmt.Errorf("hub: MinKeyBits is %d; it must be %d to %d", c.MinKeyBits, jwks.DefaultMinKeyBits, jwks.MaxKeyBits)
	case c.Leeway > maxLeeway:
		return fmt.Errorf("hub: Leeway is %s; it must be %s at most", c.Leeway, maxLeeway)
	case c.UserTimeout < 0 || c.UserTimeout > maxUserTimeout:
		return fmt.Errorf("hub: UserTimeout is %s; it must be more than 0 and %s at most", c.UserTimeout, maxUserTimeout)
	}
	c.Leeway = max(c.Leeway, 0)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// checkOrigin refuses what no browser writes, and plain http to other machines:
// whoever sits on the way could ask in their name.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil {
		return fmt.Errorf("hub: the origin %q: %w", origin, err)
	}
	canonical, ok := originOf(origin)
	switch {
	case !ok:
		return fmt.Errorf("hub: the origin %q must be a scheme and a host, such as https://sign.example.org", origin)
	case canonical != origin:
		return fmt.Errorf("hub: the origin %q is compared exactly with what browsers send: write %s", origin, canonical)
	case u.Scheme == "http" && !isLoopbackName(u.Hostname()):
		return fmt.Errorf("hub: the origin %q must begin with https:// (http:// is for localhost and loopback addresses only)", origin)
	}
	return nil
}

// originOf returns the origin of a URL as browsers write it (RFC 6454, section
// 6.2).
func originOf(text string) (origin string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.Contains(u.Host, "*") {
		return "", false
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	if port == strconv.Itoa(defaultPort(u.Scheme == "https")) {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host, true
}

func checkAddress(address string) (port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("hub: the address %q must be a host and a port, such as %s", address, DefaultAddress)
	}
	if !isLoopbackName(host) {
		return 0, fmt.Errorf("hub: the address %q must have the host localhost, 127.0.0.1 or [::1]: the hub is for this computer only", address)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return 0, fmt.Errorf("hub: the address %q must have a port from 1 to 65535", address)
	}
	return int(number), nil
}

// Close ends what is running: operations, polls and consent pages. It returns
// when the Signer is no longer used, so that it can be closed. The hub refuses
// everything afterwards. It may be called twice.
func (h *Hub) Close() error {
	h.close()
	h.using.Lock()
	h.using.Unlock() //nolint:staticcheck // nobody begins any more, and those who had have ended
	h.watchers.Wait()
	return nil
}
