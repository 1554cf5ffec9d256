// Package rsacert is what signers know of RSA certificates for signing
// documents, wherever the key is: their names and order, who issued them, and
// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
package rsacert

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // RS1 is SHA-1 by its definition
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// longestChain bounds the chains that [Chain] builds.
const longestChain = 8

// New describes a certificate. candidates are where its issuers are looked for.
func New(leaf *x509.Certificate, candidates []*x509.Certificate, algorithms ...string) hub.Certificate {
	return hub.Certificate{
		ID: ID(leaf), Leaf: leaf, Chain: Chain(leaf, candidates), Algorithms: algorithms,
		NonRepudiation: leaf.KeyUsage&x509.KeyUsageContentCommitment != 0,
	}
}

// ID is the start of the certificate's SHA-256 fingerprint, as 32 hexadecimal
// digits.
func ID(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:16])
}

// Chain returns those of the candidates that issued the certificate, its own
// issuer first, without the root. Who is trusted is for the receiver to check:
// here names and key identifiers decide (RFC 5280, section 4.2.1.1).
func Chain(leaf *x509.Certificate, candidates []*x509.Certificate) []*x509.Certificate {
	var chain []*x509.Certificate
	for at := leaf; len(chain) < longestChain; {
		i := slices.IndexFunc(candidates, func(c *x509.Certificate) bool {
			return issued(c, at) && !selfIssued(c) && !slices.ContainsFunc(chain, c.Equal)
		})
		if i < 0 {
			break
		}
		at = candidates[i]
		chain = append(chain, at)
	}
	return chain
}

func issued(issuer, c *x509.Certificate) bool {
	return issuer.IsCA && bytes.Equal(issuer.RawSubject, c.RawIssuer) &&
		(len(c.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId))
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// Sort puts the best certificate first: one for contentCommitment before others,
// then one that is valid now, then the one that is valid for longest, as a
// renewed card has the old one too.
func Sort(certificates []hub.Certificate, now time.Time) {
	slices.SortStableFunc(certificates, func(a, b hub.Certificate) int {
		return cmp.Or(
			first(a.NonRepudiation, b.NonRepudiation),
			first(validAt(a.Leaf, now), validAt(b.Leaf, now)),
			b.Leaf.NotAfter.Compare(a.Leaf.NotAfter),
			cmp.Compare(a.ID, b.ID),
		)
	})
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func validAt(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// Key returns the certificate's public key when it is one for RSA, else nil.
func Key(c *x509.Certificate) *rsa.PublicKey {
	key, _ := c.PublicKey.(*rsa.PublicKey)
	return key
}

// Hash returns the hash function of a signature algorithm.
func Hash(algorithm string) (crypto.Hash, error) {
	switch algorithm {
	case hub.RS256:
		return crypto.SHA256, nil
	case hub.RS1:
		return crypto.SHA1, nil
	default:
		return 0, &hub.Error{
			Code: hub.CodeUnsupportedAlgorithm, RetriesLeft: -1,
			Message: "This signature algorithm is not one of " + hub.RS256 + " and " + hub.RS1 + ".",
		}
	}
}

// Digest hashes a document.
func Digest(hash crypto.Hash, document []byte) []byte {
	h := hash.New()
	_, _ = h.Write(document)
	return h.Sum(nil)
}

// prefixes are the DER of DigestInfo before the digest (RFC 8017, section 9.2,
// note 1).
var prefixes = map[crypto.Hash][]byte{
	crypto.SHA1:   {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14},
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
}

// DigestInfo is the DER that a key signs which can only do the mathematics.
func DigestInfo(hash crypto.Hash, digest []byte) []byte {
	return append(slices.Clip(prefixes[hash]), digest...)
}
