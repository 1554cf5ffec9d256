package notifyauth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// The benchmarks compare, in one run, the check of one token (with its body)
//   - as the request path does it (Verify),
//   - as golang-jwt does it, with the same policy (GolangJWT),
//   - as the same MACs with pooled state and a bare scan do it (Floor).
//
// Authenticate adds what belongs to the HTTP request: headers, reading the
// body, the identity.

func benchCases() []struct {
	name string
	m    MintRequest
} {
	body := []byte(strings.Repeat("0123456789abcdef", 64))
	body[0] = '{'
	return []struct {
		name string
		m    MintRequest
	}{
		{"GET", MintRequest{Method: http.MethodGet, Path: "/notifications/1"}},
		{"POST1KiB", MintRequest{Method: http.MethodPost, Path: "/notifications/sms", Body: body}},
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			v := verifier(b, Config{})
			token := mint(b, c.m)
			ctx := b.Context()
			o := Original{Method: c.m.Method, RequestURI: c.m.Path}
			b.ReportAllocs()
			for b.Loop() {
				if err := v.verifyOnly(ctx, token, o, c.m.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGolangJWT(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			token := mint(b, c.m)
			p := newReference(time.Unix(testNow, 0))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.check(token, testService, testSecret, c.m.Method+" "+c.m.Path, c.m.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFloor does the least that shows the token to be right: it trusts
// its form.
func BenchmarkFloor(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			token := []byte(mint(b, c.m))
			k := key(b, "live", testSecret)
			line := []byte(c.m.Method + " " + c.m.Path)
			var raw, sig []byte
			b.ReportAllocs()
			for b.Loop() {
				first, last := bytes.IndexByte(token, '.'), bytes.LastIndexByte(token, '.')
				raw, _ = base64.RawURLEncoding.AppendDecode(raw[:0], token[first+1:last])
				sig, _ = base64.RawURLEncoding.AppendDecode(sig[:0], token[last+1:])
				var sum, want [sha256.Size]byte
				k.sum(&sum, token[:last])
				ok := subtle.ConstantTimeCompare(sum[:], sig) == 1
				_ = jws.Object(raw, jws.Limits{}, func(name jws.Text, value jws.Value) error {
					switch {
					case name.Is("req"):
						mac(&want, value)
						k.sum(&sum, line)
						ok = ok && sum == want
					case name.Is("pay"):
						mac(&want, value)
						k.sum(&sum, c.m.Body)
						ok = ok && sum == want
					}
					return nil
				})
				if !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			v := verifier(b, Config{})
			r := httptest.NewRequest(c.m.Method, c.m.Path, nil)
			r.Header.Set("Authorization", "Bearer "+mint(b, c.m))
			w := httptest.NewRecorder()
			reader := bytes.NewReader(c.m.Body)
			body := io.NopCloser(reader)
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(c.m.Body)
				r.Body, r.ContentLength = body, int64(len(c.m.Body))
				_, release, err := v.Authenticate(w, r, OriginalOf(r))
				if err != nil {
					b.Fatal(err)
				}
				release()
			}
		})
	}
}

// reference is the same policy on golang-jwt.
type reference struct {
	parser *jwt.Parser
	now    time.Time
	leeway int64
}

func newReference(now time.Time) *reference {
	return &reference{
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithoutClaimsValidation()),
		now:    now, leeway: 30,
	}
}

var errPolicy = errors.New("refused by policy")

// date reads a NumericDate as the policy has it: a number from 0 to 2^53, its
// fraction cut off.
func (*reference) date(claims jwt.MapClaims, name string) (seconds int64, there bool, err error) {
	value, there := claims[name]
	if !there {
		return 0, false, nil
	}
	number, ok := value.(interface{ Float64() (float64, error) })
	if !ok {
		return 0, true, errPolicy
	}
	f, err := number.Float64()
	if err != nil || f < 0 || f > 1<<53 {
		return 0, true, errPolicy
	}
	return int64(f), true, nil
}

func (p *reference) times(claims jwt.MapClaims) error {
	now := p.now.Unix()
	iat, ok, err := p.date(claims, "iat")
	if err != nil || !ok || iat < now-p.leeway || iat > now+p.leeway {
		return errPolicy
	}
	exp, ok, err := p.date(claims, "exp")
	if err != nil || ok && (exp <= now || exp <= iat) {
		return errPolicy
	}
	nbf, ok, err := p.date(claims, "nbf")
	if err != nil || ok && nbf > now+p.leeway {
		return errPolicy
	}
	if _, ok := claims["aud"]; ok {
		return errPolicy
	}
	return nil
}

func (p *reference) mac(claims jwt.MapClaims, name, secret string, data []byte) error {
	text, ok := claims[name].(string)
	if !ok {
		return errPolicy
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || jwt.SigningMethodHS256.Verify(string(data), sum, []byte(secret)) != nil {
		return errPolicy
	}
	return nil
}

func (p *reference) check(token, service, secret, line string, body []byte) error {
	claims := jwt.MapClaims{}
	_, err := p.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) {
		switch iss := claims["iss"].(type) {
		case string:
			if iss == service {
				return []byte(secret), nil
			}
		case interface{ String() string }:
			if iss.String() == service {
				return []byte(secret), nil
			}
		}
		return nil, ErrUnknownService
	})
	if err != nil {
		return err
	}
	if err := p.times(claims); err != nil {
		return err
	}
	if err := p.mac(claims, "req", secret, []byte(line)); err != nil {
		return err
	}
	if _, there := claims["pay"]; there != (len(body) > 0) {
		return errPolicy
	}
	if len(body) > 0 {
		return p.mac(claims, "pay", secret, body)
	}
	return nil
}
