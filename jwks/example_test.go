package jwks_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

// A key that is given as a text, for the tokens of one issuer.
func Example() {
	keys, skipped, err := jwks.Parse([]byte(`{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`), jwks.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range skipped {
		log.Println("not used:", s.Kid, s.Reason)
	}
	source, _ := jwks.NewIndex(keys)
	verifier, err := jwks.New(jwks.Config{
		Bindings: []jwks.Binding{{Issuer: "https://id.example.org", Keys: source}},
		Policy: jwks.Policy{
			Algorithms: []string{"EdDSA"},
			Audience:   []string{"https://api.example.org"},
			Require:    []string{"exp", "sub"},
			Leeway:     10 * time.Second,
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = verifier.Verify(context.Background(), []byte("not a token"))
	fmt.Println(jwks.CodeOf(err))
	// Output: token_alphabet
}
