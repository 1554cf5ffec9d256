package client

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

// Response is what a user has signed. It proves nothing until [Response.Verify]
// says so.
type Response struct {
	// Signatures have the ids of their documents; the only one of the form with
	// one payload has none.
	Signatures []evidence.Signature
	// Certificate is that of the signing key: DER in standard base64.
	Certificate string
}

// Fetch asks for the signatures. As long as there are none the error is an
// [*Error] that is pending.
func (c *Client) Fetch(ctx context.Context, token string) (*Response, error) {
	var answer struct {
		Signature   string `json:"signature"`
		Certificate string `json:"certificate"`
		Signatures  []struct {
			ID        string `json:"id"`
			Signature string `json:"signature"`
		} `json:"signatures"`
	}
	if token == "" {
		return nil, errors.New("signing client: the token is empty")
	}
	if err := c.call(ctx, http.MethodGet, "/signatureresponse/"+url.PathEscape(token), "", nil, &answer); err != nil {
		return nil, err
	}
	r := &Response{Certificate: answer.Certificate}
	if answer.Signature != "" && answer.Signatures == nil {
		r.Signatures = []evidence.Signature{{Value: answer.Signature}}
	}
	for _, s := range answer.Signatures {
		r.Signatures = append(r.Signatures, evidence.Signature{ID: s.ID, Value: s.Signature})
	}
	if len(r.Signatures) == 0 || r.Certificate == "" {
		return nil, errors.New("signing client: the answer is not that of a signing API: it has no signatures or no certificate")
	}
	return r, nil
}

// Verification says what signatures are expected.
type Verification struct {
	// Algorithm is that of the request. Default, when empty: evidence.RS256.
	Algorithm string
	// Documents are those of the request.
	Documents []evidence.Document
	// Roots are the authorities whose certificates are believed. When nil, only
	// the arithmetic is checked: that the key of the certificate made the
	// signatures, whosever it is.
	Roots *x509.CertPool
	// MinKeyBits is the smallest key of a certificate, in bits. Default, when 0:
	// 2048.
	MinKeyBits int
	// Now is the time at which the certificate must be valid, if Roots are
	// given. Default: time.Now.
	Now func() time.Time
}

// Verify checks that there is a valid signature for each document and none
// else, all by the key of the certificate, and that the certificate leads to
// Roots, if there are any. Whose certificate it is, is for the caller to look
// at: the API has compared it with the request's subject in its own way.
// Without Roots the evidence has no Chain. An error that wraps an
// [*evidence.Error] says which check failed.
func (r *Response) Verify(ctx context.Context, v Verification) (*evidence.Evidence, error) {
	u := evidence.Upload{Algorithm: v.Algorithm, Documents: v.Documents, Signatures: r.Signatures, Certificate: r.Certificate}
	if u.Algorithm == "" {
		u.Algorithm = evidence.RS256
	}
	if len(r.Signatures) == 1 && r.Signatures[0].ID == "" && len(v.Documents) == 1 {
		u.Documents = []evidence.Document{{Payload: v.Documents[0].Payload}}
	}
	e, err := verify(ctx, u, &v)
	if refused, ok := errors.AsType[*evidence.Error](err); ok {
		return nil, &verifyError{refused}
	}
	return e, err
}

func verify(ctx context.Context, u evidence.Upload, v *Verification) (*evidence.Evidence, error) {
	if v.Roots == nil {
		c, err := evidence.CheckSignatures(ctx, u, v.MinKeyBits)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(c.Raw)
		return &evidence.Evidence{Certificate: c, Fingerprint: hex.EncodeToString(sum[:]), Revocation: evidence.NotChecked}, nil
	}
	verifier, err := evidence.New(evidence.Config{Roots: v.Roots, MinKeyBits: v.MinKeyBits, SubjectFrom: evidence.SubjectOff, Now: v.Now})
	if err != nil {
		return nil, err
	}
	return verifier.Verify(ctx, u)
}

// verifyError says which check failed without what is meant for the signer.
type verifyError struct{ refused *evidence.Error }

func (e *verifyError) Error() string {
	return fmt.Sprintf("the signatures do not verify: %s", strings.TrimPrefix(e.refused.Message, "Invalid request payload: "))
}

func (e *verifyError) Unwrap() error { return e.refused }
