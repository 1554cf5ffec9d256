package jwksauth

import (
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testNow is the clock of all tests, and of the vectors.
var testNow = time.Unix(1800000000, 0)

// testKey signs fast.
var testKey = ed25519.NewKeyFromSeed([]byte("a seed for tests, 32 bytes long."))

// mint signs the usual claims for testNow; with are added to them, and nil ones
// removed.
func mint(t testing.TB, with map[string]any) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "https://id.example.org", "sub": "someone", "exp": testNow.Unix() + 300}
	maps.Copy(claims, with)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return mintClaims(t, claims)
}

func mintClaims(t testing.TB, claims jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "k1"
	text, err := token.SignedString(testKey)
	require.NoError(t, err)
	return text
}

func testKeys(t testing.TB) jwks.KeySource {
	t.Helper()
	key, err := jwks.NewKey("k1", "EdDSA", testKey.Public())
	require.NoError(t, err)
	keys, skipped := jwks.NewIndex([]*jwks.Key{key})
	require.Empty(t, skipped)
	return keys
}

func verifierOf(t testing.TB, keys jwks.KeySource) *jwks.Verifier {
	t.Helper()
	v, err := jwks.New(jwks.Config{
		Bindings: []jwks.Binding{{Issuer: "https://id.example.org", Keys: keys}},
		Policy:   jwks.Policy{Algorithms: []string{"EdDSA"}},
		Now:      func() time.Time { return testNow },
	})
	require.NoError(t, err)
	return v
}

// authenticator makes one that knows testKey.
func authenticator(t testing.TB, c Config) *Authenticator {
	t.Helper()
	if c.Verifier == nil {
		c.Verifier = verifierOf(t, testKeys(t))
	}
	a, err := New(c)
	require.NoError(t, err)
	return a
}

// claimsOf verifies claims, for they can be had in no other way.
func claimsOf(t testing.TB, with map[string]any) jwks.Claims {
	t.Helper()
	token, err := verifierOf(t, testKeys(t)).Verify(t.Context(), []byte(mint(t, with)))
	require.NoError(t, err)
	return token.Claims
}

// get makes a request with header lines as they come from a server: name,
// value, name, value.
func get(target string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

// code authenticates and returns the reason of the refusal, empty when the
// request may pass.
func code(t testing.TB, a *Authenticator, r *http.Request) Code {
	t.Helper()
	token, err := a.Authenticate(r)
	if err == nil {
		return ""
	}
	require.Nil(t, token)
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

// seen is what the handler behind the middleware got.
type seen struct {
	called  bool
	header  http.Header
	uri     string
	query   string
	body    string
	trailer http.Header // when the body had been read
	token   *jwks.Token
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	token, _ := FromContext(r.Context())
	*s = seen{
		called: true, header: r.Header.Clone(), uri: r.RequestURI, query: r.URL.RawQuery,
		body: string(body), trailer: r.Trailer.Clone(), token: token,
	}
}

// serve sends a request through the middleware.
func serve(a *Authenticator, r *http.Request) (*httptest.ResponseRecorder, seen) {
	var next seen
	w := httptest.NewRecorder()
	a.Middleware(&next).ServeHTTP(w, r)
	return w, next
}

// sign signs a text of claims byte for byte.
func sign(t testing.TB, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"EdDSA","kid":"k1"}`)) + "." + encode([]byte(claims))
	return signed + "." + encode(ed25519.Sign(testKey, []byte(signed)))
}
