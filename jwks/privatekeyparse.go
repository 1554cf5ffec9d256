package jwks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const expectedPrivate = "expected in PEM a PRIVATE KEY (PKCS #8), RSA PRIVATE KEY or EC PRIVATE KEY, or a private JWK"

// ParsePrivateKey reads one private key: RSA, EC (P-256, P-384, P-521) or
// Ed25519; in PEM as PKCS #8, PKCS #1 or SEC 1, or as a private JWK (RFC 7517,
// RFC 7518, section 6; RFC 8037). An RSA key must have exactly two primes. Keys
// that [NewKey] wouldn't take are refused, as are texts with several keys. The
// error says what was found and what was expected, and quotes nothing of the
// key.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	if len(text) > DefaultMaxBytes {
		return nil, fmt.Errorf("jwks: the text has %d bytes, more than %d", len(text), DefaultMaxBytes)
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	var key crypto.Signer
	var err error
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		key, err = privateJWK(text)
	case bytes.Contains(text, []byte("-----BEGIN ")):
		key, err = privatePEM(text)
	default:
		err = fmt.Errorf("found %s; %s", describe(text), expectedPrivate)
	}
	if err == nil {
		err = checkPair(key)
	}
	if err != nil {
		return nil, fmt.Errorf("jwks: private key: %w", err)
	}
	return key, nil
}

// privatePEM finds the block that holds the key. openssl writes the parameters
// of an EC key as a block of its own, before it.
func privatePEM(text []byte) (crypto.Signer, error) {
	var found *pem.Block
	var other string
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if block.Type != "EC PARAMETERS" {
				other = block.Type
			}
		case found != nil:
			return nil, errors.New("found several private keys, expected one")
		default:
			found = block
		}
	}
	switch {
	case found != nil:
		return privateBlock(found)
	case other == "":
		return nil, errors.New("found the beginning of a PEM block, but not a whole one: its base64 or its line -----END ...----- is broken")
	case strings.HasSuffix(other, "PUBLIC KEY"):
		return nil, fmt.Errorf("found a public key (PEM block %s), which can't sign; %s", quote(other), expectedPrivate)
	case other == "CERTIFICATE":
		return nil, fmt.Errorf("found a certificate, which holds a public key only; %s", expectedPrivate)
	default:
		return nil, fmt.Errorf("found a PEM block %s; %s", quote(other), expectedPrivate)
	}
}

func privateBlock(block *pem.Block) (crypto.Signer, error) {
	const decrypt = "decrypt it first, such as with openssl pkey -in key.pem -out plain.pem"
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("found an encrypted private key: " + decrypt)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("found an OpenSSH private key (ssh-keygen -p -m PKCS8 -f key converts it in place); %s", expectedPrivate)
	default:
		return nil, fmt.Errorf("found a PEM block %s; %s", quote(block.Type), expectedPrivate)
	}
	if err != nil {
		return nil, fmt.Errorf("its PEM block %s holds no key that is known", block.Type)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return twoPrimes(k)
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, fmt.Errorf("found a key of the type %T; expected RSA, EC (P-256, P-384, P-521) or Ed25519", key)
	}
}

func twoPrimes(k *rsa.PrivateKey) (crypto.Signer, error) {
	if len(k.Primes) != 2 {
		return nil, fmt.Errorf("the RSA key has %d primes, expected 2", len(k.Primes))
	}
	return k, nil
}
