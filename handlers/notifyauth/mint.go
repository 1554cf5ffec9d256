package notifyauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// HeaderOrder is the order of the two members of a token's header, which
// differs between clients and makes other bytes of the same token.
type HeaderOrder uint8

const (
	// TypAlg is {"typ":"JWT","alg":"HS256"}, as the Python and Java clients
	// write it. The default.
	TypAlg HeaderOrder = iota
	// AlgTyp is {"alg":"HS256","typ":"JWT"}, as today's Node client writes it.
	AlgTyp
)

const (
	headerTypAlg = `{"typ":"JWT","alg":"HS256"}`
	headerAlgTyp = `{"alg":"HS256","typ":"JWT"}`
)

// MintRequest says what to sign.
type MintRequest struct {
	// Service is the iss claim.
	Service string
	// NumericService writes Service as a JSON number, as the tests of the
	// first Node client did.
	NumericService bool
	// Secret is the key's text.
	Secret string
	// IssuedAt is the iat claim. Default: time.Now.
	IssuedAt time.Time
	Dialect  Dialect
	Header   HeaderOrder
	// Method and Path are signed in the signed dialect only. Path is what the
	// server sees below its base path, escaped and without the query; with
	// QuerySigned, add "?" and the query.
	Method string
	Path   string
	// Body is signed in the signed dialect when it isn't empty.
	Body []byte
}

// ErrTokenBody refuses to sign a body of the form header.claims: its pay would
// be the signature of a token with any claims.
var ErrTokenBody = errors.New("notifyauth: the body has the form of an unsigned token (base64url.base64url) and must not be signed")

// mintClaims fixes the order of the claims, which is part of the token.
type mintClaims struct {
	Iss any    `json:"iss"`
	Iat int64  `json:"iat"`
	Req string `json:"req,omitempty"`
	Pay string `json:"pay,omitempty"`
}

// Mint makes a token: header as asked for, claims in the order iss, iat, req,
// pay, compact JSON. The bytes are those of the genuine clients.
func Mint(m MintRequest) (string, error) {
	claims, err := m.claims()
	if err != nil {
		return "", err
	}
	header := headerTypAlg
	if m.Header == AlgTyp {
		header = headerAlgTyp
	}
	// golang-jwt sorts the header's members, so the signing input is put
	// together here and only signed there.
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	signature, err := jwt.SigningMethodHS256.Sign(input, []byte(m.Secret))
	if err != nil {
		return "", fmt.Errorf("notifyauth: signing the token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (m *MintRequest) claims() ([]byte, error) {
	if m.Service == "" {
		return nil, errors.New("notifyauth: a token needs a service (iss)")
	}
	key, err := NewKey("", m.Secret)
	if err != nil {
		return nil, errors.New("notifyauth: a token needs a secret")
	}
	issued := m.IssuedAt
	if issued.IsZero() {
		issued = time.Now()
	}
	c := mintClaims{Iss: m.Service, Iat: issued.Unix()}
	if m.NumericService {
		c.Iss = json.Number(m.Service)
	}
	if m.Dialect == Signed {
		if err := m.sign(&c, key); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(c); err != nil {
		return nil, fmt.Errorf("notifyauth: the service id %q is not a JSON number: %w", m.Service, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (m *MintRequest) sign(c *mintClaims, key *Key) error {
	switch {
	case m.Method == "":
		return errors.New("notifyauth: a signed token needs the request's method")
	case !strings.HasPrefix(m.Path, "/"):
		return fmt.Errorf("notifyauth: a signed token needs the request's path from its first slash on, without scheme and host; got %q", m.Path)
	case isTokenBody(m.Body):
		return ErrTokenBody
	}
	c.Req = key.text([]byte(m.Method + " " + m.Path))
	if len(m.Body) > 0 {
		c.Pay = key.text(m.Body)
	}
	return nil
}

// text returns the MAC as claims carry it.
func (k *Key) text(data []byte) string {
	var sum [macSize]byte
	k.sum(&sum, data)
	return base64.StdEncoding.EncodeToString(sum[:])
}
