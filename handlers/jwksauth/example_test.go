package jwksauth_test

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
)

// A service behind bearer tokens, and a client of it, with net/http alone. In
// place of the one key a [jwks.Set] with a URL is usual.
func Example() {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := jwks.NewKey("k1", "EdDSA", public)
	if err != nil {
		log.Fatal(err)
	}
	keys, _ := jwks.NewIndex([]*jwks.Key{key})
	verifier, err := jwks.New(jwks.Config{
		Bindings: []jwks.Binding{{Issuer: "https://id.example.org", Keys: keys}},
		Policy:   jwks.Policy{Algorithms: []string{"EdDSA"}, Require: []string{"exp", "sub"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := jwksauth.New(jwksauth.Config{
		Verifier: verifier,
		Claims:   []jwksauth.ClaimHeader{{Claim: "sub", Header: "X-Subject"}, {Claim: "roles", Header: "X-Roles"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(auth.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwksauth.FromContext(r.Context())
		fmt.Fprintf(w, "%s (%s), by %s", r.Header.Get("X-Subject"), r.Header.Get("X-Roles"), token.Issuer)
	})))
	defer server.Close()

	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://id.example.org", "sub": "jo", "roles": []string{"reader", "writer"}, "exp": time.Now().Add(time.Minute).Unix(),
	})
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(private)
	if err != nil {
		log.Fatal(err)
	}
	for _, authorization := range []string{"Bearer " + signed, "Bearer x.y.z"} {
		request, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Authorization", authorization)
		answer, err := server.Client().Do(request)
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		fmt.Println(answer.StatusCode, string(text))
	}
	// Output:
	// 200 jo (reader,writer), by https://id.example.org
	// 401 {"error":"invalid_token","error_description":"The access token is invalid"}
}
