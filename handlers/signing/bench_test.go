package signing

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// BenchmarkPost measures POST /signaturerequest with two documents on SQLite,
// and in the same run what it can't do without: one verification with a key of
// 4096 bits and one durable row.
func BenchmarkPost(b *testing.B) {
	store := sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	require.NoError(b, store.Open(b.Context()))
	defer store.Close()
	f := newFixture(b, func(c *Config) {
		c.Store, c.Profile, c.Logger, c.Observe = store, ProfileDocumented, nil, nil
	})
	sent := f.mint(b, nil)
	key, ref := f.key(b.Context(), "client-1", "test-4096")
	require.Nil(b, ref)
	parts, ref := split([]byte(sent))
	require.Nil(b, ref)
	verification := func(b *testing.B) {
		signature, err := jws.AppendDecode(nil, parts.Signature)
		if err != nil || !key.Verify(requestAlg, parts.Signed, signature) {
			b.Fatal("refused")
		}
	}
	var n atomic.Int64
	row := func(b *testing.B) {
		digest, _ := f.digest(b64(strconv.FormatInt(n.Add(1), 10)))
		err := store.CreateSigningRequest(b.Context(), storage.SigningRequest{
			Token: digest, Client: "client-1", JWT: []byte(sent), Status: storage.SigningRequested,
			CreatedAt: f.now(), Deadline: f.now(), ExpiresAt: f.now(),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	post := func(b *testing.B) {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/signaturerequest", strings.NewReader(sent))
		r.Header.Set("Content-Type", "text/plain")
		w := httptest.NewRecorder()
		if f.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
	for name, one := range map[string]func(*testing.B){
		"verification": verification,
		"row":          row,
		"floor":        func(b *testing.B) { verification(b); row(b) },
		"post":         post,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				one(b)
			}
		})
		b.Run(name+"/64", func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					one(b)
				}
			})
		})
	}
}

// BenchmarkCheck measures the form of a request, without its signature.
func BenchmarkCheck(b *testing.B) {
	f := newFixture(b, nil)
	f = newFixture(b, func(c *Config) {
		withMock(b, f.clock.now)(c)
		c.Profile = ProfileINT2022
	})
	for _, documents := range []int{2, 250} {
		ids := make([]string, documents)
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		sent := []byte(f.mint(b, map[string]any{"payloads": payloads(ids...)}))
		b.Run(strconv.Itoa(documents), func(b *testing.B) {
			b.SetBytes(int64(len(sent)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ref := f.check(b.Context(), sent, ""); ref != nil {
					b.Fatal(ref.text)
				}
			}
		})
	}
	flood := []byte("e30." + strings.Repeat("eyJhIjoiYiJ9", 1<<16) + ".e30")
	b.Run("flood", func(b *testing.B) {
		for b.Loop() {
			_, _ = f.check(b.Context(), flood, "")
		}
	})
}
