//go:build cgo

package pkcs11_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/pkcs11"
	"github.com/signpost-gateway/signpost/handlers/hub/testcard"
)

// A test card stands for a real one here; nothing else would be different with
// that.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// SoftHSM finds its tokens through a variable that the process starts with.
	tokenDir := filepath.Dir(os.Getenv("SOFTHSM2_CONF"))
	card, err := testcard.Make(ctx, testcard.Options{
		TokenDir: tokenDir, CADir: dir, Label: "example", PIN: "123456", UserID: "555086689106", Name: "Example",
	})
	if err != nil {
		log.Fatal(err)
	}

	signer, err := pkcs11.New(pkcs11.Config{Module: card.Module, Token: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = signer.Close() }()
	certificates, err := signer.Certificates(ctx)
	if err != nil {
		log.Fatal(err)
	}
	signatures, err := signer.Sign(ctx, hub.SignRequest{
		CertificateID: certificates[0].ID,
		Algorithm:     hub.RS256,
		Documents:     [][]byte{[]byte("<SignedInfo>…</SignedInfo>")},
		PIN: func(_ context.Context, r hub.PINRequest) (string, error) {
			fmt.Println("PIN of", r.Token)
			return "123456", nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(certificates[0].Leaf.Subject.CommonName, len(signatures[0]))
	// Output:
	// PIN of example
	// 555086689106_Example 256
}
