package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

const jwtTime = 1800000000

// part decodes a token's header (0) or claims (1).
func part(t *testing.T, token string, n int) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(strings.TrimSpace(token), ".")[n])
	require.NoError(t, err)
	return string(raw)
}

// newPair makes an Ed25519 key and returns its private and public file.
func newPair(t *testing.T, kid string) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, "jwks", "generate", "--kid", kid, "--alg", "EdDSA", "--out", dir)
	return filepath.Join(dir, kid+".key.pem"), filepath.Join(dir, kid+".jwks.json")
}

func TestJWTSign(t *testing.T) {
	setClock(t, jwtTime)
	key, public := newPair(t, "k-1")
	keys, _, err := jwks.Parse(readFile(t, public), jwks.Limits{})
	require.NoError(t, err)
	claimsFile := filepath.Join(t.TempDir(), "claims.json")
	writeFile(t, claimsFile, `{"sub":"file","n":1.50,"exp":1800000009}`)

	token := mustRun(t, "jwt", "sign", "--key", key)
	assert.Equal(t, `{"alg":"EdDSA","kid":"`+keys[0].Thumbprint+`","typ":"JWT"}`, part(t, token, 0))

	for _, c := range []struct{ args, header, claims string }{
		{"", `{"alg":"EdDSA","kid":"k-1","typ":"JWT"}`, `{"exp":1800000300,"iat":1800000000}`},
		{"--typ= --kid=", `{"alg":"EdDSA"}`, `{"exp":1800000300,"iat":1800000000}`},
		{"--expires-in 1h --at 1700000000", "", `{"exp":1700003600,"iat":1700000000}`},
		{"--no-exp --iss i --sub s --aud a", "", `{"aud":"a","iat":1800000000,"iss":"i","sub":"s"}`},
		{"--no-exp --aud a --aud b --claim sub=x --sub y", "", `{"aud":["a","b"],"iat":1800000000,"sub":"y"}`},
		{`--no-exp --claim a=1 --claim b:=1.50 --claim c:=["x=y"] --claim d==e`, "", `{"a":"1","b":1.50,"c":["x=y"],"d":"=e","iat":1800000000}`},
		{"--claims " + claimsFile, "", `{"exp":1800000009,"iat":1800000000,"n":1.50,"sub":"file"}`},
		{"--claims - --claim sub=flag", "", `{"exp":1800000300,"iat":1,"sub":"flag"}`},
		{`--claims {"iat":2,"exp":3} --expires-in 1m`, "", `{"exp":1800000060,"iat":2}`},
	} {
		args := append([]string{"jwt", "sign", "--key", key, "--kid", "k-1"}, strings.Fields(c.args)...)
		token, err := runCommand(t, `{"sub":"stdin","iat":1}`, args...)
		require.NoError(t, err, c.args)
		if c.header != "" {
			assert.Equal(t, c.header, part(t, token, 0), c.args)
		}
		assert.Equal(t, c.claims, part(t, token, 1), c.args)
	}
}

// A private JWK brings its kid and alg.
func TestJWTSignWithJWK(t *testing.T) {
	const key = `{"kty":"OKP","crv":"Ed25519","kid":"from-jwk","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	token, err := runCommand(t, key, "jwt", "sign", "--key", "-")
	require.NoError(t, err)
	assert.Equal(t, `{"alg":"EdDSA","kid":"from-jwk","typ":"JWT"}`, part(t, token, 0))
	token, err = runCommand(t, key, "jwt", "sign", "--key", "-", "--kid", "other", "--typ", "at+jwt")
	require.NoError(t, err)
	assert.Equal(t, `{"alg":"EdDSA","kid":"other","typ":"at+jwt"}`, part(t, token, 0))
	_, err = runCommand(t, strings.Replace(key, `"EdDSA"`, `"RS512"`, 1), "jwt", "sign", "--key", "-")
	require.ErrorContains(t, err, "alg RS512 is not for this kind of key")
}

func TestJWTSignRefusals(t *testing.T) {
	key, public := newPair(t, "k")
	for says, args := range map[string][]string{
		"required flag": {},
		"no such file":  {"--key", key + "x"},
		"--key: jwks: private key: found a JWK set":  {"--key", public},
		"only one of --key and --claims":             {"--key", "-", "--claims", "-"},
		"alg ES256 is not for this kind of key":      {"--key", key, "--alg", "ES256"},
		"two members have one name":                  {"--key", key, "--claims", `{"a":1,"a":2}`},
		"--claims: the JSON text is no object":       {"--key", key, "--claims", "-"},
		`--claim "a": write name=text or name:=json`: {"--key", key, "--claim", "a"},
		`--claim ":=1": write name=text`:             {"--key", key, "--claim", ":=1"},
		"what follows := is not JSON":                {"--key", key, "--claim", "a:=b"},
		"differ in case only":                        {"--key", key, "--claim", "Exp=1"},
		"--expires-in -1s: it must be 1s at least":   {"--key", key, "--expires-in=-1s"},
		"printable ASCII":                            {"--key", key, "--kid", "a\tb"},
		"--at":                                       {"--key", key, "--at", "noon"},
	} {
		out, err := runCommand(t, "[]", append([]string{"jwt", "sign"}, args...)...)
		require.ErrorContains(t, err, says)
		assert.NotContains(t, out, "eyJ")
	}
}

func TestJWTExplain(t *testing.T) {
	setClock(t, jwtTime)
	key, public := newPair(t, "k-1")
	sign := func(args ...string) string {
		return strings.TrimSpace(mustRun(t, append([]string{"jwt", "sign", "--key", key, "--kid", "k-1"}, args...)...))
	}
	token := sign("--iss", "https://id.example.org", "--aud", "here", "--sub", "someone")
	want := `ok       token form: three parts, ` // then the length
	out := mustRun(t, "jwt", "explain", token, "--keys", public, "--alg", "EdDSA", "--issuer", "https://id.example.org", "--audience", "here")
	assert.True(t, strings.HasPrefix(out, want), out)
	_, rest, _ := strings.Cut(out, "\n")
	assert.Equal(t, `ok       header: a JSON object with kid "k-1"
ok       alg: "EdDSA"
ok       typ: "JWT"
ok       claims: a JSON object with 5 members
ok       iss: "https://id.example.org"
ok       key: OKP Ed25519, for EdDSA
ok       key algorithm: EdDSA is for this kind of key
ok       key size: the algorithm has one only
ok       signature: that of the key over this header and these claims
ok       required claims: present: "exp", "aud"
ok       claim types: iss, sub and jti are strings where they are present
ok       dates: exp, iat and nbf are numbers where they are present; it is 2027-01-15T08:00:00Z now
ok       exp: the token ends in 5 minutes, at 2027-01-15T08:05:00Z
ok       iat: this very moment, at 2027-01-15T08:00:00Z
ok       nbf: there is none
ok       exp and iat: exp is after iat
ok       aud: "here"
The token is accepted.
`, rest)

	revoked := filepath.Join(t.TempDir(), "revoked")
	writeFile(t, revoked, "someone\n")
	for _, c := range []struct {
		code jwks.Code
		says string
		args []string
	}{
		{"", "The token is accepted.", []string{token}},
		{"", "The token is accepted.", []string{"bearer  " + token + "\n"}},
		{"", "The token is accepted.", []string{"Authorization: Bearer " + token}},
		{"algorithm", `"EdDSA" is not allowed; allowed: RS512`, []string{token, "--alg", "RS512"}},
		{"issuer", `it is "https://id.example.org", but the keys are those of "x"`, []string{token, "--issuer", "x"}},
		{"audience", `it is "here"; accepted: "a", "b"`, []string{token, "--audience", "a", "--audience", "b"}},
		{"type", `"JWT" is not accepted; accepted: "at+jwt"`, []string{token, "--typ", "at+jwt"}},
		{"claim_missing", `missing or empty: "jti"`, []string{token, "--require", "jti"}},
		{"expired", "the token ended 1 hour 55 minutes ago", []string{token, "--at", "1800007200"}},
		{"iat_future", "further in the future than the leeway of 0s", []string{token, "--at", "1799999999", "--leeway", "0"}},
		{"", "in 1 second, at", []string{token, "--at", "1799999999"}},
		{"lifetime", "at most 1m0s", []string{token, "--max-lifetime", "1m"}},
		{"revoked", "is on the list", []string{token, "--revoked", revoked}},
		{"claim_missing", `missing or empty: "exp"`, []string{sign("--no-exp")}},
		{"", "none are required", []string{sign("--no-exp"), "--require", ""}},
		{"unknown_kid", `no usable key has the kid "other"; there are "k-1": the key with the kid "k-1" made the signature`, []string{sign("--kid", "other")}},
		{"token_parts", "1 part between dots, expected 3", []string{"abc"}},
	} {
		args := append([]string{"jwt", "explain", "--keys", public}, c.args...)
		if !strings.Contains(strings.Join(c.args, " "), "--alg") {
			args = append(args, "--alg", "EdDSA")
		}
		out, err := runCommand(t, "", args...)
		assert.Contains(t, out, c.says)
		if c.code == "" {
			require.NoError(t, err, out)
		} else {
			require.EqualError(t, err, "refused")
			assert.Contains(t, out, "(reason code "+string(c.code)+")\n")
		}
		assert.NotContains(t, out, "someone")
	}
}

func TestJWTExplainOtherInputs(t *testing.T) {
	setClock(t, jwtTime)
	key, public := newPair(t, "k-1")
	token := mustRun(t, "jwt", "sign", "--key", key, "--kid", "k-1")

	out, err := runCommand(t, "Bearer "+token, "jwt", "explain", "-", "--keys", public, "--alg", "EdDSA", "--json")
	require.NoError(t, err)
	var report jwks.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.True(t, report.Accepted)
	assert.NotEmpty(t, report.Checks)

	out, err = runCommand(t, "", "jwt", "explain", "a.b.c", "--json")
	require.EqualError(t, err, "refused")
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, jwks.Code("token_encoding"), report.Code)

	out = mustRun(t, "jwt", "explain", token, "--alg", "EdDSA")
	assert.Contains(t, out, "skipped  signature: no keys were given\n")
	assert.Contains(t, out, "as far as it can be checked without keys")

	for says, args := range map[string][]string{
		"only one of the token and --keys":        {"-", "--keys", "-"},
		"--keys: open":                            {token, "--keys", public + "x"},
		"no key of the document can be used":      {token, "--keys", key},
		`"HS256" is symmetric`:                    {token, "--alg", "HS256"},
		"--min-bits 1: it must be 2048 to 16384":  {token, "--min-bits", "1"},
		"--at":                                    {token, "--at", "noon"},
		"revocation list":                         {token, "--revoked", public + "x"},
		"jwks: Leeway is 48h0m0s; it must be 24h": {token, "--leeway", "48h"},
		"http is for loopback addresses":          {token, "--keys", "http://id.example.org/"},
		"accepts 1 arg(s), received 0":            {},
	} {
		_, err := runCommand(t, "", append([]string{"jwt", "explain"}, args...)...)
		require.ErrorContains(t, err, says)
	}
}
