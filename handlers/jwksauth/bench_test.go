package jwksauth

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/signpost-gateway/signpost/jwks"
)

// BenchmarkMiddleware measures a request with an RS512 token of a 4096-bit key:
// what the middleware adds to the bare verification (Verify), when the
// signature is verified (first) and when that is remembered (repeated).
func BenchmarkMiddleware(b *testing.B) {
	vectors, config := readVectors(b)
	token := vectors.Cases[0].Token
	for _, c := range []struct {
		name  string
		cache int
	}{{"first", -1}, {"repeated", 0}} {
		config.CacheSize = c.cache
		verifier, err := jwks.New(config)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/Verify", func(b *testing.B) {
			text := []byte(token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verifier.Verify(b.Context(), text); err != nil {
					b.Fatal(err)
				}
			}
		})
		for name, config := range map[string]Config{
			"Plain":  {},
			"Claims": {Claims: []ClaimHeader{{"sub", "X-Subject", Comma}, {"iss", "X-Issuer", Comma}}},
		} {
			config.Verifier = verifier
			b.Run(c.name+"/"+name, func(b *testing.B) { benchmark(b, config, token) })
		}
	}
}

func benchmark(b *testing.B, config Config, token string) {
	passed := 0
	h := authenticator(b, config).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }))
	r := httptest.NewRequest(http.MethodGet, "/p?a=b", nil)
	header := http.Header{
		"Authorization": {"Bearer " + token}, "Accept": {"*/*"}, "User-Agent": {"bench"}, "X-Forwarded-For": {"127.0.0.1"},
		"X-Forwarded-Proto": {"https"}, "Accept-Encoding": {"gzip"}, "Cookie": {"a=b; c=d"},
	}
	r.Header = http.Header{}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		clear(r.Header)
		maps.Copy(r.Header, header)
		h.ServeHTTP(nil, r)
	}
	if passed != n {
		b.Fatalf("%d of %d requests passed", passed, n)
	}
}

// BenchmarkNoToken measures what an anonymous client can make the server do.
func BenchmarkNoToken(b *testing.B) {
	a := authenticator(b, Config{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if token, err := a.Authenticate(r); token != nil || err == nil {
			b.Fatal("passed")
		}
	}
}
