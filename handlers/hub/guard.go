package hub

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// isLoopbackName reports whether a host is one of the names under which the hub
// answers. Other names of this computer aren't needed, and any name that an
// attacker registers can be made to lead here.
func isLoopbackName(host string) bool {
	return host == "127.0.0.1" || host == "::1" || strings.EqualFold(host, "localhost")
}

// isLocal reports whether a request came over a loopback connection, at both of
// its ends, and under a loopback name with the port that it came in at.
func isLocal(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return false
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]"), strconv.Itoa(defaultPort(r.TLS != nil))
	}
	return isLoopbackName(host) && port == strconv.Itoa(int(at.Port()))
}

func defaultPort(secure bool) int {
	if secure {
		return 443
	}
	return 80
}

// allowedOrigin returns the request's origin if the hub answers it.
func (h *Hub) allowedOrigin(r *http.Request) (string, bool) {
	lines := r.Header["Origin"]
	if len(lines) != 1 || !h.origins[lines[0]] {
		return "", false
	}
	return lines[0], true
}

// isSameOrigin reports whether a request comes from the hub's own pages.
func isSameOrigin(r *http.Request) bool {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	lines := r.Header["Origin"]
	if len(lines) != 1 || !strings.EqualFold(lines[0], scheme+r.Host) {
		return false
	}
	site := r.Header.Values("Sec-Fetch-Site")
	return len(site) == 0 || len(site) == 1 && site[0] == "same-origin"
}
