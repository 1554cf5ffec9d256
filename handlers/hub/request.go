package hub

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signpost-gateway/signpost/jwks"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	requestAlg = "RS512"
	requestTyp = "JWT"
	// maxLifetime is how far the exp of a request may lie in the future.
	maxLifetime = 10 * time.Minute
)

// request is what a web site asks the hub to sign.
type request struct {
	issuer, subject string // empty when nobody signed the request
	algorithm       string
	documents       []Document
	expires         time.Time // zero when nobody signed the request
	// digest is that of the JWT, by which the hub knows it again; nil without.
	digest *[sha256.Size]byte
}

// Document is one that is to be signed.
type Document struct {
	ID string // empty for the only one of its request
	// Content is what is signed, byte for byte.
	Content []byte
	// Display describes the document in the words of the application; it is not
	// part of what is signed. Empty when there is none.
	Display string
}

// verify checks a client's JWT as the signing API does, and that it is meant
// for the web site that asks.
func (h *Hub) verify(ctx context.Context, token []byte, origin string) (*request, error) {
	parts, err := jws.Split(token, jws.MaxDocument)
	if err != nil {
		return nil, invalid("The request is no JWT: three parts of base64url, with dots between.")
	}
	kid, err := readHeader(parts.Header)
	if err != nil {
		return nil, err
	}
	data, err := jws.AppendDecode(make([]byte, 0, len(parts.Claims)*3/4), parts.Claims)
	if err != nil {
		return nil, invalid("The JWT's claims must be base64url without padding.")
	}
	c, err := readClaims(data)
	if err != nil {
		return nil, err
	}
	// Not earlier than the form, nor later than anything that may show the
	// contents: keys may have to be fetched, and errors are logged.
	if asked, ok := originOf(c.audience); !ok || asked != origin {
		return nil, invalid("The JWT's aud is not an address of the web site that asks.")
	}
	key, source, err := h.requestKey(ctx, c, kid)
	if err != nil {
		return nil, err
	}
	signature, err := jws.AppendDecode(make([]byte, 0, 512), parts.Signature)
	if err != nil || !verifies(key, parts.Signed, signature) {
		return nil, invalid("The JWT's signature is not valid.")
	}
	if err := h.checkTimes(c); err != nil {
		return nil, err
	}
	if key.Issuer == "" && source.Issuer == "" {
		if _, warned := h.unbound.LoadOrStore(source.Audience, true); !warned {
			h.config.Logger.WarnContext(ctx, "keys of requests don't say whose they are: each client of the signing service can name another one as the issuer",
				"audience", source.Audience)
		}
	}
	digest := sha256.Sum256(token)
	return &request{
		issuer: c.issuer, subject: c.subject, algorithm: c.algorithm,
		documents: c.documents, expires: c.expires, digest: &digest,
	}, nil
}

func readHeader(encoded []byte) (kid string, err error) {
	data, err := jws.AppendDecode(nil, encoded)
	if err != nil {
		return "", invalid("The JWT's header must be base64url without padding.")
	}
	header, err := jws.ParseHeader(data)
	switch {
	case err != nil:
		return "", invalid("The JWT's header has a faulty form.")
	case header.Alg != requestAlg:
		return "", invalid("The JWT's alg must be " + requestAlg + ".")
	case header.Typ != requestTyp:
		return "", invalid("The JWT's typ must be " + requestTyp + ".")
	case header.Kid == "":
		return "", invalid("The JWT has no kid.")
	}
	return header.Kid, nil
}

// issuerKeys is a [jwks.KeySource] that may know whose keys it has.
type issuerKeys interface {
	KeyOf(ctx context.Context, issuer, kid string) (*jwks.Key, error)
}

// findKey finds a key in a source. One that says whose it is must be the
// issuer's, whatever the source makes of that.
func findKey(ctx context.Context, source jwks.KeySource, issuer, kid string) (key *jwks.Key, err error) {
	if s, ok := source.(issuerKeys); ok {
		key, err = s.KeyOf(ctx, issuer, kid)
	} else {
		key, err = source.Key(ctx, kid)
	}
	if err == nil && key != nil && key.Issuer != "" && key.Issuer != issuer {
		return nil, jwks.ErrUnknownKid
	}
	return key, err
}

// requestKey finds the key of a request, and among which it was. One that is for
// every kid comes after those that have this very kid.
func (h *Hub) requestKey(ctx context.Context, c *claims, kid string) (nameless *jwks.Key, in RequestKeys, _ error) {
	away := jwks.ErrUnknownKid
	for _, source := range h.config.Requests {
		if source.Audience != "" && source.Audience != c.audience || source.Issuer != "" && source.Issuer != c.issuer {
			continue
		}
		key, err := findKey(ctx, source.Keys, c.issuer, kid)
		switch {
		case err == nil && key == nil:
			away = jwks.ErrUnavailable
		case err == nil && key.Kid == kid:
			return key, source, h.checkKey(key)
		case err == nil && nameless == nil:
			nameless, in = key, source
		case err != nil && !errors.Is(err, jwks.ErrUnknownKid):
			away = err
		}
	}
	switch {
	case nameless != nil:
		return nameless, in, h.checkKey(nameless)
	case errors.Is(away, jwks.ErrUnknownKid):
		return nil, in, invalid("The JWT's kid is that of no key that this hub trusts.")
	default:
		return nil, in, &Error{
			Code: CodeInternal, RetriesLeft: -1, Err: away,
			Message: "The hub can't look up the keys of the signing service now. Try again later.",
		}
	}
}

func (h *Hub) checkKey(key *jwks.Key) error {
	switch {
	case key.Kty != jwks.TypeRSA, key.Alg != "" && key.Alg != requestAlg:
		return invalid("The JWT's key is not for " + requestAlg + ".")
	case key.Bits < h.config.MinKeyBits:
		return invalid("The JWT's key is too small for this hub.")
	}
	return nil
}

// verifies checks an RS512 signature.
func verifies(key *jwks.Key, signed, signature []byte) bool {
	public, ok := key.Public.(*rsa.PublicKey)
	return ok && len(signature) == public.Size() && jwt.SigningMethodRS512.Verify(string(signed), signature, public) == nil
}

// checkTimes reads the clock by itself: finding a key may have taken a fetch.
func (h *Hub) checkTimes(c *claims) error {
	now := h.config.Now()
	latest := now.Add(h.config.Leeway)
	switch {
	case c.issued.After(latest):
		return invalid("The JWT's iat is in the future. Is this computer's clock right?")
	case !c.expires.After(now):
		return invalid("The JWT's exp is in the past: the request has run out.")
	case c.expires.After(latest.Add(maxLifetime)):
		return invalid("The JWT's exp is more than 10 minutes in the future. Is this computer's clock right?")
	case !c.expires.After(c.issued):
		return invalid("The JWT's exp is not after its iat.")
	case c.notBefore.After(latest):
		return invalid("The JWT's nbf is in the future. Is this computer's clock right?")
	}
	return nil
}
