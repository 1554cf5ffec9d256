//go:build linux

package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Notify's own address, which the clients know by heart.
const (
	productionHost = "api.notifications.service.gov.uk"
	productionAPI  = "https://" + productionHost
)

// productionSite is a site with that address, for which the authority vouches.
func productionSite(t testing.TB, s *server, a *authority, port int) string {
	t.Helper()
	cert := a.certify(t, &x509.Certificate{
		DNSNames: []string{productionHost}, NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, a.key.Public())
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	require.NoError(t, err)
	s.write(t, "site.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))
	s.write(t, "site.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	return fmt.Sprintf("%s:%d {\n\ttls site.pem site.key\n\tnotify_api {\n\t\t%s\n\t}\n}\n", productionAPI, port, noLimits)
}

// webProxy is a proxy, as firms have them, that leads that address to us.
type webProxy struct {
	*httptest.Server
	host    string // where CONNECT leads to
	forward http.Handler

	connects, forwards atomic.Int32
}

func newWebProxy(t testing.TB, productionPort int) *webProxy {
	t.Helper()
	p := &webProxy{host: address(productionPort)}
	transport := &http.Transport{}
	p.forward = &httputil.ReverseProxy{Transport: transport, Rewrite: func(*httputil.ProxyRequest) {}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.Close()
		transport.CloseIdleConnections()
	})
	return p
}

func (p *webProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.forwards.Add(1)
		p.forward.ServeHTTP(w, r)
		return
	}
	p.connects.Add(1)
	if r.Host != productionHost+":443" {
		http.Error(w, "only one address is served", http.StatusForbidden)
		return
	}
	there, err := net.Dial("tcp", p.host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n") // else the copies end at once
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here)
		_ = there.(*net.TCPConn).CloseWrite() // it may be closed
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
	<-done
}

// asOptions is how the client of today is told of it.
func (p *webProxy) asOptions(t testing.TB) object {
	t.Helper()
	u, err := url.Parse(p.URL)
	require.NoError(t, err)
	return object{"protocol": "http", "host": u.Hostname(), "port": u.Port()}
}
