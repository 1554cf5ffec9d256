package caddymodule

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/signing/client"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

func signVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify --certificate <file> --signature <file> <file>",
		Short: "Verifies the signature of a file, and says who signed",
		Long: `Verifies that the key of a certificate has signed a file, byte for byte, and
says whose certificate it is. The files are those that sign request writes; the
certificate may also be DER, and both may be base64, as the API has them.

Whether the certificate is to be believed is for --trust to say. Without it
anybody may have made it. Revocation is not looked up.

Exit status 1 means that the signature does not verify.`,
		Example: `  caddy signpost sign verify --certificate prescription.xml.cert.pem --signature prescription.xml.sig \
    --trust smartcard-ca.pem prescription.xml`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	certificate := f.String("certificate", "", "The file of the signer's certificate (PEM, DER or base64)")
	signature := f.String("signature", "", "The file of the signature (its bytes, or base64)")
	algorithm := algorithmFlag(cmd)
	trust := addTrustFlags(cmd)
	at := f.String("at", "", "When the certificate must be valid for --trust, as seconds since 1970 or RFC 3339 (default: now)")
	asJSON := jsonFlag(cmd)
	_ = cmd.MarkFlagRequired("certificate")
	_ = cmd.MarkFlagRequired("signature")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inputs := []string{*certificate, *signature, args[0]}
		if err := oneStdin(inputs...); err != nil {
			return err
		}
		v, err := trust.verification(*algorithm, *at)
		if err != nil {
			return err
		}
		texts := make([][]byte, len(inputs))
		for i, path := range inputs {
			if texts[i], err = readInput(cmd, path); err != nil {
				return err
			}
		}
		der, err := oneCertificate(texts[0])
		if err != nil {
			return fmt.Errorf("--certificate %s: %w", *certificate, err)
		}
		v.Documents = []evidence.Document{{Payload: texts[2]}}
		r := client.Response{
			Signatures:  []evidence.Signature{{Value: base64.StdEncoding.EncodeToString(binary(texts[1]))}},
			Certificate: base64.StdEncoding.EncodeToString(der),
		}
		ctx, cancel := commandContext(cmd, time.Minute)
		defer cancel()
		e, err := r.Verify(ctx, v)
		if err != nil {
			return err
		}
		signer := signerOf(e)
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), signer)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "ok          the key of this certificate has signed %s\n", printable(args[0]))
		signer.print(cmd.OutOrStdout())
		return nil
	}
	return cmd
}

// trustFlags say which certificates are believed.
type trustFlags struct {
	trust   *string
	minBits *int
}

func addTrustFlags(cmd *cobra.Command) trustFlags {
	f := cmd.Flags()
	return trustFlags{
		trust:   f.String("trust", "", "A PEM file with the authorities whose certificates are believed (default: none is checked)"),
		minBits: f.Int("min-card-key-bits", evidence.DefaultMinKeyBits, fmt.Sprintf("The smallest key of a signer, at least %d", evidence.LeastMinKeyBits)),
	}
}

// verification is what signatures must hold out against.
func (t trustFlags) verification(algorithm, at string) (client.Verification, error) {
	v := client.Verification{Algorithm: algorithm, MinKeyBits: *t.minBits}
	switch {
	case algorithm != evidence.RS256 && algorithm != evidence.RS1:
		return v, fmt.Errorf("--algorithm %q: it must be %s or %s", algorithm, evidence.RS256, evidence.RS1)
	case *t.minBits < evidence.LeastMinKeyBits || *t.minBits > evidence.MaxKeyBits:
		return v, fmt.Errorf("--min-card-key-bits %d: it must be %d to %d", *t.minBits, evidence.LeastMinKeyBits, evidence.MaxKeyBits)
	}
	now, err := atFlag(at)
	if err != nil {
		return v, err
	}
	v.Now = clock
	if at != "" {
		v.Now = func() time.Time { return now }
	}
	if *t.trust != "" {
		if v.Roots, err = trustedRoots(*t.trust); err != nil {
			return v, fmt.Errorf("--trust: %w", err)
		}
	}
	return v, nil
}

// oneCertificate returns the DER of a certificate that is PEM, DER or base64.
func oneCertificate(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		return binary(text), nil
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no PEM block CERTIFICATE")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("it holds several PEM blocks: expected the signer's certificate only")
	}
	return block.Bytes, nil
}

// binary decodes base64; what isn't base64 is taken as it is.
func binary(text []byte) []byte {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(decoded) == 0 {
		return text
	}
	return decoded
}

// signerShown is what is said of a signer.
type signerShown struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	KeyBits     int       `json:"key_bits"`
	Fingerprint string    `json:"sha256"`
	// Trusted tells that the certificate leads to an authority of --trust.
	Trusted bool `json:"trusted"`
	Mock    bool `json:"mock"`

	ids []string
}

func signerOf(e *evidence.Evidence) signerShown {
	c := e.Certificate
	prefix, _, _ := strings.Cut(c.Subject.CommonName, "_")
	s := signerShown{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Fingerprint: e.Fingerprint, Trusted: len(e.Chain) > 0, Mock: isMock(c),
		ids: []string{prefix, c.Subject.SerialNumber},
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		s.KeyBits = key.N.BitLen()
	}
	return s
}

// isMock goes by what the certificate says of itself.
func isMock(c *x509.Certificate) bool {
	return slices.Contains(c.Issuer.Organization, evidence.MockMark)
}

// names reports whether the certificate names a user where cards do.
func (s signerShown) names(user string) bool { return slices.Contains(s.ids, user) }

func (s signerShown) print(w io.Writer) {
	trusted := "not checked: anybody may have made this certificate (--trust checks it)"
	if s.Trusted {
		trusted = "leads to an authority of --trust"
	}
	fmt.Fprintf(w, "signed by   %s\nissued by   %s\nvalid       %s to %s\nkey         RSA of %d bits\nsha256      %s\nchain       %s\n",
		printable(s.Subject), printable(s.Issuer), when(&s.NotBefore), when(&s.NotAfter), s.KeyBits, s.Fingerprint, trusted)
	if s.Mock {
		fmt.Fprintf(w, "mock        this is NOT A REAL SIGNATURE: the server made it for a trial\n")
	}
}
