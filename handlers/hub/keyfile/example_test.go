package keyfile_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/keyfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, newKeyAndCertificate(), 0o600); err != nil {
		log.Fatal(err)
	}

	signer, err := keyfile.New(keyfile.Config{Key: file})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	certificates, err := signer.Certificates(ctx)
	if err != nil {
		log.Fatal(err)
	}
	signatures, err := signer.Sign(ctx, hub.SignRequest{
		CertificateID: certificates[0].ID,
		Algorithm:     hub.RS256,
		Documents:     [][]byte{[]byte("<SignedInfo>…</SignedInfo>")},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(certificates[0].Leaf.Subject.CommonName, len(signatures[0]))
	// Output:
	// 555086689106_Example 256
}

func newKeyAndCertificate() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "555086689106_Example"},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageContentCommitment,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		log.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
}
