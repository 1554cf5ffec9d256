package jwks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Binding trusts the keys of a source for the tokens of one issuer.
type Binding struct {
	// Issuer is the only iss of tokens that these keys may verify, compared
	// exactly. When empty, they verify those of all issuers that no other
	// binding names, and tokens without iss.
	Issuer string
	Keys   KeySource
}

// Config says what a [Verifier] accepts.
type Config struct {
	// Bindings are the trusted keys. Required. Several may have one issuer.
	Bindings []Binding
	Policy   Policy
	// Revoked are tokens that are refused though they are good, with
	// CodeRevoked: a [RevocationList], or the caller's own. Default: none.
	Revoked Revocations
	// MaxToken is the longest token in bytes. Default, when 0: 8 KiB
	// ([jws.MaxBearer]); at most 1 MiB ([jws.MaxDocument]).
	MaxToken int
	// CacheSize is how many verified tokens are remembered. Default, when 0:
	// 16384, which take about 2 MiB. Negative means none.
	CacheSize int
	// StandardRSA verifies RSA signatures with crypto/rsa only, as is done in
	// any case in FIPS 140-3 mode.
	StandardRSA bool
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	bound    map[string][]KeySource
	unbound  []KeySource
	policy   Policy
	revoked  Revocations // nil when there are none
	maxToken int
	cache    *cache
	stdlib   bool
	now      func() time.Time
}

// Token is a token that was verified.
type Token struct {
	Header jws.Header
	Key    *Key
	Claims Claims
	// Issuer is the claim iss, empty when there is none.
	Issuer string
	// Expires is the claim exp, zero when there is none.
	Expires time.Time
	// Cached tells that the signature had been verified before.
	Cached bool
}

// New checks the configuration and makes a Verifier.
func New(c Config) (*Verifier, error) {
	policy, err := c.Policy.complete()
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		bound:    make(map[string][]KeySource),
		policy:   policy,
		revoked:  c.Revoked,
		maxToken: c.MaxToken,
		stdlib:   c.StandardRSA,
		now:      c.Now,
	}
	if len(c.Bindings) == 0 {
		return nil, errors.New("jwks: Bindings is required: a verifier without keys refuses everything")
	}
	for _, b := range c.Bindings {
		switch {
		case b.Keys == nil:
			return nil, fmt.Errorf("jwks: the binding of the issuer %q has no Keys", b.Issuer)
		case b.Issuer == "":
			v.unbound = append(v.unbound, b.Keys)
		default:
			v.bound[b.Issuer] = append(v.bound[b.Issuer], b.Keys)
		}
	}
	if v.maxToken == 0 {
		v.maxToken = jws.MaxBearer
	}
	if v.maxToken < 0 || v.maxToken > jws.MaxDocument {
		return nil, fmt.Errorf("jwks: MaxToken is %d; it must be 1 to %d bytes", c.MaxToken, jws.MaxDocument)
	}
	if c.CacheSize == 0 {
		c.CacheSize = DefaultCacheSize
	}
	if c.CacheSize > 0 {
		v.cache = newCache(c.CacheSize)
	}
	if v.now == nil {
		v.now = time.Now
	}
	return v, nil
}

// Verify verifies a compact token: its form, alg and typ; then iss and kid,
// by which its key is found; then the signature; then the claims; then whether
// it was revoked. It doesn't keep the bytes. Its errors are [*Error]; all but those with CodeUnavailable
// are faults of the token.
func (v *Verifier) Verify(ctx context.Context, token []byte) (*Token, error) {
	parts, t, err := v.read(token)
	if err != nil {
		return nil, err
	}
	var sum digest
	if v.cache != nil {
		sum = sha256.Sum256(token)
	}
	if err := v.findKey(ctx, t); err != nil {
		if v.cache != nil && err.Code != CodeUnavailable {
			v.cache.drop(sum)
		}
		return nil, err
	}
	// Not earlier: finding the key may have taken a fetch.
	now := v.now()
	t.Cached = v.cache != nil && v.cache.has(sum, t.Key, now)
	if !t.Cached {
		if err := v.verifySignature(parts, t); err != nil {
			return nil, err
		}
	}
	if t.Expires, err = v.policy.check(t.Claims, now); err != nil {
		return nil, err
	}
	if v.cache != nil && !t.Cached {
		v.cache.add(sum, t.Key, now, t.Expires)
	}
	if v.revoked != nil && v.revoked.Has(t) {
		return nil, refuse(CodeRevoked, "the token, or its subject, was revoked")
	}
	return t, nil
}

// read takes the token apart and checks what needs no key.
func (v *Verifier) read(token []byte) (jws.Compact, *Token, error) {
	parts, err := jws.Split(token, v.maxToken)
	if err != nil {
		return parts, nil, refuseForm("the token has a faulty form", err)
	}
	var buffer [256]byte
	decoded, err := jws.AppendDecode(buffer[:0], parts.Header)
	if err != nil {
		return parts, nil, refuseForm("the header is encoded wrongly", err)
	}
	t := new(Token)
	if t.Header, err = jws.ParseHeader(decoded); err != nil {
		return parts, nil, refuseForm("the header has a faulty form", err)
	}
	if !slices.Contains(v.policy.Algorithms, t.Header.Alg) {
		return parts, nil, refuse(CodeAlgorithm, "the header's alg is not among those that are allowed")
	}
	if !v.policy.acceptsType(t.Header.Typ) {
		return parts, nil, refuse(CodeType, "the header's typ is missing or is not among those that are accepted")
	}
	claims, err := jws.AppendDecode(make([]byte, 0, len(parts.Claims)*3/4), parts.Claims)
	if err != nil {
		return parts, nil, refuseForm("the claims are encoded wrongly", err)
	}
	if t.Claims, err = parseClaims(claims); err != nil {
		return parts, nil, refuseForm("the claims have a faulty form", err)
	}
	return parts, t, nil
}

// findKey finds the token's key by issuer and kid, and checks that it is for
// tokens like this one.
func (v *Verifier) findKey(ctx context.Context, t *Token) *Error {
	sources, fault := v.sources(t)
	if fault != nil {
		return fault
	}
	kid := t.Header.Kid
	if kid == "" && len(sources) > 1 {
		return refuse(CodeKidMissing, "the header has no kid, and there is more than one key set that its key can be in")
	}
	key, err := lookUp(ctx, sources, kid)
	switch {
	case errors.Is(err, ErrUnknownKid) && kid == "":
		return refuse(CodeKidMissing, "the header has no kid, and the key set has more than one key")
	case errors.Is(err, ErrUnknownKid):
		return refuse(CodeUnknownKid, "the header's kid is that of no usable key")
	case err != nil:
		return &Error{Code: CodeUnavailable, text: "the token's key can't be looked up", err: err}
	case key.Alg != "" && key.Alg != t.Header.Alg, !algorithms[t.Header.Alg].fits(key):
		return refuse(CodeKeyAlgorithm, "the header's alg is not that of the key")
	case key.Kty == TypeRSA && key.Bits < v.policy.MinKeyBits:
		return refuse(CodeKeySize, fmt.Sprintf("the key has %d bits, fewer than %d", key.Bits, v.policy.MinKeyBits))
	}
	t.Key = key
	return nil
}

// sources returns the sources of keys that may verify tokens of this issuer.
func (v *Verifier) sources(t *Token) ([]KeySource, *Error) {
	value, ok := t.Claims.top("iss")
	switch {
	case !ok && len(v.unbound) == 0:
		return nil, refuseClaim(CodeClaimMissing, "iss", "is missing")
	case !ok:
		return v.unbound, nil
	case value.Kind != jws.KindString:
		return nil, refuseClaim(CodeClaimType, "iss", "is not a string")
	}
	t.Issuer = value.Text().String()
	if sources := v.bound[t.Issuer]; sources != nil {
		return sources, nil
	}
	if len(v.unbound) == 0 {
		return nil, refuseClaim(CodeIssuer, "iss", "is that of no issuer whose keys are configured")
	}
	return v.unbound, nil
}

// lookUp asks the sources in their order. One that gives its only key for
// every kid comes after those that have a key of this very kid.
func lookUp(ctx context.Context, sources []KeySource, kid string) (*Key, error) {
	var nameless *Key
	away := ErrUnknownKid
	for _, source := range sources {
		key, err := source.Key(ctx, kid)
		switch {
		case err == nil && key == nil:
			away = ErrUnavailable
		case err == nil && key.Kid == kid:
			return key, nil
		case err == nil && nameless == nil:
			nameless = key
		case err != nil && !errors.Is(err, ErrUnknownKid):
			away = err
		}
	}
	if nameless != nil {
		return nameless, nil
	}
	return nil, away
}

func (v *Verifier) verifySignature(parts jws.Compact, t *Token) error {
	var buffer [512]byte
	signature, err := jws.AppendDecode(buffer[:0], parts.Signature)
	if err != nil {
		return refuseForm("the signature is encoded wrongly", err)
	}
	if !algorithms[t.Header.Alg].verify(t.Key, parts.Signed, signature, v.stdlib) {
		return refuse(CodeSignature, "the signature is not that of the key over this header and these claims")
	}
	return nil
}
