package evidence

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	textRevoked = "The certificate has been revoked"
	textUnknown = "It could not be checked whether the certificate has been revoked"
)

// both verifies under the soft and the hard policy, without what one of them
// may have cached.
func both(t *testing.T, c Config, u Upload) (soft *Evidence, softErr, hardErr error) {
	t.Helper()
	if c.Transport == nil {
		c.AllowPrivate = []string{"127.0.0.1"}
	}
	c.Revocation = RevocationSoft
	soft, softErr = newVerifier(t, c).Verify(t.Context(), u)
	c.Revocation = RevocationHard
	_, hardErr = newVerifier(t, c).Verify(t.Context(), u)
	return soft, softErr, hardErr
}

func entry(l *x509.RevocationList, change func(*x509.RevocationListEntry)) {
	for i := range l.RevokedCertificateEntries {
		change(&l.RevokedCertificateEntries[i])
	}
}

// What a list says of a certificate with the serial number 7.
func TestLists(t *testing.T) {
	root, stranger := newAuthority(t, "Root", nil), newAuthority(t, "Root", nil)
	named := newAuthority(t, "Another name", nil)
	named.key = root.key
	const (
		good    = "good"
		revoked = "revoked"
	)
	s := newCRLServer(t)
	corrupt := root.crl(t, nil)
	corrupt[len(corrupt)-1] ^= 1
	reason := func(code int) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			entry(l, func(e *x509.RevocationListEntry) { e.ReasonCode = code })
		}
	}
	entryExtension := func(id asn1.ObjectIdentifier, critical bool) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			entry(l, func(e *x509.RevocationListEntry) {
				e.ExtraExtensions = append(e.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: []byte{5, 0}})
			})
		}
	}
	updates := func(this, next time.Duration) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = testNow.Add(this), testNow.Add(next) }
	}
	relative := struct {
		Name distributionPointName `asn1:"tag:0"`
	}{distributionPointName{RelativeName: pkix.RelativeDistinguishedNameSET{{Type: oidCommonName, Value: "x"}}}}
	someReasons := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 3, IsCompound: false, Bytes: []byte{5, 0x60}}
	for name, tc := range map[string]struct {
		der  []byte
		want string // good, revoked, or why it can't be told
	}{
		"empty":          {root.crl(t, nil), good},
		"others revoked": {root.crl(t, []int64{1, 6, 8, 77, 1 << 60}), good},
		"revoked":        {root.crl(t, []int64{1, 7, 8}), revoked},
		"key compromise": {root.crl(t, []int64{7}, reason(1)), revoked},
		"on hold":        {root.crl(t, []int64{7}, reason(6)), revoked},
		"removed":        {root.crl(t, []int64{7}, reason(8)), good},
		"from tomorrow on": {root.crl(t, []int64{7}, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].RevocationTime = testNow.Add(24 * time.Hour)
		}), revoked},
		"runs out now":        {root.crl(t, nil, updates(-time.Hour, 0)), "it ran out at 2026-03-04T05:06:07Z"},
		"ran out, revoked":    {root.crl(t, []int64{7}, updates(-2*time.Hour, -time.Hour)), "it ran out at 2026-03-04T04:06:07Z"},
		"runs out soon":       {root.crl(t, nil, updates(-time.Hour, time.Second)), good},
		"clocks differ":       {root.crl(t, nil, updates(4*time.Minute, time.Hour)), good},
		"from the future":     {root.crl(t, nil, updates(6*time.Minute, time.Hour)), "it is from the future"},
		"other key":           {stranger.crl(t, nil), "its signature is not the authority's"},
		"other key revokes":   {stranger.crl(t, []int64{7}), "its signature is not the authority's"},
		"other name":          {named.crl(t, nil), "it is another authority's"},
		"corrupt":             {corrupt, "its signature is not the authority's"},
		"nothing":             {nil, "it is no revocation list in DER"},
		"HTML":                {[]byte("<html>"), "it is no revocation list in DER"},
		"a new line after it": {append(root.crl(t, nil), 10), good},
		"delta":               {root.crl(t, nil, listExtension(t, oidDelta, big.NewInt(1))), "it is a delta list"},
		"critical extension": {root.crl(t, nil, listExtension(t, asn1.ObjectIdentifier{1, 2, 3}, 1)),
			"critical extension that is not known here: 1.2.3"},
		"critical in an entry": {root.crl(t, []int64{1}, entryExtension(asn1.ObjectIdentifier{1, 2, 3}, true)),
			"an entry has a critical extension that is not known here"},
		"uncritical in an entry":       {root.crl(t, []int64{7}, entryExtension(asn1.ObjectIdentifier{1, 2, 3}, false)), revoked},
		"invalidity date":              {root.crl(t, []int64{7}, entryExtension(oidInvalidity, true)), revoked},
		"entries of others":            {root.crl(t, []int64{7}, entryExtension(oidEntryIssuer, true)), "it is an indirect list"},
		"some reasons":                 {root.crl(t, nil, scope(t, someReasons)), "it is for some reasons of revocation only"},
		"indirect":                     {root.crl(t, nil, scope(t, onlyFlag(4))), "it is an indirect list"},
		"attributes":                   {root.crl(t, nil, scope(t, onlyFlag(5))), "it is for attribute certificates only"},
		"users only":                   {root.crl(t, nil, scope(t, onlyFlag(1))), good},
		"users only, revoked":          {root.crl(t, []int64{7}, scope(t, onlyFlag(1))), revoked},
		"authorities only":             {root.crl(t, nil, scope(t, onlyFlag(2))), "it is for certificates of authorities only"},
		"its distribution point":       {root.crl(t, nil, scope(t, onlyAt(t, "ldap://x", s.URL+"/crl"))), good},
		"another's distribution point": {root.crl(t, nil, scope(t, onlyAt(t, s.URL+"/crl2"))), "it is for another distribution point"},
		"relative name":                {root.crl(t, nil, listExtension(t, oidIssuingDistributionPoint, relative)), "its issuing distribution point is a relative name"},
		"malformed scope":              {root.crl(t, nil, listExtension(t, oidIssuingDistributionPoint, 1)), "its issuing distribution point is malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s.serve("/crl", tc.der)
			u := newUpload(t, root, 1, serial(7), s.at("/crl"))
			soft, softErr, hardErr := both(t, Config{Roots: pool(root)}, u)
			switch tc.want {
			case good:
				require.NoError(t, softErr)
				require.NoError(t, hardErr)
				assert.Equal(t, NotRevoked, soft.Revocation)
			case revoked:
				refused(t, softErr, CodeRevoked, textRevoked)
				refused(t, hardErr, CodeRevoked, textRevoked)
			default:
				require.NoError(t, softErr)
				assert.Equal(t, Unknown, soft.Revocation)
				refused(t, hardErr, CodeRevocationUnknown, textUnknown)
				require.ErrorContains(t, hardErr, tc.want)
			}
		})
	}
}

// RFC 5280 demands cRLSign of the issuers of lists, and nextUpdate of lists.
func TestListRules(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	der := root.crl(t, nil)
	limited := *root.cert
	limited.KeyUsage = x509.KeyUsageCertSign
	_, err := parseList(der, &limited)
	require.ErrorContains(t, err, "its signature is not the authority's")

	// nextUpdate is optional in ASN.1; cut it out and sign again.
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	_, err = asn1.Unmarshal(der, &outer)
	require.NoError(t, err)
	var parts []asn1.RawValue
	rest := outer.TBS.Bytes
	for len(rest) > 0 {
		var p asn1.RawValue
		rest, err = asn1.Unmarshal(rest, &p)
		require.NoError(t, err)
		parts = append(parts, p)
	}
	i := slices.IndexFunc(parts, func(p asn1.RawValue) bool { return p.Tag == asn1.TagUTCTime })
	require.Positive(t, i)
	tbs, err := asn1.Marshal(slices.Delete(parts, i+1, i+2))
	require.NoError(t, err)
	outer.TBS = asn1.RawValue{FullBytes: tbs}
	sum := sha256.Sum256(tbs)
	signature, err := root.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	require.NoError(t, err)
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err = asn1.Marshal(outer)
	require.NoError(t, err)
	_, err = parseList(der, root.cert)
	require.ErrorIs(t, err, errNoNextUpdate)
}

// What a certificate points to, and what a server does.
func TestFetching(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	s := newCRLServer(t)
	good := root.crl(t, nil)
	s.serve("/good", good)
	s.serve("/revoked", root.crl(t, []int64{7}))
	s.serve("/stranger", newAuthority(t, "Root", nil).crl(t, nil))
	hop := func(path, to string, status int) {
		s.handle(path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) })
	}
	s.handle("/last", func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Referer"))
		_, _ = w.Write(good)
	})
	hop("/1", "/last", http.StatusFound)
	hop("/2", "/1", http.StatusMovedPermanently)
	hop("/3", "/2", http.StatusTemporaryRedirect)
	hop("/4", "/3", http.StatusFound)
	hop("/loop", "/loop", http.StatusFound)
	hop("/ftp", "ftp://127.0.0.1/good", http.StatusFound)
	hop("/file", "file:///etc/passwd", http.StatusFound)
	hop("/inside", strings.Replace(s.URL, "127.0.0.1", "127.0.0.2", 1)+"/good", http.StatusFound)
	s.handle("/user", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(s.URL, "://", "://user:pw@", 1)+"/good", http.StatusFound)
	})
	s.handle("/500", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(good)
	})
	s.handle("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(good)+1))
		_, _ = w.Write(good)
	})
	s.handle("/huge", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(maxListBytes+1))
		w.WriteHeader(http.StatusOK)
	})
	s.handle("/endless", func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	for name, tc := range map[string]struct {
		points change
		want   string // empty when not revoked
	}{
		"no pointer":              {func(*x509.Certificate) {}, "it has no CRL distribution points"},
		"good":                    {s.at("/good"), ""},
		"missing":                 {s.at("/missing"), "found status 404, expected 200"},
		"mirror":                  {s.at("/missing", "/good"), ""},
		"mirror after a stranger": {s.at("/stranger", "/good"), ""},
		"nobody":                  {at("http://127.0.0.1:1/crl"), "refused"},
		"status 500":              {s.at("/500"), "found status 500"},
		"cut off":                 {s.at("/cut"), "EOF"},
		"huge":                    {s.at("/huge"), "it is longer than 10 MiB"},
		"endless":                 {s.at("/endless"), "it is longer than 10 MiB"},
		"three redirects":         {s.at("/3"), ""},
		"four redirects":          {s.at("/4"), "more than 3 redirects"},
		"redirects for ever":      {s.at("/loop"), "more than 3 redirects"},
		"redirect to ftp":         {s.at("/ftp"), "no http or https address"},
		"redirect to a file":      {s.at("/file"), "no http or https address"},
		"redirect with a user":    {s.at("/user"), "it names a user"},
		"redirect to the inside":  {s.at("/inside"), "127.0.0.2 is not public"},
		"LDAP only":               {at("ldap://127.0.0.1/cn=x?certificateRevocationList"), "names no revocation list that can be fetched"},
		"LDAP, then http":         {twice(at("ldap://127.0.0.1/cn=x"), s.at("/good")), ""},
		"not a URL":               {at("http://[", "//127.0.0.1/x", "good"), "names no revocation list that can be fetched"},
		"with a user":             {at(strings.Replace(s.URL, "://", "://user:pw@", 1) + "/good"), "names no revocation list that can be fetched"},
		"address too long":        {s.at("/" + strings.Repeat("a", maxAddressLength)), "names no revocation list that can be fetched"},
		"only four are tried":     {s.at("/a", "/b", "/c", "/d", "/good"), "found status 404"},
		"directory name only":     {point(t, distributionPoint{}, 4, nil), "names no revocation list that can be fetched"},
		"for some reasons":        {point(t, distributionPoint{Reasons: asn1.BitString{Bytes: []byte{0x60}, BitLength: 3}}, tagURI, []byte(s.URL+"/good")), "names no revocation list that can be fetched"},
		"by another authority": {point(t, distributionPoint{CRLIssuer: []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("x")}}}, tagURI, []byte(s.URL+"/good")),
			"names no revocation list that can be fetched"},
		"malformed points": {func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidDistributionPoints, Value: []byte{0x30, 3, 0x30, 1, 0}})
		}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpload(t, root, 1, serial(7), tc.points)
			soft, softErr, hardErr := both(t, Config{Roots: pool(root)}, u)
			if tc.want == "" {
				require.NoError(t, softErr)
				require.NoError(t, hardErr)
				assert.Equal(t, NotRevoked, soft.Revocation)
				return
			}
			require.NoError(t, softErr)
			assert.Equal(t, Unknown, soft.Revocation)
			refused(t, hardErr, CodeRevocationUnknown, textUnknown)
			require.ErrorContains(t, hardErr, tc.want)
			assert.NotContains(t, hardErr.(*Error).Message, "127.0.0.1", "clients learn nothing of the network")
		})
	}
}

func at(addresses ...string) change {
	return func(c *x509.Certificate) { c.CRLDistributionPoints = append(c.CRLDistributionPoints, addresses...) }
}

func twice(a, b change) change { return func(c *x509.Certificate) { a(c); b(c) } }

// point adds a name to a distribution point and points to that.
func point(tb testing.TB, p distributionPoint, tag int, name []byte) change {
	tb.Helper()
	p.Name.FullName = []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: tag == 4, Bytes: name}}
	der, err := asn1.Marshal([]distributionPoint{p})
	require.NoError(tb, err)
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidDistributionPoints, Value: der})
	}
}

// Nothing is fetched for a certificate that isn't trusted, nor from an address
// of the inner network that isn't allowed, nor under the policy off.
func TestNoFetch(t *testing.T) {
	root, stranger := newAuthority(t, "Root", nil), newAuthority(t, "Stranger", nil)
	s := newCRLServer(t)
	s.serve("/crl", root.crl(t, []int64{7}))
	allowed := []string{"127.0.0.1"}
	for name, tc := range map[string]struct {
		config Config
		by     *authority
		sub    string
		code   Code
	}{
		"untrusted":     {Config{Revocation: RevocationHard, AllowPrivate: allowed}, stranger, testUser, CodeUntrusted},
		"another user":  {Config{Revocation: RevocationHard, AllowPrivate: allowed}, root, "42", CodeSubject},
		"inner network": {Config{Revocation: RevocationHard}, root, testUser, CodeRevocationUnknown},
		"off":           {Config{AllowPrivate: allowed}, root, testUser, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Roots = pool(root)
			u := newUpload(t, tc.by, 1, serial(7), s.at("/crl"))
			u.Subject = tc.sub
			_, err := newVerifier(t, tc.config).Verify(t.Context(), u)
			if tc.code == "" {
				require.NoError(t, err)
			} else {
				require.Equal(t, tc.code, CodeOf(err), "%v", err)
			}
			assert.Zero(t, s.hits.Load())
		})
	}
}

// Every certificate of the chain is asked for but the root.
func TestWholeChain(t *testing.T) {
	s := newCRLServer(t)
	root := newAuthority(t, "Root", nil, s.at("/never"))
	sub := newAuthority(t, "Sub", root, serial(11), s.at("/root"))
	config := Config{Roots: pool(root), Intermediates: pool(sub)}
	u := newUpload(t, sub, 1, serial(7), s.at("/sub"))
	serve := func(rootRevokes, subRevokes []int64) {
		s.serve("/root", root.crl(t, rootRevokes))
		s.serve("/sub", sub.crl(t, subRevokes))
	}

	serve(nil, nil)
	soft, softErr, hardErr := both(t, config, u)
	require.NoError(t, softErr)
	require.NoError(t, hardErr)
	assert.Equal(t, NotRevoked, soft.Revocation)

	serve([]int64{7}, []int64{11}) // of the other authority each
	_, softErr, hardErr = both(t, config, u)
	require.NoError(t, softErr)
	require.NoError(t, hardErr)

	serve(nil, []int64{7})
	_, softErr, hardErr = both(t, config, u)
	refused(t, softErr, CodeRevoked, textRevoked)
	refused(t, hardErr, CodeRevoked, textRevoked)

	const textSub = "The certificate of an authority that vouches for the certificate has been revoked"
	serve([]int64{11}, nil)
	_, softErr, hardErr = both(t, config, u)
	refused(t, softErr, CodeRevoked, textSub)
	refused(t, hardErr, CodeRevoked, textSub)

	s.remove("/sub") // the authority's revocation counts though the leaf's can't be told
	_, softErr, _ = both(t, config, u)
	refused(t, softErr, CodeRevoked, textSub)

	serve(nil, nil)
	s.remove("/root")
	soft, softErr, hardErr = both(t, config, u)
	require.NoError(t, softErr)
	assert.Equal(t, Unknown, soft.Revocation)
	refused(t, hardErr, CodeRevocationUnknown, textUnknown)
	require.ErrorContains(t, hardErr, "depth 1")
}

// A renewed certificate of an authority replaces its revoked predecessor.
func TestOtherChain(t *testing.T) {
	s := newCRLServer(t)
	root := newAuthority(t, "Root", nil)
	old := newAuthority(t, "Sub", root, serial(11), s.at("/root"))
	renewed := &authority{key: old.key}
	template := *old.cert
	template.SerialNumber = big.NewInt(12)
	renewed.cert = root.certify(t, &template, old.key.Public())
	s.serve("/root", root.crl(t, []int64{11}))
	s.serve("/sub", old.crl(t, nil))
	u := newUpload(t, old, 1, serial(7), s.at("/sub"))
	for _, p := range [][]*authority{{old, renewed}, {renewed, old}} {
		soft, softErr, hardErr := both(t, Config{Roots: pool(root), Intermediates: pool(p...)}, u)
		require.NoError(t, softErr)
		require.NoError(t, hardErr)
		assert.Equal(t, big.NewInt(12), soft.Chain[1].SerialNumber)
	}
	// But a leaf that is revoked on one way is revoked.
	s.serve("/sub", old.crl(t, []int64{7}))
	_, softErr, _ := both(t, Config{Roots: pool(root), Intermediates: pool(old, renewed)}, u)
	refused(t, softErr, CodeRevoked, textRevoked)
}

// Who trusts a certificate itself trusts it.
func TestPinnedLeaf(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	u := newUpload(t, root, 1)
	der, _ := decode(u.Certificate)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	soft, softErr, hardErr := both(t, Config{Roots: pool(&authority{cert: leaf})}, u)
	require.NoError(t, softErr)
	require.NoError(t, hardErr)
	assert.Equal(t, NotChecked, soft.Revocation)
}

func TestSoftLogs(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	s := newCRLServer(t)
	var text bytes.Buffer
	c := Config{
		Roots: pool(root), Revocation: RevocationSoft, AllowPrivate: []string{"127.0.0.1"},
		Logger: slog.New(slog.NewTextHandler(&text, nil)),
	}
	_, err := newVerifier(t, c).Verify(t.Context(), newUpload(t, root, 1, s.at("/missing")))
	require.NoError(t, err)
	assert.Contains(t, text.String(), "level=WARN")
	assert.Contains(t, text.String(), "found status 404")
	assert.NotContains(t, text.String(), testUser)
}

// transport answers in the place of a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTransport(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	der := root.crl(t, nil)
	var asked *http.Request
	c := Config{Roots: pool(root), Transport: transport(func(r *http.Request) (*http.Response, error) {
		asked = r
		return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(bytes.NewReader(der))}, nil
	})}
	soft, softErr, hardErr := both(t, c, newUpload(t, root, 1, at("https://crl.example.org/x.crl")))
	require.NoError(t, softErr)
	require.NoError(t, hardErr)
	assert.Equal(t, NotRevoked, soft.Revocation)
	assert.Equal(t, "https://crl.example.org/x.crl", asked.URL.String())
	assert.Equal(t, "application/pkix-crl", asked.Header.Get("Accept"))
}

// A slow server is given up, and a caller who leaves is not kept.
func TestSlowServer(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	s := newCRLServer(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	s.handle("/slow", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte{0x30})
		_ = http.NewResponseController(w).Flush()
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	u := newUpload(t, root, 1, s.at("/slow"))
	v := newVerifier(t, Config{Roots: pool(root), Revocation: RevocationHard, AllowPrivate: []string{"127.0.0.1"}})
	v.lists.timeout = 50 * time.Millisecond
	_, err := v.Verify(t.Context(), u)
	refused(t, err, CodeRevocationUnknown, textUnknown)
	require.ErrorContains(t, err, "it wasn't there after 50ms")
	<-arrived

	v = newVerifier(t, Config{Roots: pool(root), Revocation: RevocationHard, AllowPrivate: []string{"127.0.0.1"}})
	reason := errors.New("the browser left")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-arrived; cancel(reason) }()
	_, err = v.Verify(ctx, u)
	require.ErrorIs(t, err, reason)
	assert.Equal(t, CodeUnexpected, CodeOf(err))
	close(release)
}
