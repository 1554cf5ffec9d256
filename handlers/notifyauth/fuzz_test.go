package notifyauth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seedTokens are all tokens of the vectors.
func seedTokens(f *testing.F) []string {
	f.Helper()
	var tokens []string
	for _, c := range loadRequests(f).Cases {
		for _, line := range c.Request.Authorization {
			if _, token, ok := strings.Cut(line, " "); ok && len(token) < 4096 {
				tokens = append(tokens, token)
			}
		}
	}
	for _, g := range loadGolden(f) {
		tokens = append(tokens, g.Token)
	}
	return tokens
}

func reason(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// differ is the differential property: what the verifier accepts, golang-jwt
// accepts under the same policy, and what only the verifier refuses breaks a
// rule of strictness.
func differ(t *testing.T, v *Verifier, p *reference, token string, body []byte) {
	t.Helper()
	err := v.verifyOnly(background(), token, Original{Method: "POST", RequestURI: "/p"}, body)
	want := p.check(token, testService, testSecret, "POST /p", body)
	switch got := reason(err); {
	case err == nil && want != nil:
		t.Fatalf("accepted, but golang-jwt says: %v\n%s", want, token)
	case err != nil && want == nil && !got.Strictness() && got != CodeTokenBody:
		t.Fatalf("refused as %s, but golang-jwt accepts\n%s", got, token)
	}
}

// FuzzDifferential signs any header and claims with the right key, so that
// every rule behind the signature is reached.
func FuzzDifferential(f *testing.F) {
	for _, token := range seedTokens(f) {
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			continue
		}
		header, err1 := base64.RawURLEncoding.DecodeString(parts[0])
		claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
		if err1 == nil && err2 == nil {
			f.Add(string(header), string(claims), "")
		}
	}
	req, pay := key(f, "", testSecret).text([]byte("POST /p")), key(f, "", testSecret).text([]byte(smallBody))
	claims := `{"iss":"` + testService + `","iat":1453680000,"req":"` + req + `","pay":"` + pay + `"`
	for _, seed := range []string{
		claims + "}", claims + `,"exp":1453680001}`, claims + `,"nbf":1453680031}`, claims + `,"iat":1}`, claims + `,"IAT":1}`,
		claims + "}x", claims + `,"x":"\ud800"}`, strings.Replace(claims, "1453680000", "1453680000.99999999999", 1) + "}",
		strings.Replace(claims, "1453680000", "14536800e2", 1) + "}", strings.Replace(claims, "=", `\u003d`, 1) + "}", claims + `,"x":[[[[[[[[[1]]]]]]]]]}`,
	} {
		f.Add(goodHeader, seed, smallBody)
		f.Add(`{"alg":"HS256","crit":[]}`, seed, smallBody)
		f.Add(`{"alg":"HS256","kid":7}`, seed, smallBody)
	}
	v := verifier(f, Config{})
	p := newReference(time.Unix(testNow, 0))
	f.Fuzz(func(t *testing.T, header, claims, body string) {
		differ(t, v, p, forge(t, header, claims, testSecret), []byte(body))
	})
}

// FuzzToken takes any text for a token.
func FuzzToken(f *testing.F) {
	for _, token := range seedTokens(f) {
		f.Add(token)
	}
	req := key(f, "", testSecret).text([]byte("POST /p"))
	f.Add(mint(f, MintRequest{Method: "POST", Path: "/p"}))
	f.Add(mint(f, MintRequest{Method: "POST", Path: "/p", Header: AlgTyp}) + "=")
	f.Add(forge(f, `{"alg":"HS256","typ":"x"}`, `{"iss":"`+testService+`","iat":1453680000,"req":"`+req+`"}`, testSecret))
	v := verifier(f, Config{})
	p := newReference(time.Unix(testNow, 0))
	f.Fuzz(func(t *testing.T, token string) {
		differ(t, v, p, token, nil)
		report, err := Explain(background(), ExplainRequest{
			Authorization: "Bearer " + token, Method: "POST", Target: "/p",
			Services: StaticServices(oneService(t)), Now: time.Unix(testNow, 0),
		})
		require.NoError(t, err)
		if strings.Contains(report.String(), testSecret) && !strings.Contains(token, testSecret) {
			t.Fatal("the report shows the secret")
		}
	})
}

// FuzzTokenBody: where a body is let through, it can't be the signing input of
// a token that a verifier takes.
func FuzzTokenBody(f *testing.F) {
	for _, seed := range []string{"e30.e30", encode(goodHeader) + ".", "a.b", smallBody, "e30.e30\n", "e31.e30"} {
		f.Add(seed)
	}
	claims := encode(`{"iss":"` + testService + `","iat":1453680000}`)
	f.Add(encode(goodHeader) + "." + claims)
	v := verifier(f, Config{Dialect: V2})
	k := key(f, "", testSecret)
	f.Fuzz(func(t *testing.T, body string) {
		if isTokenBody([]byte(body)) {
			return
		}
		var sum [macSize]byte
		k.sum(&sum, []byte(body))
		token := body + "." + base64.RawURLEncoding.EncodeToString(sum[:])
		var h head
		if _, fault := v.verifyHead(background(), token, Original{Method: "GET", RequestURI: "/"}, &h); fault == nil {
			t.Fatalf("its pay signs a token: %q", body)
		}
	})
}
