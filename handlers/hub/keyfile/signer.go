package keyfile

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/rsacert"
)

// Signer signs with one private key, which it holds in memory. It is safe for
// concurrent use.
type Signer struct {
	name         string
	key          *rsa.PrivateKey
	certificates []hub.Certificate
}

var _ hub.Signer = (*Signer)(nil)

var algorithms = []string{hub.RS256, hub.RS1}

// New reads the files. They are not read again.
func New(config Config) (*Signer, error) {
	if config.Key == "" {
		return nil, errors.New("keyfile: there is no file for the private key: name one, in PEM or PKCS #12")
	}
	text, err := readPrivate(config.Key)
	if err != nil {
		return nil, err
	}
	m, err := parseKey(text, config.Password)
	if err != nil {
		return nil, fmt.Errorf("keyfile: %s: %w", config.Key, err)
	}
	if config.Certificate != "" {
		if text, err = readPublic(config.Certificate); err != nil {
			return nil, err
		}
		if m.certificates, err = parseCertificates(text); err != nil {
			return nil, fmt.Errorf("keyfile: %s: %w", config.Certificate, err)
		}
	}
	s := &Signer{name: config.Name, key: m.key, certificates: m.own()}
	if s.name == "" {
		s.name = filepath.Base(config.Key)
	}
	if len(s.certificates) == 0 {
		return nil, m.none(config)
	}
	now := config.Now
	if now == nil {
		now = time.Now
	}
	rsacert.Sort(s.certificates, now())
	return s, nil
}

// own returns the certificates of the key, the others being their chains.
func (m material) own() []hub.Certificate {
	var own []hub.Certificate
	for _, c := range m.certificates {
		if m.key.PublicKey.Equal(c.PublicKey) {
			own = append(own, rsacert.New(c, m.certificates, algorithms...))
		}
	}
	return own
}

func (m material) none(config Config) error {
	file := config.Certificate
	if file == "" {
		file = config.Key
	}
	switch {
	case len(m.certificates) > 0:
		return fmt.Errorf("keyfile: none of the certificates in %s belongs to the private key in %s", file, config.Key)
	case config.Certificate == "":
		return fmt.Errorf("keyfile: there is no certificate in %s: add it there in PEM, or name its own file", file)
	default:
		return fmt.Errorf("keyfile: there is no certificate in PEM in %s", file)
	}
}

// Status implements [hub.Signer].
func (s *Signer) Status(context.Context) (hub.Status, error) {
	return hub.Status{Card: hub.CardPresent, Token: s.name, Algorithms: slices.Clone(algorithms)}, nil
}

// Certificates implements [hub.Signer].
func (s *Signer) Certificates(context.Context) ([]hub.Certificate, error) {
	return slices.Clone(s.certificates), nil
}

// Sign implements [hub.Signer].
func (s *Signer) Sign(ctx context.Context, r hub.SignRequest) ([][]byte, error) {
	hash, err := rsacert.Hash(r.Algorithm)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.certificates, func(c hub.Certificate) bool { return c.ID == r.CertificateID }) {
		return nil, &hub.Error{Code: hub.CodeNoCertificate, Message: "The hub doesn't have the certificate that was chosen.", RetriesLeft: -1}
	}
	signatures := make([][]byte, 0, len(r.Documents))
	for _, document := range r.Documents {
		if err := ctx.Err(); err != nil {
			return signatures, err
		}
		signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, hash, rsacert.Digest(hash, document))
		if err != nil {
			return signatures, &hub.Error{Code: hub.CodeInternal, RetriesLeft: -1, Err: fmt.Errorf("keyfile: %w", err)}
		}
		signatures = append(signatures, signature)
		if r.Progress != nil {
			r.Progress(len(signatures))
		}
	}
	return signatures, nil
}

// Close implements [hub.Signer].
func (s *Signer) Close() error { return nil }
