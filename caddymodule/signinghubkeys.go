package caddymodule

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/jwks"
)

// findKeys finds what verifies requests, and tells it from other keys.
func (s *SigningHub) findKeys(ctx caddy.Context, cfg *hub.Config) (identity []string, err error) {
	for _, name := range s.KeySets {
		k, err := s.app.keySet(name)
		if err != nil {
			return nil, err
		}
		identity = append(identity, k.pooled.key)
		cfg.Requests = append(cfg.Requests, hub.RequestKeys{Issuer: k.Issuer, Keys: k.pooled})
	}
	for _, base := range s.RequestsFrom {
		k, err := s.clientKeys(ctx, base)
		if err != nil {
			return nil, err
		}
		identity = append(identity, k.key)
		cfg.Requests = append(cfg.Requests, hub.RequestKeys{Audience: base, Keys: k})
	}
	return identity, nil
}

// clientKeys finds or makes the set of the keys that a signing API publishes. The
// app starts it and gives it up again. Two hubs may have the same one.
func (s *SigningHub) clientKeys(ctx caddy.Context, base string) (*pooledKeySet, error) {
	source := &clientKeysSource{KeySourceURL{URL: base + wellKnownJWKS, TrustPoolRaw: s.TrustPoolRaw}}
	k := &KeySet{Name: "requests from " + base, ofHub: true}
	if s.TrustPoolRaw != nil {
		// Another hub may ask the same server, and trust others.
		sum := sha256.Sum256(s.TrustPoolRaw)
		k.Name += " " + hex.EncodeToString(sum[:4])
	}
	err := source.Provision(ctx)
	if err != nil {
		return nil, err
	}
	if k.pooled, err = acquireKeySet(k.Name, []string{source.identity()}, []keySourceModule{source}, ""); err != nil {
		return nil, err
	}
	switch old := s.app.keySets[k.Name]; {
	case old == nil:
		if s.app.keySets == nil {
			s.app.keySets = make(map[string]*KeySet)
		}
		s.app.keySets[k.Name] = k
	case old.pooled != k.pooled: // the file of authorities has changed in between
		return nil, errors.Join(errors.New("the authorities of "+base+" are changing: load the configuration again"), k.pooled.release())
	default:
		return k.pooled, k.pooled.release() // the app holds it already
	}
	return k.pooled, nil
}

// clientKeysSource has the keys of a signing API's clients. It reads as many as
// an API publishes, and whose they are.
type clientKeysSource struct{ KeySourceURL }

func (s *clientKeysSource) identity() string { return "clients of " + s.KeySourceURL.identity() }

// place is another one than that of a key source of the same URL: keys that were
// read without whose they are must not seed this one.
func (s *clientKeysSource) place() string { return "clients of " + s.KeySourceURL.place() }

func (s *clientKeysSource) source(seed jwks.Snapshot) (jwks.Source, error) {
	cfg := s.config(s.url)
	cfg.Seed = seed
	if s.pool != nil {
		cfg.TLS = &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}
	}
	cfg.MaxKeys, cfg.MaxBytes, cfg.Issuers = signing.MaxPublishedKeys, signing.MaxPublishedBytes, true
	return jwks.NewURL(cfg)
}
