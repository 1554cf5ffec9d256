package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// SecretsKeySize is the size of a secrets key in bytes.
const SecretsKeySize = 32

// Sealer encrypts secrets for storage with AES-256-GCM. The context (service
// and key name) is authenticated with it, so that a sealed secret can't be
// moved to another row.
type Sealer struct{ aead cipher.AEAD }

// NewSealer takes a key of SecretsKeySize bytes.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != SecretsKeySize {
		return nil, fmt.Errorf("storage: the secrets key has %d bytes, it needs %d", len(key), SecretsKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// sealVersion leads every sealed secret, so that the format can change.
const sealVersion = 1

// Seal returns version, nonce and ciphertext.
func (s *Sealer) Seal(plain []byte, context string) []byte {
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	out[0] = sealVersion
	_, _ = rand.Read(out[1:])                                // never fails (Go 1.24)
	return s.aead.Seal(out, out[1:], plain, []byte(context)) //nolint:gosec // the nonce was just drawn
}

// Open reverses Seal. It fails when the key, the context or a byte differs.
func (s *Sealer) Open(sealed []byte, context string) ([]byte, error) {
	n := 1 + s.aead.NonceSize()
	if len(sealed) < n || sealed[0] != sealVersion {
		return nil, errors.New("storage: not a sealed secret of a known version")
	}
	plain, err := s.aead.Open(nil, sealed[1:n], sealed[n:], []byte(context))
	if err != nil {
		return nil, errors.New("storage: the secret does not open under this secrets key")
	}
	return plain, nil
}
