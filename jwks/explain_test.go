package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// agree checks that a report and the verifier say the same.
func agree(t require.TestingT, config Config, token string) *Report {
	v, err := New(config)
	require.NoError(t, err)
	_, refusal := v.Verify(context.Background(), []byte(token))
	report, err := Explain(context.Background(), ExplainRequest{Token: token, Config: config})
	require.NoError(t, err)
	require.Equal(t, refusal == nil, report.Accepted, report.String())
	require.NotEmpty(t, report.Checks)
	first := Code("")
	for _, c := range report.Checks {
		require.NotEmpty(t, c.Detail, c.Name)
		require.Equal(t, c.Outcome == OutcomeFails, c.Code != "", c.Name)
		if first == "" {
			first = c.Code
		}
	}
	if refusal == nil {
		require.Empty(t, report.Code)
	} else {
		require.Equal(t, CodeOf(refusal), report.Code, report.String())
	}
	require.Equal(t, report.Code, first, "the first check that fails decides: %s", report)
	for _, r := range report.String() {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %q", r, report)
	}
	return report
}

func TestExplainVectors(t *testing.T) {
	vectors, config := readSigningVectors(t)
	other, err := NewKey("test-4096", "", &privateKeys()["attacker-4096"].PublicKey)
	require.NoError(t, err)
	several := config
	several.Bindings = append(several.Bindings[:1:1], Binding{Issuer: "client-2", Keys: index(t, other)}, Binding{Keys: index(t, other)})
	for _, tc := range vectors.Cases {
		t.Run(tc.ID, func(t *testing.T) {
			report := agree(t, config, tc.Token)
			if code := vectorCodes[tc.ID]; tc.Expect != "accept" && !report.Accepted {
				assert.Equal(t, code, report.Code, tc.Note)
			}
			agree(t, several, tc.Token)
		})
	}
}

// Whatever is wrong with a token, and however much of it, the report's verdict
// and its first failure are the verifier's.
func TestExplainAgreesWithVerify(t *testing.T) {
	vectors, config := readSigningVectors(t)
	keys := privateKeys()
	configs := []Config{config, {Bindings: config.Bindings, Now: config.Now}, {
		Bindings: []Binding{{Issuer: "client-1", Keys: index(t, testKey(t, "test-4096", ""))}, {Keys: index(t, testKey(t, "attacker-4096", "RS512"))}},
		Policy: Policy{
			Algorithms: []string{"RS512", "PS512", "RS256", "ES256"}, MinKeyBits: 4096, Audience: []string{"a", "b"},
			Require: []string{}, Leeway: -1, MaxLifetime: time.Hour, Types: []string{"", "at+jwt"},
		},
		Revoked: revokedSubject("gone"), MaxToken: 1200, Now: config.Now,
	}, {
		Bindings: []Binding{{Keys: failingSource{ErrUnavailable}}}, Now: config.Now,
	}}
	values := []any{
		nil, true, "", "x", "client-1", "client-2", "gone", "a", []string{"a"}, []any{"a", 1}, []string{}, 0, -1, 1.5, "1800000300",
		vectorTime.Unix(), vectorTime.Unix() - 1, vectorTime.Unix() + 20, vectorTime.Unix() + 31, vectorTime.Unix() + 300, vectorTime.Unix() + 90000, 1 << 60,
		map[string]any{"b": 1}, "\x1b[2J\u009b\u202e", strings.Repeat("long", 300),
	}
	rapid.Check(t, func(t *rapid.T) {
		config := rapid.SampledFrom(configs).Draw(t, "config")
		if rapid.Bool().Draw(t, "mutate") {
			token := []byte(rapid.SampledFrom(vectors.Cases).Draw(t, "case").Token)
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if len(token) > 0 {
					at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
					token[at] = rapid.SampledFrom([]byte("AzQ019-_.=+/ \n\"\x1b")).Draw(t, "byte")
				}
			}
			token = token[:rapid.IntRange(len(token)*3/4, len(token)).Draw(t, "length")]
			agree(t, config, string(token))
			return
		}
		header := map[string]any{"alg": "RS512", "kid": "test-4096", "typ": "JWT"}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"alg", "kid", "typ", "crit"}), 0, 2).Draw(t, "header") {
			header[name] = rapid.SampledFrom([]any{nil, 1, "", "none", "HS256", "rs512", "RS256", "PS512", "ES256", "at+jwt", "x\x1b[2J", "test-4096", "attacker-4096", "nobody"}).Draw(t, name)
		}
		claims := goodClaims(nil)
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"iss", "sub", "jti", "exp", "iat", "nbf", "aud", "x"}), 0, 4).Draw(t, "claims") {
			if claims[name] = rapid.SampledFrom(values).Draw(t, name); rapid.Bool().Draw(t, "delete") {
				delete(claims, name)
			}
		}
		private := keys[rapid.SampledFrom([]string{"test-4096", "attacker-4096"}).Draw(t, "key")]
		var method jwt.SigningMethod = jwt.SigningMethodRS512
		if header["alg"] == "PS512" {
			method = jwt.SigningMethodPS512
		}
		token, err := (&jwt.Token{Header: header, Claims: claims, Method: method}).SignedString(private)
		require.NoError(t, err)
		agree(t, config, token)
	})
}

type revokedSubject string

func (r revokedSubject) Has(t *Token) bool {
	sub, _ := t.Claims.Text("sub")
	return sub == string(r)
}

type failingSource struct{ err error }

func (f failingSource) Key(context.Context, string) (*Key, error) { return nil, f.err }

// What a check says when it is the one that fails.
func TestExplainTexts(t *testing.T) {
	good := string(mint4096(t, nil))
	parts := strings.Split(good, ".")
	with := func(claims map[string]any) string { return string(mint4096(t, claims)) }
	raw := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2]
	}
	now := vectorTime.Unix()
	for _, c := range []struct {
		name, token string
		want        Code
		says        string
		change      func(*Config)
	}{
		{name: "good", token: good, says: "ok       exp: the token ends in 5 minutes, at 2027-01-15T08:05:00Z"},
		{name: "good verdict", token: good, says: "\nThe token is accepted.\n"},
		{name: "nothing", token: "", want: "token_parts", says: "there is none"},
		{name: "scheme", token: "Bearer " + good, want: "token_alphabet", says: "character 7 is a blank"},
		{name: "padding", token: good + "=", want: "token_alphabet", says: "without padding"},
		{name: "standard base64", token: "+" + good, want: "token_alphabet", says: "character 1 is of the standard base64 alphabet"},
		{name: "line break", token: good + "\n", want: "token_alphabet", says: "a line break"},
		{name: "quotes", token: `"` + good, want: "token_alphabet", says: `character 1 is "\""`},
		{name: "encrypted", token: "a.b.c.d.e", want: "token_parts", says: "encrypted tokens (JWE)"},
		{name: "unsigned", token: parts[0] + "." + parts[1] + ".", want: "token_parts", says: "it has no signature"},
		{name: "one part", token: "abc", want: "token_parts", says: "1 part between dots"},
		{name: "long", token: good, want: "token_length", says: "at most 100 are accepted", change: func(c *Config) { c.MaxToken = 100 }},
		{name: "long goes on", token: good, want: "token_length", says: "ok       signature: ", change: func(c *Config) { c.MaxToken = 100 }},
		{name: "header", token: raw(`{"alg":`), want: "token_syntax", says: "skipped  alg: the header can't be read"},
		{name: "header goes on", token: raw(`{"alg":`), want: "token_syntax", says: "ok       exp: "},
		{name: "secret", token: raw(`{"alg":"HS256"}`), want: CodeAlgorithm, says: "signed with a shared secret"},
		{name: "case", token: raw(`{"alg":"rs512"}`), want: CodeAlgorithm, says: "names are compared exactly"},
		{name: "control characters", token: raw(`{"alg":"\u001b[2J\u202e"}`), want: CodeAlgorithm, says: `"\x1b[2J\u202e" is not allowed; allowed: RS512`},
		{name: "typ", token: raw(`{"alg":"RS512","typ":"dpop+jwt"}`), want: CodeType, says: `"dpop+jwt" is not accepted; accepted: none, "JWT", "at+jwt"`},
		{name: "issuer", token: with(map[string]any{"iss": "client-2"}), want: CodeIssuer, says: `it is "client-2", but the keys are those of "client-1"`},
		{name: "issuer goes on", token: with(map[string]any{"iss": "client-2"}), want: CodeIssuer, says: "ok       signature: "},
		{name: "no issuer", token: with(map[string]any{"iss": nil}), want: CodeClaimMissing, says: `the keys are those of "client-1"`},
		{
			name: "kid", token: string(mint(t, jwt.SigningMethodRS512, privateKeys()["test-4096"], "other", goodClaims(nil))), want: CodeUnknownKid,
			says: `no usable key has the kid "other"; there are "test-4096": the key with the kid "test-4096" made the signature`,
		},
		{
			name: "kid of another", token: string(mint(t, jwt.SigningMethodRS512, privateKeys()["test-4096"], "attacker-4096", goodClaims(nil))), want: CodeSignature,
			says: `: the key with the kid "test-4096" made the signature`,
			change: func(c *Config) {
				c.Bindings = []Binding{{Keys: index(t, testKey(t, "test-4096", ""), testKey(t, "attacker-4096", ""))}}
			},
		},
		{
			name: "no kid", token: string(mint(t, jwt.SigningMethodRS512, privateKeys()["test-4096"], "", goodClaims(nil))), want: CodeKidMissing,
			says: `the set has more than one key: the key with the kid "test-4096" made the signature`,
			change: func(c *Config) {
				c.Bindings = []Binding{{Keys: index(t, testKey(t, "test-4096", ""), testKey(t, "attacker-4096", ""))}}
			},
		},
		{
			name: "away", token: good, want: CodeUnavailable, says: "it can't be looked up now: asleep",
			change: func(c *Config) { c.Bindings = []Binding{{Keys: failingSource{errors.New("jwks: asleep")}}} },
		},
		{
			name: "other padding", token: string(mint(t, jwt.SigningMethodRS512, privateKeys()["test-4096"], "test-4096", goodClaims(nil))), want: CodeKeyAlgorithm,
			says:   `the key is for PS512 only, but the header says "RS512"`,
			change: func(c *Config) { c.Bindings = []Binding{{Keys: index(t, testKey(t, "test-4096", "PS512"))}} },
		},
		{name: "small key", token: good, want: CodeKeySize, says: "4096 bits; at least 8192 are required", change: func(c *Config) { c.Policy.MinKeyBits = 8192 }},
		{name: "changed", token: parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"client-1","exp":1800000300}`)) + "." + parts[2], want: CodeSignature, says: "changed after signing"},
		{name: "short signature", token: good[:len(good)-4], want: CodeSignature, says: "it has 509 bytes, those of this key have 512"},
		{name: "required", token: good, want: CodeClaimMissing, says: `missing or empty: "jti"`, change: func(c *Config) { c.Policy.Require = []string{"exp", "jti"} }},
		{name: "expired", token: with(map[string]any{"iat": now - 7300, "exp": now - 3700}), want: CodeExpired, says: "the token ended 1 hour 1 minute ago, at 2027-01-15T06:58:20Z; there is no leeway"},
		{name: "expired now", token: with(map[string]any{"exp": now}), want: CodeExpired, says: "this very moment"},
		{name: "iat", token: with(map[string]any{"iat": now + 90}), want: CodeIatFuture, says: "in 1 minute 30 seconds, at 2027-01-15T08:01:30Z: further in the future than the leeway of 30s"},
		{name: "nbf", token: with(map[string]any{"nbf": now + 60}), want: CodeNotYet, says: "in 1 minute, at"},
		{name: "text date", token: with(map[string]any{"exp": "1800000300"}), want: CodeClaimType, says: `(text is not accepted): "exp"`},
		{name: "order", token: with(map[string]any{"iat": now + 20, "exp": now + 10}), want: CodeTimeOrder, says: "exp is not after iat"},
		{name: "lifetime", token: with(map[string]any{"exp": now + 1<<33}), want: CodeLifetime, says: "exp is in 272 years 140 days; at most 1h0m0s", change: func(c *Config) { c.Policy.MaxLifetime = time.Hour }},
		{name: "audience", token: with(map[string]any{"aud": []string{"x", "y\n"}}), want: CodeAudience, says: `it is "x", "y\n"; accepted: "here"`, change: func(c *Config) { c.Policy.Audience = []string{"here"} }},
		{name: "revoked", token: good, want: CodeRevoked, says: "is on the list", change: func(c *Config) { c.Revoked = revokedSubject("someone") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{Bindings: []Binding{{Issuer: "client-1", Keys: index(t, testKey(t, "test-4096", "RS512"))}}, Now: atVectorTime}
			if c.change != nil {
				c.change(&config)
			}
			report := agree(t, config, c.token)
			assert.Equal(t, c.want, report.Code, report.String())
			assert.Contains(t, report.String(), c.says)
			assert.NotContains(t, report.String(), "someone", "values of other claims are not shown")
		})
	}
}

// Signatures of other algorithms of the same key are told apart.
func TestExplainWrongAlgorithm(t *testing.T) {
	signed, err := (&jwt.Token{Header: map[string]any{"alg": "RS512", "kid": "test-4096"}, Claims: goodClaims(nil), Method: jwt.SigningMethodPS256}).SignedString(privateKeys()["test-4096"])
	require.NoError(t, err)
	report := agree(t, Config{Bindings: []Binding{{Keys: index(t, testKey(t, "test-4096", ""))}}, Now: atVectorTime}, signed)
	assert.Contains(t, report.String(), "it was made with PS256, while the header says RS512")
}

// What other kinds of keys need to be told.
func TestExplainOtherKeys(t *testing.T) {
	private := signers()["ES256"].(*ecdsa.PrivateKey)
	public, err := NewKey("", "", &private.PublicKey)
	require.NoError(t, err)
	config := Config{Bindings: []Binding{{Keys: index(t, public)}}, Policy: Policy{Algorithms: []string{"ES256"}}, Now: atVectorTime}
	token := string(mint(t, jwt.SigningMethodES256, private, "any", goodClaims(nil)))
	report := agree(t, config, token)
	assert.True(t, report.Accepted)
	assert.Contains(t, report.String(), "key: EC P-256, which has no kid and is the only one\n")
	assert.Contains(t, report.String(), "key size: the algorithm has one only\n")

	signed := token[:strings.LastIndexByte(token, '.')]
	sum := sha256.Sum256([]byte(signed))
	der, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	require.NoError(t, err)
	report = agree(t, config, signed+"."+b64(der))
	assert.Equal(t, CodeSignature, report.Code)
	assert.Contains(t, report.String(), "it looks like DER; tokens have r and s one after the other")

	report = agree(t, config, string(mint4096(t, nil)))
	assert.Equal(t, CodeAlgorithm, report.Code)
	assert.Contains(t, report.String(), `"RS512" is not for this kind of key`)
	assert.Contains(t, report.String(), "signature: the header's alg is not for this kind of key")
}

// Long lists are cut.
func TestExplainLists(t *testing.T) {
	var keys Keys
	many := make([]string, 0, 2*maxListed)
	for i := range 2 * maxListed {
		many = append(many, strings.Repeat("a", i+1))
		keys = append(keys, testKey(t, "test-4096", "").named(many[i]))
	}
	report := agree(t, Config{Bindings: []Binding{{Keys: index(t, keys...)}}, Now: atVectorTime}, string(mint4096(t, map[string]any{"aud": many})))
	assert.Contains(t, report.String(), `there are "a", "aa", "aaa", "aaaa", "aaaaa", "aaaaaa", "aaaaaaa", "aaaaaaaa" and others: the key with the kid "a" made the signature`)
	assert.Contains(t, report.String(), `"aaaaaaaa" and others; any is accepted`)
}

func (k *Key) named(kid string) *Key {
	k.Kid = kid
	return k
}

func TestExplainSkippedKey(t *testing.T) {
	source := inlineOf(t, jwksOf(jwkOf(t, "good", 0), `{"kty":"oct","kid":"test-4096","k":"AAAA"}`))
	report := agree(t, Config{Bindings: []Binding{{Keys: setOf(t, source)}}, Now: atVectorTime}, string(mint4096(t, nil)))
	assert.Contains(t, report.String(), "there is one, but it is not used: it is a symmetric key")
}

// A source is asked once, so that an explanation costs no more fetches than a
// request.
func TestExplainAsksOnce(t *testing.T) {
	source := &countingSource{key: testKey(t, "test-4096", "")}
	report, err := Explain(t.Context(), ExplainRequest{
		Token: string(mint4096(t, nil)), Config: Config{Bindings: []Binding{{Keys: source}}, Now: atVectorTime},
	})
	require.NoError(t, err)
	assert.True(t, report.Accepted)
	assert.Equal(t, 1, source.asked)
}

type countingSource struct {
	key   *Key
	asked int
}

func (c *countingSource) Key(context.Context, string) (*Key, error) {
	c.asked++
	return c.key, nil
}

func TestExplainWithoutKeys(t *testing.T) {
	explain := func(token string, c Config) *Report {
		c.Now = atVectorTime
		report, err := Explain(t.Context(), ExplainRequest{Token: token, Config: c})
		require.NoError(t, err)
		require.False(t, report.Accepted)
		return report
	}
	good := string(mint4096(t, nil))
	for _, c := range []Config{{}, {Bindings: []Binding{{Issuer: "client-1"}}}} {
		report := explain(good, c)
		assert.Empty(t, report.Code)
		assert.Contains(t, report.String(), "skipped  signature: no keys were given\n")
		assert.Contains(t, report.String(), "as far as it can be checked without keys")
	}
	report := explain(string(mint4096(t, map[string]any{"exp": 1})), Config{})
	assert.Equal(t, CodeExpired, report.Code)
	assert.Contains(t, report.Message, "exp: the token ended 57 years")
	assert.Equal(t, CodeIssuer, explain(good, Config{Bindings: []Binding{{Issuer: "x"}}}).Code)

	data, err := json.Marshal(report)
	require.NoError(t, err)
	assert.Contains(t, string(data), `{"accepted":false,"code":"expired","message":"exp: `)
	assert.Contains(t, string(data), `{"name":"exp","outcome":"fails","code":"expired","detail":"the token ended 57 years`)
}

func TestExplainConfiguration(t *testing.T) {
	for name, c := range map[string]Config{
		"algorithm": {Policy: Policy{Algorithms: []string{"HS256"}}},
		"mixed":     {Bindings: []Binding{{Keys: failingSource{ErrUnavailable}}, {Issuer: "x"}}},
	} {
		_, err := Explain(t.Context(), ExplainRequest{Config: c})
		require.Error(t, err, name)
	}
}

func TestDistance(t *testing.T) {
	now := time.Unix(1800000000, 0)
	for d, want := range map[time.Duration]string{
		0:                              "this very moment",
		time.Millisecond:               "in less than a second",
		-time.Millisecond:              "less than a second ago",
		time.Second:                    "in 1 second",
		-61 * time.Second:              "1 minute 1 second ago",
		time.Hour + 59*time.Second:     "in 1 hour",
		49*time.Hour + 5*time.Minute:   "in 2 days 1 hour",
		-400 * 24 * time.Hour:          "1 year 35 days ago",
		1<<63 - 1:                      "in more than 290 years",
		-1 << 63:                       "more than 290 years ago",
		2*time.Minute + 30*time.Second: "in 2 minutes 30 seconds",
	} {
		assert.Equal(t, want, distance(now.Add(d), now), d.String())
	}
	assert.Equal(t, "in more than 290 years", distance(time.Unix(1<<53, 0), now))
}
