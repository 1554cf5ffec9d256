package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// newOrigin returns the function that says how clients address the server:
// always as configured, or by default as each request did.
func newOrigin(configured string) (func(*http.Request) string, error) {
	if configured == "" {
		return clientOrigin, nil
	}
	text, err := caddy.NewReplacer().ReplaceOrErr(configured, true, true)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("origin %q: it must be scheme and host, such as https://notify.example.org", text)
	}
	origin := u.Scheme + "://" + u.Host
	return func(*http.Request) string { return origin }, nil
}

// clientOrigin is how the client addressed the server. The headers of proxies
// count when Caddy trusts the one that has sent them (`trusted_proxies`), as they
// do for `reverse_proxy`.
func clientOrigin(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if v := strings.ToLower(forwarded(r.Header, "X-Forwarded-Proto")); v == "http" || v == "https" {
			scheme = v
		}
		if v := forwarded(r.Header, "X-Forwarded-Host"); v != "" && !strings.ContainsFunc(v, notOfHost) {
			host = v
		}
	}
	return scheme + "://" + host
}

// forwarded returns what the proxy next to the client has written.
func forwarded(h http.Header, name string) string {
	lines := h.Values(name)
	if len(lines) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(lines[len(lines)-1], ",")
	return strings.TrimSpace(first)
}

// notOfHost reports characters that a host with its port doesn't have.
func notOfHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~:[]", r)
}
