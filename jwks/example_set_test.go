package jwks_test

import (
	"context"
	"fmt"
	"log"

	"github.com/signpost-gateway/signpost/jwks"
)

// A set is made of sources, started once, and asked for keys by id. In place of
// the text a server's key set is usual:
//
//	jwks.NewURL(jwks.URLConfig{URL: "https://id.example.org/jwks.json"})
func ExampleSet() {
	source, err := jwks.NewInline([]byte(`{"keys": [
		{"kty": "OKP", "crv": "Ed25519", "kid": "prod-1", "x": "RCmTBlAEqh5MSPTdAVgZTAI0m8xmTNluQA6iaZGKjVE"},
		{"kty": "oct", "kid": "secret-1", "k": "AAAA"}
	]}`))
	if err != nil {
		log.Fatal(err)
	}
	set, err := jwks.NewSet(jwks.SetConfig{
		Name:    "platform",
		Issuer:  "https://id.example.org",
		Sources: []jwks.Source{source},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	if err := set.Start(context.Background()); err != nil {
		log.Print(err) // the set goes on trying
	}

	_, err = set.Key(context.Background(), "secret-1")
	fmt.Println(set.Status().KeyIDs, err)
	// Output: [prod-1] jwks: no usable key of the set has this kid
}
