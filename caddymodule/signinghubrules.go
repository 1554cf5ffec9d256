package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/jwks"
)

// loopbackListener returns the address under which browsers reach this site and
// whether that is by TLS, and an error when others than this computer could.
func loopbackListener(server *caddyhttp.Server) (address string, secure bool, err error) {
	if server == nil {
		return "", false, nil
	}
	for _, listen := range server.Listen {
		a, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			return "", false, err
		}
		ip := net.ParseIP(strings.Trim(a.Host, "[]"))
		if a.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return "", false, fmt.Errorf("signing_hub is for this computer only, but its site listens on %q: add `bind 127.0.0.1 [::1]` to the site", listen)
		}
		if address == "" {
			address = net.JoinHostPort(strings.Trim(a.Host, "[]"), fmt.Sprint(a.StartPort))
		}
	}
	return address, len(server.TLSConnPolicies) > 0, nil
}

// warn tells of what signs too easily, and of what will refuse requests that
// should be good.
func (s *SigningHub) warn(log *zap.Logger, server *caddyhttp.Server) {
	if s.Consent == "never" {
		log.Warn("consent is never: the hub signs without asking the user; for tests only")
	}
	if s.UnsignedRequests {
		log.Warn("unsigned_requests is on: every page of the origins can ask for any signature")
	}
	for _, base := range s.RequestsFrom {
		if origin := originOf(base); !slices.Contains(s.Origins, origin) {
			log.Warn("requests_from is for a web site that is not among the origins: its requests will be refused",
				zap.String("requests_from", base), zap.String("origin", origin))
		}
	}
	if limit := s.hurries(server); limit > 0 {
		log.Warn("the server's timeouts read_body and write end requests before the user can have read what to sign: leave them out for this listener, or make them longer than twice the user_timeout",
			zap.Duration("timeout", limit))
	}
}

// hurries returns the server's timeout that may end a request whose user is
// asked for consent and then for the PIN; 0 when there is none.
func (s *SigningHub) hurries(server *caddyhttp.Server) time.Duration {
	if server == nil {
		return 0
	}
	user := 2 * cmp.Or(time.Duration(s.UserTimeout), hub.DefaultUserTimeout)
	for _, timeout := range []caddy.Duration{server.ReadTimeout, server.WriteTimeout} {
		if timeout > 0 && time.Duration(timeout) <= user {
			return time.Duration(timeout)
		}
	}
	return 0
}

// originOf returns the origin of a URL as browsers write it.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// checkSettings finds what the hub would refuse. What is missing may come yet.
func (s *SigningHub) checkSettings() error {
	cfg := s.config()
	if len(cfg.Origins) == 0 {
		cfg.Origins = []string{"https://sign.example.org"}
	}
	nobody, _ := jwks.NewIndex(nil)
	cfg.Requests = []hub.RequestKeys{{Keys: nobody}}
	cfg.Signer, cfg.Consent = new(lateSigner), hub.ConsentNever()
	h, err := hub.New(cfg)
	if err != nil {
		return errors.New(hubOptionNames.Replace(err.Error()))
	}
	for _, base := range s.RequestsFrom {
		if err := checkRequestsFrom(base); err != nil {
			return err
		}
	}
	return h.Close()
}

// hubOptionNames turns the names of the Go package into those of the options.
var hubOptionNames = strings.NewReplacer("hub: ", "", "UnsignedRequests and HubOneOnly", "unsigned_requests on and compatibility off",
	"MinKeyBits", "min_key_bits", "Leeway", "leeway", "UserTimeout", "user_timeout")

func checkRequestsFrom(base string) error {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return fmt.Errorf("requests_from: %w", err)
	case strings.HasSuffix(base, "/"), u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("requests_from %q: it must be the base_url of a signing API, which has no slash at its end, no query and no fragment", base)
	}
	if _, err := jwks.NewURL(jwks.URLConfig{URL: base + wellKnownJWKS}); err != nil {
		return fmt.Errorf("requests_from: %w", err)
	}
	return nil
}
