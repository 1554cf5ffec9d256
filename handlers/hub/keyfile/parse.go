package keyfile

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/signpost-gateway/signpost/jwks"
)

// minBits is the size of the smallest key, in bits of the modulus.
const minBits = jwks.DefaultMinKeyBits

// material is what the files hold.
type material struct {
	key          *rsa.PrivateKey
	certificates []*x509.Certificate
}

func isPEM(text []byte) bool { return bytes.Contains(text, []byte("-----BEGIN ")) }

// parseKey reads the file of the key, whichever form it has.
func parseKey(text []byte, password string) (material, error) {
	if isPEM(text) {
		return parsePEM(text, password)
	}
	return parsePKCS12(text, password)
}

func parsePEM(text []byte, password string) (material, error) {
	if password != "" {
		return material{}, errors.New("there is a password, but the file is PEM, which is read unencrypted only: " +
			"leave the password out, or make a PKCS #12 file with openssl pkcs12 -export")
	}
	key, err := jwks.ParsePrivateKey(text)
	if err != nil {
		return material{}, err
	}
	private, err := usable(key)
	if err != nil {
		return material{}, err
	}
	certificates, err := parseCertificates(text)
	return material{private, certificates}, err
}

func parsePKCS12(der []byte, password string) (material, error) {
	key, leaf, issuers, err := pkcs12.DecodeChain(der, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return material{}, errors.New("the PKCS #12 file needs a password")
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return material{}, errors.New("the password of the PKCS #12 file is wrong")
	case err != nil:
		return material{}, fmt.Errorf("found neither PEM nor PKCS #12 that can be read "+
			"(one key with its certificate, in DER): %w", err)
	}
	private, err := usable(key)
	return material{private, append([]*x509.Certificate{leaf}, issuers...)}, err
}

// usable refuses what RS256 and RS1 can't or must not be signed with.
func usable(key crypto.PrivateKey) (*rsa.PrivateKey, error) {
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("found a key of the type %T; expected an RSA key", key)
	}
	if bits := private.N.BitLen(); bits < minBits || bits > jwks.MaxKeyBits {
		return nil, fmt.Errorf("the RSA key has %d bits: it must have %d to %d", bits, minBits, jwks.MaxKeyBits)
	}
	if err := private.Validate(); err != nil {
		return nil, errors.New("the RSA key is damaged: its numbers don't fit each other")
	}
	return private, nil
}

// parseCertificates reads the certificates of a text in PEM and skips what else
// there is.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate number %d can't be read: %w", len(all)+1, err)
		}
		all = append(all, certificate)
	}
}
