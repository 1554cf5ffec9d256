package evidence

import (
	"context"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // RS1 is SHA-1 by its definition
	_ "crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// CheckSignatures checks that the upload holds a valid signature for each of
// its documents and none else, all by the key of its one certificate, which
// must be an RSA key of at least minKeyBits (default, when 0: 2048). Whose
// certificate that is it does not ask: see [Verifier.Verify].
func CheckSignatures(ctx context.Context, u Upload, minKeyBits int) (*x509.Certificate, error) {
	if minKeyBits == 0 {
		minKeyBits = DefaultMinKeyBits
	}
	s, err := read(&u, func(*x509.Certificate) int { return minKeyBits })
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, len(u.Documents)); err != nil {
		return nil, err
	}
	return s.certificate, nil
}

// signed is an upload whose form is right.
type signed struct {
	upload      *Upload
	hash        crypto.Hash
	certificate *x509.Certificate
	key         *rsa.PublicKey
	signatures  [][]byte // of each document
}

// read makes the cheap checks. minKeyBits may depend on the certificate.
func read(u *Upload, minKeyBits func(*x509.Certificate) int) (*signed, error) {
	s := &signed{upload: u}
	var err error
	if s.hash, err = hashOf(u.Algorithm); err != nil {
		return nil, err
	}
	if len(u.Documents) == 0 {
		return nil, errors.New("evidence: there are no documents to check signatures of")
	}
	order, err := u.match()
	if err != nil {
		return nil, err
	}
	s.signatures = make([][]byte, len(order))
	for i, value := range u.Signatures {
		if value.Value == "" {
			return nil, refuse(CodeEncoding, textPayload+"%s is not allowed to be empty", u.member(i))
		}
		if len(value.Value) > longestSignature {
			return nil, refuse(CodeSignatureLength, textPayload+"%s is longer than any signature", u.member(i))
		}
	}
	for d, i := range order {
		signature, ok := decode(u.Signatures[i].Value)
		if !ok {
			return nil, refuse(CodeEncoding, textPayload+"%s must be a valid base64 string", u.member(i))
		}
		s.signatures[d] = signature
	}
	if s.certificate, err = parseCertificate(`"certificate"`, u.Certificate); err != nil {
		return nil, err
	}
	if s.key, err = signingKey(s.certificate, minKeyBits(s.certificate)); err != nil {
		return nil, err
	}
	for d, signature := range s.signatures {
		if len(signature) != s.key.Size() {
			return nil, refuse(CodeSignatureLength, "%s must be %d bytes long like the certificate's key, not %d", u.of(d), s.key.Size(), len(signature))
		}
	}
	return s, nil
}

// longestSignature is the length of the base64 of a signature by the largest
// key.
const longestSignature = (MaxKeyBits/8 + 2) / 3 * 4

// check verifies the signatures of the first count documents.
func (s *signed) check(ctx context.Context, count int) error {
	h := s.hash.New()
	digest := make([]byte, 0, s.hash.Size())
	for d, signature := range s.signatures[:count] {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("evidence: %w", context.Cause(ctx))
		}
		h.Reset()
		h.Write(s.upload.Documents[d].Payload)
		digest = h.Sum(digest[:0])
		if err := rsa.VerifyPKCS1v15(s.key, s.hash, digest, signature); err != nil {
			return refuseFor(err, CodeSignature, "%s is not valid", s.upload.of(d))
		}
	}
	return nil
}

func hashOf(algorithm string) (crypto.Hash, error) {
	switch algorithm {
	case RS256:
		return crypto.SHA256, nil
	case RS1:
		return crypto.SHA1, nil
	}
	return 0, fmt.Errorf("evidence: the algorithm is %q, expected %s or %s", algorithm, RS256, RS1)
}
