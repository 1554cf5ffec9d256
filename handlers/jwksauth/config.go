package jwksauth

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/jwks"
)

// DefaultRealm is the realm of challenges, unless [Config] has another.
const DefaultRealm = "jwks"

// Config says what an [Authenticator] does.
type Config struct {
	// Verifier verifies tokens. Required.
	Verifier *jwks.Verifier
	// From are the places where a token may be. A request with more than one
	// token, in whatever places, is refused. Default, when empty: the header
	// Authorization with the scheme Bearer.
	From []TokenSource
	// Claims are handed on as request headers. Whatever a client sends under
	// their names is removed from every request first.
	Claims []ClaimHeader
	// ForwardToken leaves the token in the request for the next handler.
	// Default: it is removed.
	ForwardToken bool
	// Optional lets requests pass that have no token. Those with a faulty one
	// are refused all the same.
	Optional bool
	// AllowPreflight lets CORS preflight requests pass that have no token, as
	// browsers send none with them: OPTIONS with exactly one Origin and one
	// Access-Control-Request-Method, neither of them empty.
	AllowPreflight bool
	// Realm is what challenges say is protected. Default: "jwks".
	Realm string
	// Logger gets successes at debug, refusals at info with their reason code,
	// and technical faults at error; never a token, the value of a claim, or a
	// key id that a client sent. Default: no log.
	Logger *slog.Logger
	// Observe, when set, is called once for every request, for metrics.
	Observe func(Result)
}

// Result is what became of one request.
type Result struct {
	Code   Code // empty when the request passed
	Status int  // 0 when it passed
	// Cached tells that the token's signature had been verified before.
	Cached bool
	// Anonymous tells that the request passed without a token.
	Anonymous bool
}

// TokenSource is a place where a token may be.
type TokenSource struct {
	Kind SourceKind
	// Name of the header, cookie or query parameter; that of a header in any
	// case, the others exactly.
	Name string
	// Scheme stands before the token in a header, with one space or more after
	// it, and is compared in any case. A header with another scheme has no
	// token. When empty, the token is the header's whole value.
	Scheme string
}

// ClaimHeader hands a claim on as a request header.
type ClaimHeader struct {
	Claim  string // a name as of [jwks.Claims.Lookup]
	Header string
	Format Format
}

// Authenticator authenticates requests by bearer tokens. It is safe for
// concurrent use.
type Authenticator struct {
	verifier  *jwks.Verifier
	sources   []TokenSource
	claims    []ClaimHeader
	headers   []string // of claims
	twins     []string // headers with tokens that have other spellings
	forward   bool
	optional  bool
	preflight bool
	realm     string
	log       *slog.Logger
	observe   func(Result)
}

// New checks the configuration and makes an Authenticator.
func New(c Config) (*Authenticator, error) {
	a := &Authenticator{
		verifier:  c.Verifier,
		forward:   c.ForwardToken,
		optional:  c.Optional,
		preflight: c.AllowPreflight,
		realm:     c.Realm,
		log:       c.Logger,
		observe:   c.Observe,
	}
	if a.verifier == nil {
		return nil, errors.New("jwksauth: Verifier is required")
	}
	if len(c.From) == 0 {
		c.From = []TokenSource{{Kind: Header, Name: "Authorization", Scheme: "Bearer"}}
	}
	for _, s := range c.From {
		if err := a.addSource(s); err != nil {
			return nil, fmt.Errorf("jwksauth: %w", err)
		}
	}
	for _, m := range c.Claims {
		if err := a.addClaim(m); err != nil {
			return nil, fmt.Errorf("jwksauth: %w", err)
		}
	}
	if a.realm == "" {
		a.realm = DefaultRealm
	}
	if !utf8.ValidString(a.realm) || strings.ContainsFunc(a.realm, unicode.IsControl) {
		return nil, fmt.Errorf("jwksauth: the realm %q holds a control character or is not UTF-8", a.realm)
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a, nil
}

func (a *Authenticator) addSource(s TokenSource) error {
	if s.Name == "" {
		return errors.New("a place for tokens has no name")
	}
	if s.Kind != Header && s.Scheme != "" {
		return fmt.Errorf("the token from %s %q has the scheme %q, but only headers have schemes", s.Kind, s.Name, s.Scheme)
	}
	switch s.Kind {
	case Header:
		name, err := tokenHeader(s.Name)
		if err != nil {
			return err
		}
		s.Name = name
		if s.Scheme != "" && !notifyauth.IsToken(s.Scheme) {
			return fmt.Errorf("%q is not an authentication scheme: write one word, such as Bearer", s.Scheme)
		}
	case Cookie:
		if !notifyauth.IsToken(s.Name) {
			return fmt.Errorf("%q is not the name of a cookie", s.Name)
		}
	case Query:
	default:
		return fmt.Errorf("unknown kind of place for tokens: %d", s.Kind)
	}
	if slices.ContainsFunc(a.sources, s.overlaps) {
		return fmt.Errorf("the token from %s %q is configured twice, so that every token would count as two", s.Kind, s.Name)
	}
	a.sources = append(a.sources, s)
	if s.Kind == Header && strings.ContainsAny(s.Name, "-_.") {
		a.twins = append(a.twins, s.Name)
	}
	return nil
}

// tokenHeader checks the name of a header that holds tokens.
func tokenHeader(name string) (string, error) {
	if strings.EqualFold(name, "Authorization") {
		return "Authorization", nil
	}
	// What can't carry an identity is read by others, too.
	canonical, err := notifyauth.CheckIdentityHeader(name)
	if err != nil {
		return "", fmt.Errorf("tokens can't be taken from there: %w", err)
	}
	return canonical, nil
}

// overlaps reports whether one token may be found in both places.
func (s TokenSource) overlaps(other TokenSource) bool {
	if s.Kind != other.Kind {
		return false
	}
	if s.Kind != Header {
		return s.Name == other.Name
	}
	return notifyauth.SameHeader(s.Name, other.Name) &&
		(s.Scheme == "" || other.Scheme == "" || strings.EqualFold(s.Scheme, other.Scheme) || s.Name != other.Name)
}

func (a *Authenticator) addClaim(m ClaimHeader) error {
	if m.Claim == "" {
		return fmt.Errorf("the header %q has no claim to carry", m.Header)
	}
	if m.Format > JSON {
		return fmt.Errorf("the claim %q has the unknown format %d", m.Claim, m.Format)
	}
	name, err := notifyauth.CheckIdentityHeader(m.Header)
	if err != nil {
		return fmt.Errorf("the claim %q can't be handed on: %w", m.Claim, err)
	}
	m.Header = name
	for _, s := range a.sources {
		if s.Kind == Header && notifyauth.SameHeader(s.Name, name) {
			return fmt.Errorf("the header %s holds the token and can't carry the claim %q too", name, m.Claim)
		}
	}
	for _, other := range a.headers {
		if notifyauth.SameHeader(other, name) {
			return fmt.Errorf("the header %s can't carry two claims; note that upper and lower case, and \"-\", \"_\" and \".\", count as the same", name)
		}
	}
	a.claims = append(a.claims, m)
	a.headers = append(a.headers, name)
	return nil
}
