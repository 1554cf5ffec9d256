package evidence_test

import (
	"context"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

// A mock signs, and a verifier that knows it believes it. With Roots instead of
// Mock a verifier believes the cards of real authorities.
func Example() {
	mock, err := evidence.NewMock(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := evidence.New(evidence.Config{Mock: mock})
	if err != nil {
		fmt.Println(err)
		return
	}
	upload := evidence.Upload{
		Algorithm: evidence.RS256,
		Subject:   "555086689106",
		Documents: []evidence.Document{{ID: "a", Payload: []byte("<SignedInfo>…</SignedInfo>")}},
	}
	upload.Signatures, upload.Certificate, err = mock.Sign(upload.Subject, upload.Algorithm, upload.Documents)
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := verifier.Verify(context.Background(), upload)
	fmt.Println(found.Subject, found.Mock, err)

	upload.Documents[0].Payload = []byte("<SignedInfo>another</SignedInfo>")
	_, err = verifier.Verify(context.Background(), upload)
	fmt.Println(evidence.CodeOf(err), err)
	// Output:
	// 555086689106 true <nil>
	// signature evidence: Signature of document "a" is not valid: crypto/rsa: verification error
}
