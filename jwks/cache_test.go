package jwks

import (
	"context"
	"crypto/sha256"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// changing is a KeySource whose keys change.
type changing struct {
	mu    sync.Mutex
	index *Index
}

func (c *changing) Key(ctx context.Context, kid string) (*Key, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.Key(ctx, kid)
}

func (c *changing) set(x *Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = x
}

func TestCached(t *testing.T) {
	now := vectorTime
	good := testKey(t, "test-4096", "RS512")
	source := &changing{index: index(t, good)}
	v := newVerifier(t, Config{Bindings: []Binding{{"client-1", source}}, Now: func() time.Time { return now }})
	token := mint4096(t, map[string]any{"exp": vectorTime.Unix() + 3600})
	verify := func(cached bool) {
		t.Helper()
		got, err := v.Verify(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, cached, got.Cached)
	}
	refused := func(want Code) {
		t.Helper()
		_, err := v.Verify(t.Context(), token)
		require.Equal(t, want, CodeOf(err))
	}
	verify(false)
	verify(true)

	// A refresh that changes nothing.
	source.set(index(t, testKey(t, "test-4096", "RS512")))
	verify(true)

	// Five minutes.
	now = now.Add(maxCached - time.Second)
	verify(true)
	now = now.Add(time.Second)
	verify(false)
	verify(true)

	// The key leaves, and comes back.
	source.set(index(t, testKey(t, "attacker-4096", "")))
	refused(CodeUnknownKid)
	source.set(index(t, good))
	verify(false)
	verify(true)

	// The key changes under its kid, and back.
	twin, err := NewKey("test-4096", "", testKey(t, "attacker-4096", "").Public)
	require.NoError(t, err)
	source.set(index(t, twin))
	refused(CodeSignature)
	source.set(index(t, good))
	verify(false)

	// The same key is for another algorithm now.
	source.set(index(t, testKey(t, "test-4096", "RS256")))
	refused(CodeKeyAlgorithm)
	source.set(index(t, good))
	verify(false)

	// An outage drops nothing.
	source.set(index(t))
	refused(CodeUnavailable)
	source.set(index(t, good))
	verify(true)

	// Time is checked whatever is remembered.
	now = vectorTime.Add(time.Hour - time.Second)
	verify(false)
	verify(true)
	now = now.Add(time.Second)
	refused(CodeExpired)
	now = vectorTime.Add(-time.Minute)
	refused(CodeIatFuture)
}

// A token that differs in one byte is another token.
func TestCacheKnowsWholeTokens(t *testing.T) {
	v := newVerifier(t, Config{})
	token := mint4096(t, nil)
	_, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	for at := 0; at < len(token); at += 7 {
		forged := append([]byte{}, token...)
		forged[at] ^= 1
		_, err := v.Verify(t.Context(), forged)
		require.Error(t, err, at)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(64)
	k := &Key{Thumbprint: "k"}
	for i := range 10000 {
		c.add(sha256.Sum256([]byte(strconv.Itoa(i))), k, vectorTime, time.Time{})
	}
	size := 0
	for i := range c.shards {
		size += len(c.shards[i].entries)
		assert.LessOrEqual(t, len(c.shards[i].ring), 2)
	}
	assert.Equal(t, 64, size)
	assert.True(t, c.has(sha256.Sum256([]byte("9999")), k, vectorTime), "the newest stays")
}

// What the cache says is never more than what a plain list of all that was
// added says, and without eviction never less.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1, 40, 100000}).Draw(t, "size")
		c := newCache(size)
		now := vectorTime
		keys := []*Key{{Thumbprint: "a"}, {Thumbprint: "b"}}
		type fact struct {
			key   *Key
			until time.Time
		}
		model := map[digest]fact{}
		draw := func() (digest, *Key) {
			return sha256.Sum256([]byte{byte(rapid.IntRange(0, 40).Draw(t, "token"))}), rapid.SampledFrom(keys).Draw(t, "key")
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				token, key := draw()
				exp := now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "exp")) * time.Second)
				c.add(token, key, now, exp)
				if latest := now.Add(maxCached); exp.After(latest) {
					exp = latest
				}
				model[token] = fact{key, exp}
			},
			"drop": func(*rapid.T) {
				token, _ := draw()
				c.drop(token)
				delete(model, token)
			},
			"has": func(t *rapid.T) {
				token, key := draw()
				f, ok := model[token]
				want := ok && f.key == key && now.Before(f.until)
				if ok && !want {
					delete(model, token)
				}
				got := c.has(token, key, now)
				if got && !want || size == 100000 && got != want {
					t.Fatalf("has says %v, not %v", got, want)
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "s")) * time.Second) },
		})
	})
}

func TestConcurrentVerify(t *testing.T) {
	v := newVerifier(t, Config{CacheSize: 1})
	tokens := [][]byte{mint4096(t, nil), mint4096(t, map[string]any{"sub": "b"}), mint4096(t, map[string]any{"exp": 1})}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 30 {
				_, err := v.Verify(context.Background(), tokens[i%3])
				if (err != nil) != (i%3 == 2) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
