package pkcs11

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/rsacert"
)

// Signer signs with the keys of one token. It is safe for concurrent use; one
// operation at a time is in the module.
type Signer struct {
	config Config
	module *cryptoki.Module
	turn   chan struct{} // held by the batch that is being signed
	last   atomic.Pointer[hub.Status]
	life   context.Context // ends with Close
	end    context.CancelFunc
}

var _ hub.Signer = (*Signer)(nil)

// New loads the module, or shares it with the other Signers of the process that
// use it. The token need not be present. The caller closes the Signer.
//
// In a program that was built without cgo the error says how to build one with
// it.
func New(config Config) (*Signer, error) {
	config = config.withDefaults()
	module, err := cryptoki.Open(config.Module, config.Logger)
	if err != nil {
		return nil, err
	}
	return newSigner(config, module), nil
}

func (c Config) withDefaults() Config {
	if c.CallTimeout <= 0 {
		c.CallTimeout = DefaultCallTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func newSigner(config Config, module *cryptoki.Module) *Signer {
	s := &Signer{config: config, module: module, turn: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Status implements [hub.Signer]. While a batch is being signed it answers what
// it last saw.
func (s *Signer) Status(ctx context.Context) (hub.Status, error) {
	if last := s.last.Load(); last != nil && len(s.turn) > 0 {
		return *last, nil
	}
	var status hub.Status
	err := s.module.Do(ctx, s.config.CallTimeout, func(api cryptoki.API, _ func()) error {
		where, err := find(api, s.config.Token)
		if err != nil {
			return err
		}
		algorithms, err := (&session{place: where, api: api}).algorithms()
		if err != nil {
			return err
		}
		status = hub.Status{
			Card: hub.CardPresent, Token: where.token.Label, Algorithms: algorithms, PIN: s.question(where.token),
		}
		return nil
	})
	err = explain(err)
	switch {
	case errors.Is(err, &hub.Error{Code: hub.CodeNoCard, RetriesLeft: -1}):
		status = hub.Status{Card: hub.CardAbsent}
	case err != nil:
		return hub.Status{}, err
	}
	s.last.Store(&status)
	return status, nil
}

// Certificates implements [hub.Signer]. It asks for no PIN, so on tokens that
// hide their private keys a certificate counts whose public key is on the token
// too.
func (s *Signer) Certificates(ctx context.Context) ([]hub.Certificate, error) {
	var certificates []hub.Certificate
	err := s.within(ctx, s.config.CallTimeout, func(session *session) (err error) {
		certificates, err = session.signing()
		return err
	})
	if err != nil {
		return nil, explain(err)
	}
	rsacert.Sort(certificates, s.config.Now())
	return certificates, nil
}

// Close implements [hub.Signer]. A batch that is being signed ends after the
// document that it is at.
func (s *Signer) Close() error {
	s.end()
	return s.module.Close()
}
