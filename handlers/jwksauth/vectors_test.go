package jwksauth

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

type signingVectors struct {
	Now    int64 `json:"now"`
	Policy struct {
		Alg       string   `json:"alg"`
		Audience  string   `json:"audience"`
		Leeway    int64    `json:"leeway_s"`
		MaxFuture int64    `json:"max_future_s"`
		Bits      int      `json:"min_key_bits"`
		Typ       string   `json:"typ"`
		Require   []string `json:"require"`
	} `json:"policy"`
	Cases []struct {
		ID, Token, Expect, Note, Scope string
	} `json:"cases"`
}

// readVectors returns the vectors, and the configuration of a verifier with
// their policy.
func readVectors(t testing.TB) (signingVectors, jwks.Config) {
	t.Helper()
	var v signingVectors
	data, err := os.ReadFile("testdata/signing_jwts.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &v))
	data, err = os.ReadFile("testdata/signing_jwks.json")
	require.NoError(t, err)
	keys, _, err := jwks.Parse(data, jwks.Limits{})
	require.NoError(t, err)
	index, _ := jwks.NewIndex(keys)
	return v, jwks.Config{
		Bindings: []jwks.Binding{{Issuer: "client-1", Keys: index}},
		Policy: jwks.Policy{
			Algorithms:  []string{v.Policy.Alg},
			MinKeyBits:  v.Policy.Bits,
			Types:       []string{v.Policy.Typ},
			Audience:    []string{v.Policy.Audience},
			Require:     v.Policy.Require,
			Leeway:      time.Duration(v.Policy.Leeway) * time.Second,
			MaxLifetime: time.Duration(v.Policy.MaxFuture) * time.Second,
		},
		Now: func() time.Time { return time.Unix(v.Now, 0) },
	}
}

// elsewhere are the answers that depend on the place.
var elsewhere = map[string]int{
	"rs127/header": http.StatusBadRequest, // JSON: a comma makes it a list
	"rs117/cookie": http.StatusOK,         // a line break that no connection can carry
	"rs129/cookie": http.StatusOK,         // quotes are a part of the cookie's form
}

// TestSigningVectors puts every token into every place.
func TestSigningVectors(t *testing.T) {
	vectors, config := readVectors(t)
	require.Len(t, vectors.Cases, 66)
	verifier, err := jwks.New(config)
	require.NoError(t, err)
	a := authenticator(t, Config{
		Verifier: verifier, From: allSources, Claims: []ClaimHeader{{"sub", "X-Subject", Comma}},
	})
	accepted := 0
	for _, c := range vectors.Cases {
		t.Run(c.ID, func(t *testing.T) {
			for place, put := range map[string]func(*http.Request){
				"header": func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + c.Token} },
				"cookie": func(r *http.Request) { r.Header["Cookie"] = []string{"a=b; token=" + c.Token} },
				"query":  func(r *http.Request) { r.URL.RawQuery = "a=b&access_token=" + c.Token },
			} {
				r := get("/")
				put(r)
				w, next := serve(a, r)
				if c.Expect == "accept" {
					require.Equal(t, http.StatusOK, w.Code, "%s: %s", place, c.Note)
					assert.Equal(t, []string{mustText(t, next.token.Claims, "sub")}, next.header["X-Subject"])
					accepted++
					continue
				}
				if status, ok := elsewhere[c.ID+"/"+place]; ok {
					require.Equal(t, status, w.Code)
					continue
				}
				if c.Scope == "signing" && w.Code == http.StatusOK {
					continue // a rule of the signing API only
				}
				require.Equal(t, http.StatusUnauthorized, w.Code, "%s: %s", place, c.Note)
				assert.False(t, next.called)
				assert.Contains(t, []string{bodyInvalid, bodyExpired}, w.Body.String())
			}
		})
	}
	assert.Equal(t, 4*3, accepted)
}
