package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// signerModule is a guest in the namespace signpost.signers.
type signerModule interface {
	// identity tells the signer from others.
	identity() string
	// open makes it ready. It isn't called before the configuration starts.
	open() (hub.Signer, error)
}

// hubs holds the hubs of all loaded configurations, so that one that a reload
// doesn't change goes on: with what it is signing, and with its memory of the
// requests that it has signed.
var hubs = caddy.NewUsagePool()

// pooledHub is a hub in the pool.
type pooledHub struct {
	*hub.Hub
	key     string
	signer  *lateSigner
	console *lateConsole // nil when the user isn't asked there
}

// Destruct implements caddy.Destructor: nobody in the pool refers to it.
func (p *pooledHub) Destruct() error {
	err := errors.Join(p.Hub.Close(), p.signer.Close())
	if p.console != nil {
		err = errors.Join(err, p.console.Close())
	}
	return err
}

// addHub finds the hub with this identity, or makes it. The app opens its
// signer at the start and gives it up again.
func (a *App) addHub(identity []string, cfg hub.Config, consent asker, m signerModule) (*pooledHub, error) {
	text, err := json.Marshal(identity)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	key := hex.EncodeToString(sum[:])
	v, _, err := hubs.LoadOrNew(key, func() (caddy.Destructor, error) {
		p := &pooledHub{key: key, signer: &lateSigner{make: m.open}}
		if cfg.Consent, p.console, err = consent.make(); err != nil {
			return nil, err
		}
		cfg.Signer = p.signer
		if p.Hub, err = hub.New(cfg); err != nil {
			return nil, err
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	p := v.(*pooledHub)
	a.hubs = append(a.hubs, p)
	return p, nil
}

// openSigners opens the signers of all hubs, and the terminals at which they ask.
func (a *App) openSigners() error {
	for _, p := range a.hubs {
		if p.console != nil {
			if _, err := p.console.open(); err != nil {
				return fmt.Errorf("consent terminal of signing_hub: %w", err)
			}
		}
		if _, err := p.signer.open(); err != nil {
			return fmt.Errorf("the signer of signing_hub: %w", err)
		}
	}
	return nil
}

func (a *App) releaseHubs() (errs []error) {
	for _, p := range a.hubs {
		_, err := hubs.Delete(p.key)
		errs = append(errs, err)
	}
	return errs
}

// lateSigner is a signer that is opened when the configuration starts, or by
// the first request if that comes earlier.
type lateSigner struct {
	make func() (hub.Signer, error)

	once   sync.Once
	signer hub.Signer
	err    error
}

func (l *lateSigner) open() (hub.Signer, error) {
	l.once.Do(func() {
		signer, err := l.make()
		if err != nil {
			l.err = err // not the signer, which is a typed nil then
			return
		}
		l.signer = signer
	})
	return l.signer, l.err
}

// Status implements hub.Signer.
func (l *lateSigner) Status(ctx context.Context) (hub.Status, error) {
	s, err := l.open()
	if err != nil {
		return hub.Status{}, err
	}
	return s.Status(ctx)
}

// Certificates implements hub.Signer.
func (l *lateSigner) Certificates(ctx context.Context) ([]hub.Certificate, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	return s.Certificates(ctx)
}

// Sign implements hub.Signer.
func (l *lateSigner) Sign(ctx context.Context, r hub.SignRequest) ([][]byte, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, r)
}

// Close implements hub.Signer. A signer that was never opened isn't any more.
func (l *lateSigner) Close() error {
	l.once.Do(func() { l.err = errors.New("the signer is closed") })
	if l.signer == nil {
		return nil
	}
	return l.signer.Close()
}
