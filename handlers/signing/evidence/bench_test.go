package evidence

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"
)

// BenchmarkVerify measures whole uploads with keys of 2048 bits, the chain
// included, revocation off.
func BenchmarkVerify(b *testing.B) {
	root := newAuthority(b, "Root", nil)
	sub := newAuthority(b, "Sub", root)
	v := newVerifier(b, Config{Roots: pool(root), Intermediates: pool(sub), RequireNonRepudiation: true})
	for _, n := range []int{1, 250} {
		for _, algorithm := range []string{RS256, RS1} {
			u := newUpload(b, sub, n)
			u.Algorithm, u.Signatures = algorithm, sign(b, rsaKey(b, 2048, 0), algorithm, u.Documents)
			b.Run(fmt.Sprintf("%s/%d", algorithm, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(background(), u); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRefuse measures the dearest uploads that somebody without a trusted
// certificate can make.
func BenchmarkRefuse(b *testing.B) {
	root, stranger := newAuthority(b, "Root", nil), newAuthority(b, "Stranger", nil)
	v := newVerifier(b, Config{Roots: pool(root)})
	u := newUpload(b, stranger, 250)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(background(), u); CodeOf(err) != CodeUntrusted {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseList measures a list of about the largest size: time, and the
// memory that stays.
func BenchmarkParseList(b *testing.B) {
	root := newAuthority(b, "Root", nil)
	template := make([]x509.RevocationListEntry, 270_000)
	for i := range template {
		number := new(big.Int).Lsh(big.NewInt(int64(i)+1), 100)
		template[i] = x509.RevocationListEntry{SerialNumber: number, RevocationTime: testNow}
	}
	der := root.crl(b, nil, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries, l.NextUpdate = template, testNow.Add(time.Hour)
	})
	template = nil
	b.ReportMetric(float64(len(der)), "DER-bytes")
	b.ReportAllocs()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var l *list
	for b.Loop() {
		var err error
		if l, err = parseList(der, root.cert); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "kept-bytes")
	runtime.KeepAlive(l)
}
