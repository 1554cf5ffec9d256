package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// hubPlaces are where the hub listens, and for whom.
type hubPlaces struct {
	address     string
	origins     []string
	listen      []string
	free, taken []int // of the NHS ports
}

// config makes the configuration that a Caddyfile with signing_hub would.
func (h hubFlags) config() (*caddy.Config, hubPlaces, error) {
	p, port, err := h.address()
	if err != nil {
		return nil, p, err
	}
	if p.origins = h.sites(); len(p.origins) == 0 {
		return nil, p, errors.New("--origin is required without --requests-from: which web sites may ask for signatures?")
	}
	s := SigningHub{
		Origins:          p.origins,
		RequestsFrom:     *h.requestsFrom,
		Consent:          *h.consent,
		Address:          p.address,
		Compatibility:    h.prs,
		UnsignedRequests: *h.unsigned,
		AllCertificates:  *h.allCertificates,
		SignerRaw:        h.signer(),
	}
	if authorities := h.authorities(); authorities != "" {
		s.TrustPoolRaw = caddyconfig.JSON(map[string]any{"provider": "file", "pem_files": []string{authorities}}, nil)
	}
	if err := h.check(s); err != nil {
		return nil, p, err
	}
	if err := p.find(port, *h.prs); err != nil {
		return nil, p, err
	}
	return hubConfig(s, p.listen), p, nil
}

func (h hubFlags) check(s SigningHub) error {
	switch {
	case s.Consent != "page" && s.Consent != "terminal":
		return fmt.Errorf("--consent %q: it must be page or terminal", s.Consent)
	case s.UnsignedRequests && !*h.prs:
		return errors.New("--unsigned-requests is for web sites that were made for NHS Credential Management: it needs --prs")
	case *h.certificate != "" && *h.keyfile == "":
		return errors.New("--certificate belongs to --keyfile")
	case *h.token != "" && *h.module == "":
		return errors.New("--token belongs to --module")
	}
	if *h.module != "" {
		if err := needCards(); err != nil {
			return err
		}
	}
	if err := s.checkSettings(); err != nil {
		return h.named(err)
	}
	return nil
}

// named turns the names of options into those of flags.
func (h hubFlags) named(err error) error {
	origin := "--origin:"
	if len(*h.origins) == 0 {
		origin = "--requests-from:"
	}
	return errors.New(strings.NewReplacer("requests_from", "--requests-from", "the origin", origin, "the address", "--listen:").Replace(err.Error()))
}

func (h hubFlags) signer() json.RawMessage {
	if *h.module != "" {
		s := SignerPKCS11{Module: *h.module, Token: *h.token}
		if os.Getenv(cardPINEnv) != "" {
			s.PIN = "{env." + cardPINEnv + "}"
		}
		return caddyconfig.JSONModuleObject(s, "module", "pkcs11", nil)
	}
	s := SignerKeyfile{Key: *h.keyfile, Certificate: *h.certificate}
	if os.Getenv(keyfilePasswordEnv) != "" {
		s.Password = "{env." + keyfilePasswordEnv + "}"
	}
	return caddyconfig.JSONModuleObject(s, "module", "keyfile", nil)
}

// authorities is the file of those that are trusted instead of the system's: for
// servers on this computer the ones of its own Caddy.
func (h hubFlags) authorities() string {
	if *h.trust != "" {
		return *h.trust
	}
	own := filepath.Join(caddy.AppDataDir(), "pki", "authorities", "local", "root.crt")
	foreign := slices.ContainsFunc(*h.requestsFrom, func(base string) bool {
		u, err := url.Parse(base)
		return err != nil || u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback()
	})
	if _, err := os.Stat(own); err != nil || foreign {
		return ""
	}
	return own
}

// address reads --listen.
func (h hubFlags) address() (p hubPlaces, port int, err error) {
	host, text, err := net.SplitHostPort(*h.listen)
	number, e := strconv.ParseUint(text, 10, 16)
	ip := net.ParseIP(host)
	if err != nil || e != nil || number == 0 || host != "localhost" && !ip.Equal(net.IPv4(127, 0, 0, 1)) && !ip.Equal(net.IPv6loopback) {
		return p, 0, fmt.Errorf("--listen %q: it must be localhost, 127.0.0.1 or [::1] and a port, such as %s", *h.listen, hub.DefaultAddress)
	}
	p.address = net.JoinHostPort(host, text)
	return p, int(number), nil
}

// sites are the web sites that may ask.
func (h hubFlags) sites() []string {
	all := slices.Clone(*h.origins)
	if len(all) > 0 {
		return all
	}
	for _, base := range *h.requestsFrom {
		if origin := originOf(base); !slices.Contains(all, origin) {
			all = append(all, origin)
		}
	}
	return all
}

// find finds out where the hub can listen.
func (p *hubPlaces) find(port int, prs bool) (err error) {
	if p.listen, err = freeLoopbacks(port); err != nil {
		return fmt.Errorf("port %d can't be listened on: is a hub running already? (%w)", port, err)
	}
	for _, other := range hub.PRSPorts() {
		if !prs || other == port {
			continue
		}
		more, err := freeLoopbacks(other)
		if err != nil {
			p.taken = append(p.taken, other)
			continue
		}
		p.free = append(p.free, other)
		p.listen = append(p.listen, more...)
	}
	return nil
}

// freeLoopbacks returns both loopback addresses with a port, or the IPv4 one on
// computers without IPv6. It is an error when another program has one of them: a
// browser that is sent to localhost may try either. Caddy by itself would not
// notice, because it shares its ports.
func freeLoopbacks(port int) ([]string, error) {
	hosts := []string{"127.0.0.1"}
	if listenable("[::1]:0") == nil {
		hosts = append(hosts, "::1")
	}
	addresses := make([]string, len(hosts))
	for i, host := range hosts {
		addresses[i] = net.JoinHostPort(host, strconv.Itoa(port))
		if err := listenable(addresses[i]); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

func listenable(address string) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// hubConfig is Caddy's configuration of one hub: no admin endpoint, nothing
// kept on the disk, and no logs but what concerns the hub.
func hubConfig(s SigningHub, listen []string) *caddy.Config {
	off := false
	server := &caddyhttp.Server{
		Listen:            listen,
		Protocols:         []string{"h1"},
		AutoHTTPS:         &caddyhttp.AutoHTTPSConfig{Disabled: true},
		ReadHeaderTimeout: caddy.Duration(10 * time.Second),
		IdleTimeout:       caddy.Duration(2 * time.Minute),
		MaxHeaderBytes:    64 << 10,
		Routes: caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{
			caddyconfig.JSONModuleObject(s, "handler", "signing_hub", nil),
		}}},
	}
	http := &caddyhttp.App{
		// For consents and polls that are under way.
		GracePeriod: caddy.Duration(time.Second),
		Servers:     map[string]*caddyhttp.Server{"hub": server},
	}
	log := &caddy.CustomLog{
		BaseLog: caddy.BaseLog{Level: "INFO", EncoderRaw: json.RawMessage(`{"format":"console","level_format":"upper"}`)},
		Include: []string{"http.handlers.signing_hub", "http.log.error", "signpost"},
	}
	return &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &off}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": log}},
		AppsRaw: caddy.ModuleMap{
			"http": caddyconfig.JSON(http, nil),
			"tls":  caddyconfig.JSON(caddytls.TLS{DisableStorageCheck: true, DisableStorageClean: true}, nil),
		},
	}
}
