package evidence

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"
)

// FuzzUpload looks for panics, for errors that aren't refusals, and for uploads
// that are accepted though crypto/x509 and crypto/rsa themselves say no.
func FuzzUpload(f *testing.F) {
	root := newAuthority(f, "Root", nil)
	docs := documents(1)
	good := newUpload(f, root, 1)
	stranger := newUpload(f, newAuthority(f, "Stranger", nil), 1)
	g := loadGolden(f)
	ca := b64(root.cert.Raw)
	f.Add(docs[0].ID, good.Signatures[0].Value, good.Certificate, "", false)
	f.Add(docs[0].ID, good.Signatures[0].Value, good.Certificate, ca, true)
	f.Add(docs[0].ID, good.Signatures[0].Value, stranger.Certificate, ca, false)
	f.Add("other", good.Signatures[0].Value, good.Certificate, "!", false)
	f.Add(docs[0].ID, "", "", "", false)
	f.Add(docs[0].ID, "AA==", ca, ca, false)
	f.Add(docs[0].ID, g.Signature, g.Certificate, "", true)
	f.Add(docs[0].ID, g.Signature, "-----BEGIN CERTIFICATE-----", "", true)
	v := newVerifier(f, Config{Roots: pool(root), MinKeyBits: 1024, SubjectFrom: SubjectOff})
	f.Fuzz(func(t *testing.T, id, signature, certificate, helper string, sha1 bool) {
		u := Upload{Algorithm: RS256, Documents: docs, Signatures: []Signature{{id, signature}}, Certificate: certificate}
		if sha1 {
			u.Algorithm = RS1
		}
		if helper != "" {
			u.Chain = []string{helper}
		}
		e, err := v.Verify(background(), u)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) || refusal.Message == "" || refusal.Code == "" {
				t.Fatalf("no refusal: %v", err)
			}
			for _, c := range refusal.Message {
				if c < 0x20 || c > 0x7e {
					t.Fatalf("the message has %q: %q", c, refusal.Message)
				}
			}
			return
		}
		hash, _ := hashOf(u.Algorithm)
		h := hash.New()
		h.Write(docs[0].Payload)
		raw, _ := decode(signature)
		public, ok := e.Certificate.PublicKey.(*rsa.PublicKey)
		if id != docs[0].ID || !ok || rsa.VerifyPKCS1v15(public, hash, h.Sum(nil), raw) != nil || b64(raw) != signature {
			t.Fatal("accepted with a bad signature")
		}
		if e.Certificate.CheckSignatureFrom(root.cert) != nil || b64(e.Certificate.Raw) != certificate {
			t.Fatal("accepted with a certificate of nobody")
		}
	})
}

// FuzzList looks for panics, and for lists that are accepted without the
// authority's signature. Half of the inputs are entries and extensions that get
// a good one.
func FuzzList(f *testing.F) {
	root := newAuthority(f, "Root", nil)
	card := root.certificate(f, rsaKey(f, 2048, 0).Public(), serial(7), at("http://crl.example.org/x"))
	where, err := pointsOf(card)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(root.crl(f, []int64{7}), false)
	f.Add(root.crl(f, nil, scope(f, onlyAt(f, "http://crl.example.org/x"))), false)
	f.Add([]byte{0x30, 0x03, 0x81, 0x01, 0xff}, true)
	f.Add([]byte{0x30, 0x03, 0x84, 0x01, 0xff}, true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		der := data
		if sign {
			der = root.crl(t, []int64{7}, func(l *x509.RevocationList) {
				if len(data) > 0 {
					l.ExtraExtensions = append(l.ExtraExtensions, critical(data))
				}
			})
		}
		l, err := parseList(der, root.cert)
		if err != nil {
			return
		}
		crl, err := x509.ParseRevocationList(der)
		if err != nil || crl.CheckSignatureFrom(root.cert) != nil {
			t.Fatal("accepted without a signature")
		}
		_ = l.inForce(testNow.Add(time.Hour))
		_ = l.covers(card, where)
		if sign && !l.has(card) {
			t.Fatal("the entry is lost")
		}
	})
}

// FuzzPoints looks for panics, and for addresses that can't be fetched.
func FuzzPoints(f *testing.F) {
	root := newAuthority(f, "Root", nil)
	for _, addresses := range [][]string{{"http://crl.example.org/x"}, {"ldap://x", "https://[::1]:1/"}, {"http://[", ""}} {
		c := root.certificate(f, rsaKey(f, 2048, 0).Public(), at(addresses...))
		for _, e := range c.Extensions {
			if e.Id.Equal(oidDistributionPoints) {
				f.Add(e.Value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := critical(data)
		e.Id = oidDistributionPoints
		p, err := pointsOf(&x509.Certificate{Extensions: []pkix.Extension{e}})
		if err != nil {
			return
		}
		for _, address := range p.addresses() {
			if len(address) < len("http://x") || address[:4] != "http" {
				t.Fatalf("%q", address)
			}
		}
	})
}

func critical(value []byte) pkix.Extension {
	return pkix.Extension{Id: oidIssuingDistributionPoint, Critical: true, Value: value}
}
