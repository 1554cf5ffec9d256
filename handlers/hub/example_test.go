package hub_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/jwks"
)

// software is a Signer without a card.
type software struct {
	key  *rsa.PrivateKey
	leaf *x509.Certificate
}

func (s software) Status(context.Context) (hub.Status, error) {
	return hub.Status{Card: hub.CardPresent}, nil
}

func (s software) Certificates(context.Context) ([]hub.Certificate, error) {
	return []hub.Certificate{{ID: "1", Leaf: s.leaf, Algorithms: []string{hub.RS256}, NonRepudiation: true}}, nil
}

func (s software) Sign(_ context.Context, r hub.SignRequest) (all [][]byte, err error) {
	for _, document := range r.Documents {
		sum := sha256.Sum256(document)
		signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
		if err != nil {
			return all, err
		}
		all = append(all, signature)
	}
	return all, nil
}

func (s software) Close() error { return nil }

// A hub signs what a client of the signing service asked for.
func Example() {
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	const site = "https://sign.example.org"

	// What the user has.
	card, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "555086689106_SMITH"},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageContentCommitment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &card.PublicKey, card)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)

	// What the client of the signing service has, and what is known of it.
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	public, err := jwks.NewKey("key-1", "RS512", &private.PublicKey)
	must(err)
	keys, _ := jwks.NewIndex(jwks.Keys{public})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	h, err := hub.New(hub.Config{
		Origins:  []string{site},
		Requests: []hub.RequestKeys{{Keys: keys}},
		Signer:   software{card, leaf},
		Consent:  hub.ConsentNever(), // a real hub has NewPageConsent
		Address:  listener.Addr().String(),
	})
	must(err)
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		must(h.Close())
		must(server.Close())
	}()

	// The signing page hands the client's JWT over.
	request, err := jwks.Sign(jwks.SignRequest{Key: private, Kid: "key-1", Typ: "JWT", Claims: map[string]any{
		"iss": "pharmacy", "sub": "555086689106", "aud": site + "/signing-service",
		"iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
		"algorithm": "RS256", "payloads": []any{map[string]string{"id": "1", "payload": "PFNpZ25lZEluZm8vPg=="}},
	}})
	must(err)
	call, err := http.NewRequest(http.MethodPost, "http://"+listener.Addr().String()+"/hub/v1/sign", strings.NewReader(`{"request":"`+request+`"}`))
	must(err)
	call.Header.Set("Origin", site)
	call.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(call)
	must(err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(err)
	http.DefaultClient.CloseIdleConnections()
	var answer struct {
		Signatures []struct{ ID, Signature string }
	}
	must(json.Unmarshal(body, &answer))
	fmt.Println(response.Status, len(answer.Signatures), "signature, of document", answer.Signatures[0].ID)

	// Output:
	// 200 OK 1 signature, of document 1
}
