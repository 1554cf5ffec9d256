package signing_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
	"github.com/signpost-gateway/signpost/jwks"
)

// directory knows one client.
type directory struct{ client signing.Client }

func (d directory) Client(_ context.Context, id string) (*signing.Client, error) {
	if id != d.client.ID {
		return nil, signing.ErrUnknownClient
	}
	return &d.client, nil
}

// An application asks for a signature, which the mock makes here instead of a
// smartcard.
func Example() {
	ctx := context.Background()
	const base = "http://localhost:8080"
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}

	// What an application has: a key, whose public half the service knows.
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	must(err)
	key, err := jwks.NewKey("key-1", "RS512", &private.PublicKey)
	must(err)
	keys, _ := jwks.NewIndex(jwks.Keys{key})

	// The service.
	store := memory.New()
	must(store.Open(ctx))
	defer func() { must(store.Close()) }()
	mock, err := evidence.NewMock(nil)
	must(err)
	verifier, err := evidence.New(evidence.Config{Mock: mock})
	must(err)
	pages, err := page.New(page.Config{Mock: true})
	must(err)
	api, err := signing.New(signing.Config{
		BaseURL:  base,
		Store:    store,
		Clients:  directory{signing.Client{ID: "pharmacy", Name: "The Pharmacy", Callback: "https://pharmacy.example/signed", Keys: keys}},
		Evidence: verifier,
		Mock:     mock,
		Page:     pages,
	})
	must(err)

	call := func(method, path, mediaType, body string) string {
		r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", mediaType)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		answer, err := io.ReadAll(w.Result().Body)
		must(err)
		if w.Code != http.StatusOK {
			log.Fatal(string(answer))
		}
		return string(answer)
	}

	// The application asks.
	request := jwt.NewWithClaims(jwt.SigningMethodRS512, jwt.MapClaims{
		"iss": "pharmacy", "sub": "555086689106", "aud": base,
		"iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
		"algorithm": "RS256",
		"payloads":  []any{map[string]string{"id": "1", "payload": "PFNpZ25lZEluZm8vPg=="}},
	})
	request.Header["kid"] = "key-1"
	signed, err := request.SignedString(private)
	must(err)
	var answer struct{ Token, RedirectURI string }
	must(json.Unmarshal([]byte(call("POST", "/signaturerequest", "text/plain", signed)), &answer))
	fmt.Println(strings.Replace(answer.RedirectURI, answer.Token, "…", 1))

	// The page, to which the user's browser goes, downloads, signs and uploads.
	call("GET", "/signaturerequest/"+answer.Token, "", "")
	signatures := call("POST", "/mock/"+answer.Token, "", "")
	call("POST", "/signatureresponse/"+answer.Token, "application/json", signatures)

	// The application collects.
	var result struct {
		Signatures  []struct{ ID, Signature string }
		Certificate string
	}
	must(json.Unmarshal([]byte(call("GET", "/signatureresponse/"+answer.Token, "", "")), &result))
	fmt.Println(len(result.Signatures), "signature, of document", result.Signatures[0].ID)

	// Output:
	// http://localhost:8080/client?token=…
	// 1 signature, of document 1
}
