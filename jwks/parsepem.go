package jwks

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// pem reads blocks of PEM (RFC 7468). Text between them is allowed, as tools
// write it.
func (p *parser) pem(text []byte) error {
	found := false
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		found = true
		if text = rest; p.next() {
			p.block(block)
		}
	}
	if !found {
		return errors.New("found the beginning of a PEM block, but not a whole one: its base64 or its line -----END ...----- is broken")
	}
	return nil
}

func (p *parser) block(block *pem.Block) {
	// A key of PEM has no kid.
	switch kind := block.Type; {
	case kind == "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			p.skip("", "", "its PEM block PUBLIC KEY holds no key that is known")
			return
		}
		p.add(Skipped{}, Key{Public: public})
	case kind == "RSA PUBLIC KEY":
		public, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			p.skip("", TypeRSA, "its PEM block RSA PUBLIC KEY holds no PKCS #1 key")
			return
		}
		p.add(Skipped{}, Key{Public: public})
	case kind == "CERTIFICATE":
		p.certificate(block.Bytes)
	case strings.HasSuffix(kind, "PRIVATE KEY"):
		p.skip("", "", fmt.Sprintf("it is a private key (PEM block %s): configure its public half, which openssl pkey -pubout writes", clip(kind)))
	default:
		p.skip("", "", fmt.Sprintf("found a PEM block %s; expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", clip(kind)))
	}
}

func (p *parser) certificate(der []byte) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		p.skip("", "", "its PEM block CERTIFICATE holds no X.509 certificate")
		return
	}
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		p.skip("", "", "its certificate's key usage does not include digital signatures")
		return
	}
	p.add(Skipped{}, Key{Public: c.PublicKey})
}
