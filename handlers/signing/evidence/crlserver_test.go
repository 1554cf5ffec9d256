package evidence

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crlServer serves revocation lists over HTTP.
type crlServer struct {
	*httptest.Server
	hits atomic.Int64

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
}

func newCRLServer(tb testing.TB) *crlServer {
	tb.Helper()
	s := &crlServer{handlers: make(map[string]http.HandlerFunc)}
	s.Server = httptest.NewServer(s)
	tb.Cleanup(s.Close)
	return s
}

func (s *crlServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.hits.Add(1)
	s.mu.Lock()
	h := s.handlers[r.URL.Path]
	s.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (s *crlServer) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
}

func (s *crlServer) serve(path string, der []byte) {
	s.handle(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(der) })
}

func (s *crlServer) remove(path string) { s.handle(path, nil) }

// at makes certificates point to a path of the server.
func (s *crlServer) at(paths ...string) change {
	return func(c *x509.Certificate) {
		for _, p := range paths {
			c.CRLDistributionPoints = append(c.CRLDistributionPoints, s.URL+p)
		}
	}
}

func serial(n int64) change { return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) } }

// crl makes a list in force that revokes the serial numbers.
func (a *authority) crl(tb testing.TB, revoked []int64, changes ...func(*x509.RevocationList)) []byte {
	tb.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: testNow.Add(-time.Hour), NextUpdate: testNow.Add(24 * time.Hour)}
	for _, n := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(n), RevocationTime: testNow.Add(-2 * time.Hour),
		})
	}
	for _, change := range changes {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	require.NoError(tb, err)
	return der
}

func listExtension(tb testing.TB, id asn1.ObjectIdentifier, value any) func(*x509.RevocationList) {
	tb.Helper()
	der, err := asn1.Marshal(value)
	require.NoError(tb, err)
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: der})
	}
}

// only makes the parts of an issuing distribution point: a flag by its tag, or
// the full names.
func onlyFlag(tag int) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte{0xff}}
}

func onlyAt(tb testing.TB, addresses ...string) asn1.RawValue {
	tb.Helper()
	var names []byte
	for _, a := range addresses {
		der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(a)})
		require.NoError(tb, err)
		names = append(names, der...)
	}
	full, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: names})
	require.NoError(tb, err)
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: full}
}

func scope(tb testing.TB, parts ...asn1.RawValue) func(*x509.RevocationList) {
	tb.Helper()
	return listExtension(tb, oidIssuingDistributionPoint, parts)
}
