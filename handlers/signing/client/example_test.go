package client_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/client"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
	"github.com/signpost-gateway/signpost/jwks"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A program asks a user to sign a document, waits, and verifies what comes.
func Example() {
	ctx := context.Background()
	key := must(rsa.GenerateKey(rand.Reader, 2048)) // or jwks.ParsePrivateKey of a file
	service := newService(key)
	defer service.Close()

	c := must(client.New(client.Config{BaseURL: service.URL, ClientID: "pharmacy", Key: key, KeyID: "key-1", HTTP: service.Client()}))
	documents := []evidence.Document{{ID: "1", Payload: []byte("<SignedInfo>…</SignedInfo>")}}
	p := must(c.Request(ctx, client.Request{Subject: "555086689106", Documents: documents}))

	// The user's browser goes to p.RedirectURI; here somebody signs at once.
	go signAs(service, p.Token)

	r := must(c.Await(ctx, p, client.AwaitOptions{}))
	// With Roots, the certificate must also be from one of these authorities.
	e := must(r.Verify(ctx, client.Verification{Documents: documents}))
	fmt.Println("Signed by", e.Certificate.Subject.CommonName)
	// Output:
	// Signed by 555086689106_MOCK
}

// directory knows one client.
type directory struct{ client signing.Client }

func (d directory) Client(_ context.Context, id string) (*signing.Client, error) {
	if id != d.client.ID {
		return nil, signing.ErrUnknownClient
	}
	return &d.client, nil
}

// newService is a signing API with a mock in the place of smartcards.
func newService(key *rsa.PrivateKey) *httptest.Server {
	keys, _ := jwks.NewIndex(jwks.Keys{must(jwks.NewKey("key-1", "RS512", key.Public()))})
	mock := must(evidence.NewMock(nil))
	store := memory.New()
	if err := store.Open(context.Background()); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = must(signing.New(signing.Config{
		BaseURL:  "http://" + server.Listener.Addr().String(),
		Store:    store,
		Clients:  directory{signing.Client{ID: "pharmacy", Callback: "https://pharmacy.example/signed", Keys: keys}},
		Evidence: must(evidence.New(evidence.Config{Mock: mock})),
		Mock:     mock,
		Page:     must(page.New(page.Config{Mock: true})),
		// The default is 4096, which takes longer to make.
		MinKeyBits: 2048,
	}))
	server.Start()
	return server
}

// signAs does what the browser page does.
func signAs(service *httptest.Server, token string) {
	do := func(method, path, body string) string {
		r := must(http.NewRequest(method, service.URL+path+token, strings.NewReader(body)))
		r.Header.Set("Content-Type", "application/json")
		resp := must(service.Client().Do(r))
		defer resp.Body.Close()
		return string(must(io.ReadAll(resp.Body)))
	}
	do("GET", "/signaturerequest/", "")
	do("POST", "/signatureresponse/", do("POST", "/mock/", ""))
}
