package jwks

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Bounds of the cache of verified tokens.
const (
	DefaultCacheSize = 16384
	maxCached        = 5 * time.Minute
	cacheShards      = 32
)

// cache remembers which tokens verify with which keys, and nothing else about
// them. Tokens are known by the SHA-256 of all their bytes, keys by their
// thumbprints. Only tokens that did verify get in, so forged ones can't push
// them out.
type cache struct {
	shards [cacheShards]shard
}

type digest = [sha256.Size]byte

type shard struct {
	mu      sync.Mutex
	entries map[digest]verified
	// ring holds the digests in the order in which they came, which is about
	// that in which they end; at is where the next goes.
	ring []digest
	at   int
	size int
}

type verified struct {
	thumbprint string
	until      int64 // in seconds since 1970
}

// newCache makes a cache of at most size tokens, rounded up to a multiple of
// the number of shards.
func newCache(size int) *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].size = (size + cacheShards - 1) / cacheShards
		c.shards[i].entries = make(map[digest]verified)
	}
	return c
}

func (c *cache) shard(token digest) *shard { return &c.shards[token[0]%cacheShards] }

// has reports whether the token is known to verify with the key. What is too
// old, or was verified with another key, is dropped.
func (c *cache) has(token digest, k *Key, now time.Time) bool {
	s := c.shard(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[token]
	if !ok {
		return false
	}
	if e.thumbprint != k.Thumbprint || now.Unix() >= e.until {
		delete(s.entries, token)
		return false
	}
	return true
}

// add remembers a token up to its exp, or for 5 minutes when that is sooner
// or it has none.
func (c *cache) add(token digest, k *Key, now, exp time.Time) {
	until := now.Add(maxCached)
	if !exp.IsZero() && exp.Before(until) {
		until = exp
	}
	s := c.shard(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[token]; !ok {
		s.place(token)
	}
	s.entries[token] = verified{thumbprint: k.Thumbprint, until: until.Unix()}
}

// place puts a digest into the ring, in the place of the oldest when it is
// full. That one's entry may have gone and come back at another place; it is
// dropped all the same, and costs one verification.
func (s *shard) place(token digest) {
	if len(s.ring) < s.size {
		s.ring = append(s.ring, token)
		return
	}
	delete(s.entries, s.ring[s.at])
	s.ring[s.at] = token
	s.at = (s.at + 1) % s.size
}

// drop forgets a token, because its key has gone.
func (c *cache) drop(token digest) {
	s := c.shard(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, token)
}
