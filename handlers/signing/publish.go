package signing

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

const (
	// MaxPublishedKeys is how many keys of an API hubs read, and MaxPublishedBytes
	// how long a document: room for so many of 4096 bits, twice.
	MaxPublishedKeys  = jwks.DefaultMaxKeys
	MaxPublishedBytes = 2 << 20

	// publishFor is how long a list of keys is served before the clients are asked
	// again, and publishRetry how long one that could not be read anew.
	publishFor   = 4 * time.Second
	publishRetry = time.Second
	// publishTimeout bounds how long the clients may take to be listed.
	publishTimeout = 2 * time.Second
)

// ClientKeys are the public keys of a client.
type ClientKeys struct {
	ID   string // of the client: the iss of its requests
	Keys jwks.Keys
}

// PublishConfig describes a [KeyPublisher]. List is required.
type PublishConfig struct {
	// List returns the clients with their keys. It is called once in 4 s at most,
	// by one goroutine at a time, with a context that ends after 2 s.
	List func(ctx context.Context) ([]ClientKeys, error)
	// Logger hears of lists that can't be read, and of those with more keys than
	// hubs read. Default: no log.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// KeyPublisher serves the public keys of all clients as [jwks.Publish] does, for
// hubs that verify requests themselves. Each JWK says whose it is, in
// [jwks.IssuerMember]: a hub takes a key for requests of this client only, and
// two clients may have one kid. A key without a kid gets its thumbprint as one.
//
// While the clients can't be listed, the keys are those from before; there are
// none at all when they never could be, for a list with some of them missing
// would be believed. It is safe for concurrent use.
type KeyPublisher struct {
	http.Handler

	config PublishConfig

	mu     sync.Mutex
	until  time.Time // when to list them again
	keys   jwks.Keys
	bound  map[ofClient]*jwks.Key // so that the same keys are the same document
	warned bool                   // that there are too many
}

// ofClient is a key as the list has it.
type ofClient struct {
	client string
	key    *jwks.Key
}

// PublishKeys makes a KeyPublisher.
func PublishKeys(c PublishConfig) *KeyPublisher {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &KeyPublisher{config: c}
	p.Handler = jwks.Publish(p, 0)
	return p
}

// Keys implements [jwks.KeyLister].
func (p *KeyPublisher) Keys() jwks.Keys {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	if now.Before(p.until) {
		return p.keys
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	clients, err := p.config.List(ctx)
	if err != nil {
		p.config.Logger.Error("the keys of the signing clients can't be listed; those from before are published", "error", err)
		p.until = now.Add(publishRetry)
		return p.keys
	}
	p.until = now.Add(publishFor)
	p.bind(clients)
	p.warn()
	return p.keys
}

// bind makes the list that is published. The lock is held.
func (p *KeyPublisher) bind(clients []ClientKeys) {
	before := p.bound
	p.bound, p.keys = make(map[ofClient]*jwks.Key, len(before)), make(jwks.Keys, 0, len(before))
	for _, c := range clients {
		for _, key := range c.Keys {
			of := ofClient{c.ID, key}
			if p.bound[of] != nil {
				continue
			}
			bound := before[of]
			if bound == nil {
				bound = key.For(c.ID)
			}
			p.bound[of] = bound
			p.keys = append(p.keys, bound)
		}
	}
}

// warn tells once that there are too many keys. The lock is held.
func (p *KeyPublisher) warn() {
	many := len(p.keys) > MaxPublishedKeys
	if many && !p.warned {
		p.config.Logger.Warn("more keys are published than hubs read: they refuse the requests of the last clients",
			"keys", len(p.keys), "read", MaxPublishedKeys)
	}
	p.warned = many
}
