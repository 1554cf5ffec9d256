package page

import (
	"fmt"
	"html/template"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The kinds of hub: programs on the computer of the person who signs.
const (
	// HubOne is hub/1: GET /hub/v1/info, POST /hub/v1/certificates and
	// POST /hub/v1/sign at one address.
	HubOne = "hub1"
	// HubNHS is NHS Credential Management: its port service is looked for at five
	// ports of localhost and tells the port of the signing hub, which speaks
	// classic SignalR 2. As that port can be any, connect-src of the page is
	// http://localhost:* then.
	HubNHS = "nhs"
)

// DefaultHubURL is where a hub/1 listens unless told otherwise.
const DefaultHubURL = "http://127.0.0.1:43480"

// Hub tells how the page reaches the hub.
type Hub struct {
	Kind string // HubOne (default) or HubNHS
	// URL is the origin of a hub/1: http or https, host localhost or an IPv4
	// loopback address (a Content-Security-Policy can't name an IPv6 one);
	// DefaultHubURL when empty. Empty for HubNHS.
	URL string
}

// Config is the configuration of a Page.
type Config struct {
	// BasePath is the path of the API's public base URL without a trailing slash:
	// "/signing-service", or empty at the root.
	BasePath string
	Hub      Hub
	// Mock tells that a fake signer may be asked for. Without it nothing of it is
	// served.
	Mock bool
	// Now is the clock that View.Deadline is compared with; default time.Now.
	Now func() time.Time
}

// Page renders the page and serves its assets. It is safe for concurrent use.
type Page struct {
	basePath string
	hub      Hub
	ports    []int // of the NHS port service
	now      func() time.Time

	policy   string // Content-Security-Policy
	template *template.Template
	assets   map[string]asset
}

// The ports of localhost at which the NHS port service may listen: several
// Windows sessions share a machine.
func nhsPorts() []int { return []int{43487, 44213, 45031, 46478, 48853} }

// New returns the page for one configuration.
func New(config Config) (*Page, error) {
	p := &Page{basePath: config.BasePath, now: config.Now}
	if p.now == nil {
		p.now = time.Now
	}
	if err := checkBasePath(config.BasePath); err != nil {
		return nil, err
	}
	var err error
	if p.hub, err = checkHub(config.Hub); err != nil {
		return nil, err
	}
	reach := p.hub.URL
	if p.hub.Kind == HubNHS {
		p.ports = nhsPorts()
		reach = "http://localhost:*"
	}
	p.policy = contentSecurityPolicy(reach)
	if p.template, err = template.ParseFS(files, "templates/page.html"); err != nil {
		return nil, fmt.Errorf("signing page: %w", err)
	}
	if p.assets, err = loadAssets(p.hub.Kind, config.Mock); err != nil {
		return nil, fmt.Errorf("signing page: %w", err)
	}
	return p, nil
}

func checkBasePath(path string) error {
	if path == "" {
		return nil
	}
	u, err := url.Parse(path)
	if err != nil || u.EscapedPath() != path || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(path, "//") || strings.HasSuffix(path, "/") {
		return fmt.Errorf(`signing page: base path %q: want "/path" without a trailing slash, or nothing`, path)
	}
	return nil
}

// checkHub refuses what a policy can't name or a hub can't be: the address goes
// into a header as it is, and the page tells the user that what answers there
// is a program on this computer.
func checkHub(hub Hub) (Hub, error) {
	switch hub.Kind {
	case "", HubOne:
		hub.Kind = HubOne
	case HubNHS:
		if hub.URL != "" {
			return hub, fmt.Errorf("signing page: hub %q has no address to configure: it is found at fixed ports", HubNHS)
		}
		return hub, nil
	default:
		return hub, fmt.Errorf("signing page: unknown kind of hub %q: want %q or %q", hub.Kind, HubOne, HubNHS)
	}
	if hub.URL == "" {
		hub.URL = DefaultHubURL
	}
	u, err := url.Parse(hub.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return hub, fmt.Errorf("signing page: hub address %q: want scheme, host and port, as in %s", hub.URL, DefaultHubURL)
	}
	host := strings.ToLower(u.Hostname())
	if host != "localhost" {
		address, err := netip.ParseAddr(host)
		switch {
		case err != nil || !address.IsLoopback():
			return hub, fmt.Errorf("signing page: hub address %q: the hub runs on the user's own computer, so its host is localhost or 127.0.0.1", hub.URL)
		case !address.Is4():
			return hub, fmt.Errorf("signing page: hub address %q: a Content-Security-Policy can't name an IPv6 address; use 127.0.0.1", hub.URL)
		}
	}
	hub.URL = u.Scheme + "://" + host
	if port := u.Port(); port != "" {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return hub, fmt.Errorf("signing page: hub address: port %q isn't between 1 and 65535", port)
		}
		hub.URL = u.Scheme + "://" + net.JoinHostPort(host, strconv.FormatUint(number, 10))
	}
	return hub, nil
}
