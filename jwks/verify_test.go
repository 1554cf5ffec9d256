package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPolicy(t *testing.T) {
	now := vectorTime.Unix()
	for name, tc := range map[string]struct {
		policy Policy
		with   map[string]any
		want   Code
	}{
		"defaults":                    {},
		"exp now":                     {with: map[string]any{"exp": now}, want: CodeExpired},
		"exp half a second from now":  {with: map[string]any{"exp": float64(now) + 0.5, "iat": now - 1}},
		"exp half a second ago":       {with: map[string]any{"exp": float64(now) - 0.5, "iat": now - 1}, want: CodeExpired},
		"exp 2^53":                    {with: map[string]any{"exp": int64(1) << 53}},
		"exp beyond 2^53":             {with: map[string]any{"exp": int64(1)<<53 + 2}, want: CodeClaimType},
		"exp 0":                       {with: map[string]any{"exp": 0}, want: CodeExpired},
		"no exp":                      {with: map[string]any{"exp": nil}, want: CodeClaimMissing},
		"no exp, none required":       {policy: Policy{Require: []string{}}, with: map[string]any{"exp": nil}},
		"no exp, other required":      {policy: Policy{Require: []string{"sub"}}, with: map[string]any{"exp": nil}},
		"no exp, but a lifetime":      {policy: Policy{Require: []string{}, MaxLifetime: time.Hour}, with: map[string]any{"exp": nil}, want: CodeClaimMissing},
		"bad exp, none required":      {policy: Policy{Require: []string{}}, with: map[string]any{"exp": "soon"}, want: CodeClaimType},
		"iat at the leeway":           {with: map[string]any{"iat": now + 30}},
		"iat past the leeway":         {with: map[string]any{"iat": now + 31}, want: CodeIatFuture},
		"iat a fraction past it":      {with: map[string]any{"iat": float64(now) + 30.5}, want: CodeIatFuture},
		"iat, other leeway":           {policy: Policy{Leeway: time.Minute}, with: map[string]any{"iat": now + 60}},
		"iat, no leeway":              {policy: Policy{Leeway: -1}, with: map[string]any{"iat": now + 1}, want: CodeIatFuture},
		"iat old":                     {with: map[string]any{"iat": 1}},
		"no iat":                      {with: map[string]any{"iat": nil}},
		"nbf at the leeway":           {with: map[string]any{"nbf": now + 30}},
		"nbf past the leeway":         {with: map[string]any{"nbf": now + 31}, want: CodeNotYet},
		"exp equals iat":              {with: map[string]any{"iat": now + 10, "exp": now + 10}, want: CodeTimeOrder},
		"exp a fraction after iat":    {with: map[string]any{"iat": float64(now) + 10.25, "exp": float64(now) + 10.5}},
		"lifetime at its end":         {policy: Policy{MaxLifetime: 10 * time.Minute}, with: map[string]any{"exp": now + 630}},
		"lifetime past its end":       {policy: Policy{MaxLifetime: 10 * time.Minute}, with: map[string]any{"exp": now + 631}, want: CodeLifetime},
		"lifetime counts from now":    {policy: Policy{MaxLifetime: 10 * time.Minute}, with: map[string]any{"iat": now - 600, "exp": now + 600}},
		"aud":                         {policy: Policy{Audience: []string{"a", "b"}}, with: map[string]any{"aud": "b"}},
		"aud in an array":             {policy: Policy{Audience: []string{"a", "b"}}, with: map[string]any{"aud": []string{"x", "b"}}},
		"aud other":                   {policy: Policy{Audience: []string{"a"}}, with: map[string]any{"aud": "A"}, want: CodeAudience},
		"aud others":                  {policy: Policy{Audience: []string{"a"}}, with: map[string]any{"aud": []string{"x", "y"}}, want: CodeAudience},
		"aud empty array":             {policy: Policy{Audience: []string{"a"}}, with: map[string]any{"aud": []string{}}, want: CodeAudience},
		"aud object":                  {policy: Policy{Audience: []string{"a"}}, with: map[string]any{"aud": map[string]any{"a": 1}}, want: CodeClaimType},
		"no aud":                      {policy: Policy{Audience: []string{"a"}}, want: CodeClaimMissing},
		"aud not asked for":           {with: map[string]any{"aud": "anything"}},
		"aud ill-typed, not asked":    {with: map[string]any{"aud": 5}, want: CodeClaimType},
		"sub not a string":            {with: map[string]any{"sub": 5}, want: CodeClaimType},
		"jti not a string":            {with: map[string]any{"jti": true}, want: CodeClaimType},
		"required and nested":         {policy: Policy{Require: []string{"realm.roles"}}, with: map[string]any{"realm": map[string]any{"roles": []string{"r"}}}},
		"required, nested, missing":   {policy: Policy{Require: []string{"realm.roles"}}, with: map[string]any{"realm": map[string]any{"role": 1}}, want: CodeClaimMissing},
		"issuer of nobody":            {with: map[string]any{"iss": "client-9"}, want: CodeIssuer},
		"no issuer":                   {with: map[string]any{"iss": nil}, want: CodeClaimMissing},
		"key too small for the rules": {policy: Policy{MinKeyBits: 4097}, want: CodeKeySize},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Config{Policy: tc.policy})
			// The second time the signature may be remembered, the verdict not.
			for range 2 {
				token, err := v.Verify(t.Context(), mint4096(t, tc.with))
				if tc.want == "" {
					require.NoError(t, err)
					assert.Equal(t, "test-4096", token.Key.Kid)
				} else {
					require.Equal(t, tc.want, CodeOf(err), "%v", err)
				}
			}
		})
	}
}

func TestAlgorithms(t *testing.T) {
	private := privateKeys()["test-2048"]
	ec := map[string]*ecdsa.PrivateKey{}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		ec[name] = key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)

	all := Keys{testKey(t, "test-2048", "")}
	for name, key := range ec {
		k, err := NewKey(name, name, &key.PublicKey)
		require.NoError(t, err)
		all = append(all, k)
	}
	k, err := NewKey("EdDSA", "", ed.Public())
	require.NoError(t, err)
	all = append(all, k)
	bindings := []Binding{{Keys: index(t, all...)}}

	for _, name := range Algorithms() {
		kid, key := "test-2048", any(private)
		if e, ok := ec[name]; ok {
			kid, key = name, e
		}
		if name == "EdDSA" {
			kid, key = name, ed
		}
		method := jwt.GetSigningMethod(name)
		token := mint(t, method, key, kid, goodClaims(nil))

		_, err := newVerifier(t, Config{Bindings: bindings, Policy: Policy{Algorithms: []string{name}}}).Verify(t.Context(), token)
		require.NoError(t, err, name)
		_, err = newVerifier(t, Config{Bindings: bindings, Policy: Policy{Algorithms: Algorithms()}}).Verify(t.Context(), token)
		require.NoError(t, err, name)

		// Not allowed by the policy.
		others := strings.Fields(strings.ReplaceAll(strings.Join(Algorithms(), " "), name, ""))
		_, err = newVerifier(t, Config{Bindings: bindings, Policy: Policy{Algorithms: others}}).Verify(t.Context(), token)
		assert.Equal(t, CodeAlgorithm, CodeOf(err), name)

		// Another message, and a signature cut short.
		v := newVerifier(t, Config{Bindings: bindings, Policy: Policy{Algorithms: []string{name}}})
		other := mint(t, method, key, kid, goodClaims(map[string]any{"sub": "other"}))
		cut := func(s []byte) int { return strings.LastIndexByte(string(s), '.') + 1 }
		forged := append(append([]byte{}, other[:cut(other)]...), token[cut(token):]...)
		_, err = v.Verify(t.Context(), forged)
		assert.Equal(t, CodeSignature, CodeOf(err), name)
		_, err = v.Verify(t.Context(), token[:len(token)-4])
		assert.Contains(t, []Code{CodeSignature, "token_encoding"}, CodeOf(err), name)

		// A key of another kind under this kid.
		wrong := "EdDSA"
		if name == wrong {
			wrong = "ES256"
		}
		_, err = v.Verify(t.Context(), mint(t, method, key, wrong, goodClaims(nil)))
		assert.Equal(t, CodeKeyAlgorithm, CodeOf(err), name)
	}

	for _, bad := range []string{"none", "HS512", "hs256", "rs512", "ES256K", ""} {
		_, err := New(Config{Bindings: bindings, Policy: Policy{Algorithms: []string{bad}}})
		require.Error(t, err, bad)
	}
}

// A salt of another length than the hash's is another algorithm than RFC 7518
// describes.
func TestPSSSalt(t *testing.T) {
	long := &jwt.SigningMethodRSAPSS{SigningMethodRSA: jwt.SigningMethodPS512.SigningMethodRSA, Options: jwt.SigningMethodPS256.VerifyOptions}
	v := newVerifier(t, Config{Policy: Policy{Algorithms: []string{"PS512"}}, Bindings: []Binding{{Keys: index(t, testKey(t, "test-2048", ""))}}})
	token := mint(t, long, privateKeys()["test-2048"], "test-2048", goodClaims(nil))
	_, err := v.Verify(t.Context(), token)
	assert.Equal(t, CodeSignature, CodeOf(err))
}

// sourceFunc is a KeySource.
type sourceFunc func(kid string) (*Key, error)

func (f sourceFunc) Key(_ context.Context, kid string) (*Key, error) { return f(kid) }

func TestBindings(t *testing.T) {
	good, attacker := testKey(t, "test-4096", ""), testKey(t, "attacker-4096", "")
	nameless, err := NewKey("", "", good.Public)
	require.NoError(t, err)
	twin, err := NewKey("test-4096", "", attacker.Public)
	require.NoError(t, err)
	away := sourceFunc(func(string) (*Key, error) { return nil, errors.New("connection refused") })
	broken := sourceFunc(func(string) (*Key, error) { return nil, nil })
	empty := index(t)
	mintKid := func(kid string) []byte {
		return mint(t, jwt.SigningMethodRS512, privateKeys()["test-4096"], kid, goodClaims(nil))
	}

	for name, tc := range map[string]struct {
		bindings []Binding
		token    []byte
		want     Code
	}{
		"bound":                              {[]Binding{{"client-1", index(t, good)}}, mintKid("test-4096"), ""},
		"unbound":                            {[]Binding{{"", index(t, good)}}, mintKid("test-4096"), ""},
		"of another issuer":                  {[]Binding{{"client-2", index(t, good)}}, mintKid("test-4096"), CodeIssuer},
		"of another issuer with the kid":     {[]Binding{{"client-2", index(t, good)}, {"client-1", index(t, twin)}}, mintKid("test-4096"), CodeSignature},
		"unbound is no way around a binding": {[]Binding{{"", index(t, good)}, {"client-1", index(t, twin)}}, mintKid("test-4096"), CodeSignature},
		"second set of the issuer":           {[]Binding{{"client-1", index(t, attacker)}, {"client-1", index(t, good)}}, mintKid("test-4096"), ""},
		"no kid, one key":                    {[]Binding{{"client-1", index(t, good)}}, mintKid(""), ""},
		"no kid, two keys":                   {[]Binding{{"client-1", index(t, good, attacker)}}, mintKid(""), CodeKidMissing},
		"no kid, two sets":                   {[]Binding{{"client-1", index(t, good)}, {"client-1", index(t, attacker)}}, mintKid(""), CodeKidMissing},
		"key without kid":                    {[]Binding{{"client-1", index(t, nameless)}}, mintKid("whatever"), ""},
		"key without kid comes second":       {[]Binding{{"client-1", index(t, nameless)}, {"client-1", index(t, twin)}}, mintKid("test-4096"), CodeSignature},
		"unknown kid":                        {[]Binding{{"client-1", index(t, good)}}, mintKid("../test-4096"), CodeUnknownKid},
		"no keys yet":                        {[]Binding{{"client-1", empty}}, mintKid("test-4096"), CodeUnavailable},
		"away":                               {[]Binding{{"client-1", away}}, mintKid("test-4096"), CodeUnavailable},
		"away, but another has it":           {[]Binding{{"client-1", away}, {"client-1", index(t, good)}}, mintKid("test-4096"), ""},
		"away, and another hasn't":           {[]Binding{{"client-1", index(t, attacker)}, {"client-1", away}}, mintKid("test-4096"), CodeUnavailable},
		"away, of another issuer":            {[]Binding{{"client-2", away}, {"client-1", index(t, good)}}, mintKid("test-4096"), ""},
		"a source that breaks its promise":   {[]Binding{{"client-1", broken}}, mintKid("test-4096"), CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVerifier(t, Config{Bindings: tc.bindings}).Verify(t.Context(), tc.token)
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.Equal(t, tc.want, CodeOf(err), "%v", err)
			}
		})
	}
}

// Tokens that are refused before their key is looked up ask no source, so they
// can't make one fetch.
func TestNoLookUpForBadForm(t *testing.T) {
	asked := 0
	source := sourceFunc(func(string) (*Key, error) { asked++; return nil, ErrUnknownKid })
	v := newVerifier(t, Config{Bindings: []Binding{{"client-1", source}}})
	for _, token := range [][]byte{
		nil,
		[]byte("a.b.c"),
		[]byte(strings.Repeat(".", 5000)),
		[]byte(strings.Repeat("a", 9000)),
		mint(t, jwt.SigningMethodHS256, []byte("secret"), "test-4096", goodClaims(nil)),
		mint4096(t, map[string]any{"iss": "client-2"}),
		mint4096(t, map[string]any{"iss": 5}),
	} {
		_, err := v.Verify(t.Context(), token)
		require.Error(t, err)
	}
	assert.Zero(t, asked)
	_, err := v.Verify(t.Context(), mint4096(t, nil))
	require.ErrorAs(t, err, new(*Error))
	assert.Equal(t, 1, asked)
}

func TestTypes(t *testing.T) {
	for typ, want := range map[string]Code{"JWT": "", "jwt": "", "at+jwt": "", "AT+JWT": "", "": "", "dpop+jwt": CodeType, "JOSE": CodeType} {
		token := jwt.NewWithClaims(jwt.SigningMethodRS512, goodClaims(nil))
		token.Header["kid"] = "test-4096"
		if token.Header["typ"] = typ; typ == "" {
			delete(token.Header, "typ")
		}
		s, err := token.SignedString(privateKeys()["test-4096"])
		require.NoError(t, err)
		_, err = newVerifier(t, Config{}).Verify(t.Context(), []byte(s))
		if want == "" {
			require.NoError(t, err, typ)
		} else {
			require.Equal(t, want, CodeOf(err), typ)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	keys := []Binding{{Keys: index(t, testKey(t, "test-4096", ""))}}
	for text, c := range map[string]Config{
		"Bindings is required":   {},
		"has no Keys":            {Bindings: []Binding{{Issuer: "x"}}},
		"is symmetric":           {Bindings: keys, Policy: Policy{Algorithms: []string{"HS256"}}},
		"MinKeyBits is 1024":     {Bindings: keys, Policy: Policy{MinKeyBits: 1024}},
		"MinKeyBits is 20000":    {Bindings: keys, Policy: Policy{MinKeyBits: 20000}},
		"Leeway is 25h0m0s":      {Bindings: keys, Policy: Policy{Leeway: 25 * time.Hour}},
		"MaxLifetime is negativ": {Bindings: keys, Policy: Policy{MaxLifetime: -1}},
		"Audience holds":         {Bindings: keys, Policy: Policy{Audience: []string{""}}},
		"Require holds":          {Bindings: keys, Policy: Policy{Require: []string{""}}},
		"MaxToken is 2000000":    {Bindings: keys, MaxToken: 2000000},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, text)
	}
}

func TestClaims(t *testing.T) {
	c, err := parseClaims([]byte(`{"a":"x\u0079","n":1800000000.25,"l":["p","q"],"mixed":["p",1],"o":{"p":{"q":"deep"},"r.s":"dotted"},"o.p":"whole","https://e.org/c":{"role":"admin"}}`))
	require.NoError(t, err)
	for name, want := range map[string]string{"a": "xy", "o.p": "whole", "o.p.q": "deep", "o.r.s": "dotted", "https://e.org/c.role": "admin"} {
		got, ok := c.Text(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, got, name)
	}
	for _, name := range []string{"", ".", "A", "o.", ".o", "a.b", "n", "o.p.q.r", "o..p", "l.0"} {
		_, ok := c.Text(name)
		assert.False(t, ok, name)
	}
	all, ok := c.Texts("l")
	assert.True(t, ok)
	assert.Equal(t, []string{"p", "q"}, all)
	all, ok = c.Texts("a")
	assert.True(t, ok)
	assert.Equal(t, []string{"xy"}, all)
	_, ok = c.Texts("mixed")
	assert.False(t, ok)
	at, ok := c.Time("n")
	assert.True(t, ok)
	assert.Equal(t, time.Unix(1800000000, 250000000), at)
	_, ok = c.Time("a")
	assert.False(t, ok)
	var into struct{ A string }
	require.NoError(t, c.Decode(&into))
	assert.Equal(t, "xy", into.A)
	require.Error(t, Claims{}.Decode(&into))
}
