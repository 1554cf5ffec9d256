package evidence

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/signpost-gateway/signpost/jwks"
)

const (
	// maxCertificateBytes is the longest DER of a certificate.
	maxCertificateBytes = 16 << 10
	// maxChain is how many certificates an upload's chain may have.
	maxChain = 8
	// maxHelperBits is the largest RSA key in it. Looking for a way through
	// them may take a hundred verifications, so it is crypto/tls's limit and
	// not that of the signing key.
	maxHelperBits = 8192

	pemMark = "-----BEGIN "
)

// parseCertificate reads the certificate in a member of the upload.
func parseCertificate(member, text string) (*x509.Certificate, error) {
	malformed := func(cause error, what string) error {
		return refuseFor(cause, CodeCertificateForm, textPayload+"%s %s", member, what)
	}
	switch {
	case text == "":
		return nil, malformed(nil, "is not allowed to be empty")
	case strings.Contains(text, pemMark):
		return nil, malformed(nil, "must be the base64 of DER, without PEM armour")
	case len(text) > base64.StdEncoding.EncodedLen(maxCertificateBytes):
		return nil, refuse(CodeCertificateSize, textPayload+"%s must not be longer than %d KiB", member, maxCertificateBytes>>10)
	}
	der, ok := decode(text)
	switch {
	case !ok:
		return nil, malformed(nil, "must be a valid base64 string")
	case bytes.HasPrefix(der, []byte(pemMark)):
		return nil, malformed(nil, "must be the base64 of DER, without PEM armour")
	case len(der) > maxCertificateBytes: // by less than one group of base64
		return nil, refuse(CodeCertificateSize, textPayload+"%s must not be longer than %d KiB", member, maxCertificateBytes>>10)
	}
	var first asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &first); err == nil && len(rest) > 0 {
		return nil, malformed(nil, "must hold exactly one certificate and nothing after it")
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed(err, "is not an X.509 certificate in DER")
	}
	return c, nil
}

// parseChain reads the certificates that came with the upload to help.
func parseChain(texts []string) ([]*x509.Certificate, error) {
	if len(texts) > maxChain {
		return nil, refuse(CodeCertificateSize, textPayload+`"chain" must contain less than or equal to %d items`, maxChain)
	}
	chain := make([]*x509.Certificate, 0, len(texts))
	for i, text := range texts {
		member := fmt.Sprintf(`"chain[%d]"`, i)
		c, err := parseCertificate(member, text)
		if err != nil {
			return nil, err
		}
		if public, ok := c.PublicKey.(*rsa.PublicKey); ok && public.N.BitLen() > maxHelperBits {
			return nil, refuse(CodeKey, textPayload+"%s has an RSA key of more than %d bits", member, maxHelperBits)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// signingKey returns the certificate's key if it is an RSA key that can be
// trusted to stand for one person.
func signingKey(c *x509.Certificate, minBits int) (*rsa.PublicKey, error) {
	public, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, refuse(CodeKey, "The certificate's key must be an RSA key")
	}
	unsafe := func(cause error) error {
		return refuseFor(cause, CodeKey, "The certificate's RSA key is not safe")
	}
	switch bits := public.N.BitLen(); {
	case bits < minBits:
		return nil, refuse(CodeKey, "The certificate's RSA key has %d bits, at least %d are required", bits, minBits)
	case bits > MaxKeyBits:
		return nil, refuse(CodeKey, "The certificate's RSA key has %d bits, at most %d are allowed", bits, MaxKeyBits)
	case public.N.Bit(0) == 0, public.E < 65537, public.E%2 == 0:
		return nil, unsafe(fmt.Errorf("its modulus is even, or its exponent %d is even or below 65537", public.E))
	case bits < jwks.DefaultMinKeyBits:
		return public, nil // what MinKeyBits permits expressly
	}
	// The rules for all keys of the project; of those that are left here, that
	// it wasn't made by a faulty smartcard chip (CVE-2017-15361).
	if _, err := jwks.NewKey("", "", public); err != nil {
		return nil, unsafe(err)
	}
	return public, nil
}
