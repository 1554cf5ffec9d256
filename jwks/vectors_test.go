package jwks

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		ID, Token, Expect, Class, Note, Scope string
	} `json:"cases"`
}

func readSigningVectors(tb testing.TB) (signingVectors, Config) {
	tb.Helper()
	var v signingVectors
	require.NoError(tb, json.Unmarshal(readTestdata(tb, "signing_jwts.json"), &v))
	keys, skipped, err := Parse(readTestdata(tb, "signing_jwks.json"), Limits{})
	require.NoError(tb, err)
	require.Len(tb, keys, 5)
	require.Len(tb, skipped, 2, "the oct key and the one for encryption")
	return v, Config{
		Bindings: []Binding{{Issuer: "client-1", Keys: index(tb, keys...)}},
		Policy: Policy{
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

// vectorCodes are the codes of the cases that are refused here.
var vectorCodes = map[string]Code{
	"rs005": "token_parts",
	"rs007": "algorithm",
	"rs009": "token_alg",
	"rs011": "algorithm",
	"rs013": "algorithm",
	"rs015": "key_algorithm",
	"rs017": "algorithm",
	"rs019": "algorithm",
	"rs021": "kid_missing",
	"rs023": "token_kid",
	"rs025": "token_kid",
	"rs027": "unknown_kid",
	"rs029": "token_kid",
	"rs031": "unknown_kid",
	"rs033": "key_size",
	"rs035": "unknown_kid",
	"rs037": "signature",
	"rs043": "token_crit",
	"rs045": "token_crit",
	"rs047": "type",
	"rs049": "token_syntax",
	"rs051": "token_duplicate",
	"rs053": "token_duplicate",
	"rs055": "token_duplicate",
	"rs057": "token_syntax",
	"rs059": "token_not_object",
	"rs061": "claim_missing",
	"rs063": "claim_missing",
	"rs065": "claim_type",
	"rs067": "claim_type",
	"rs069": "claim_type",
	"rs071": "claim_type",
	"rs073": "claim_type",
	"rs075": "claim_type",
	"rs077": "expired",
	"rs079": "lifetime",
	"rs081": "claim_missing",
	"rs083": "claim_type",
	"rs085": "iat_future",
	"rs087": "time_order",
	"rs089": "claim_missing",
	"rs091": "audience",
	"rs093": "audience",
	"rs095": "claim_type",
	"rs097": "claim_type",
	"rs099": "issuer",
	"rs101": "claim_missing",
	"rs113": "token_encoding",
	"rs115": "token_alphabet",
	"rs117": "token_alphabet",
	"rs119": "token_parts",
	"rs121": "token_parts",
	"rs123": "signature",
	"rs125": "signature",
	"rs127": "token_alphabet",
	"rs129": "token_alphabet",
	"rs131": "signature",
}

func TestSigningVectors(t *testing.T) {
	vectors, config := readSigningVectors(t)
	require.Len(t, vectors.Cases, 66)
	for name, change := range map[string]func(*Config){
		"fast":       func(*Config) {},
		"crypto/rsa": func(c *Config) { c.StandardRSA = true },
		"other issuers": func(c *Config) {
			other, err := NewKey("test-4096", "", &privateKeys()["attacker-4096"].PublicKey)
			require.NoError(t, err)
			c.Bindings = append(c.Bindings, Binding{Issuer: "client-2", Keys: index(t, other)}, Binding{Keys: index(t, other)})
		},
		"no cache": func(c *Config) { c.CacheSize = -1 },
	} {
		c := config
		change(&c)
		v := newVerifier(t, c)
		for _, tc := range vectors.Cases {
			t.Run(name+"/"+tc.ID, func(t *testing.T) {
				// Twice, for the second may find the token in the cache.
				for range 2 {
					token, err := v.Verify(t.Context(), []byte(tc.Token))
					if tc.Expect == "accept" {
						require.NoError(t, err, tc.Note)
						require.Equal(t, "client-1", token.Issuer)
						continue
					}
					if tc.Scope == "signing" && err == nil {
						continue // a rule of the signing API only
					}
					require.Error(t, err, tc.Note)
					require.Nil(t, token)
					if name != "other issuers" {
						assert.Equal(t, vectorCodes[tc.ID], CodeOf(err), tc.Note)
					}
				}
			})
		}
	}
}

func TestWycheproof(t *testing.T) {
	var file struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []struct {
			PublicKey struct{ Modulus, PublicExponent string } `json:"publicKey"`
			Tests     []struct {
				TcID                      int `json:"tcId"`
				Comment, Msg, Sig, Result string
			} `json:"tests"`
		} `json:"testGroups"`
	}
	require.NoError(t, json.Unmarshal(readTestdata(t, "wycheproof_rsa_signature_4096_sha512.json"), &file))
	fromHex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	done, valid := 0, 0
	for _, g := range file.TestGroups {
		public := &rsa.PublicKey{
			N: new(big.Int).SetBytes(fromHex(g.PublicKey.Modulus)),
			E: int(new(big.Int).SetBytes(fromHex(g.PublicKey.PublicExponent)).Int64()),
		}
		for _, tc := range g.Tests {
			digest := sha512.Sum512(fromHex(tc.Msg))
			got := verifyPKCS1v15(public, crypto.SHA512, digest[:], fromHex(tc.Sig))
			assert.Equal(t, tc.Result == "valid", got, "%d: %s (%s)", tc.TcID, tc.Comment, tc.Result)
			done++
			if got {
				valid++
			}
		}
	}
	assert.Equal(t, 259, done)
	assert.Equal(t, file.NumberOfTests, done)
	assert.Positive(t, valid)
}
