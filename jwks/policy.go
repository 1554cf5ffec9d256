package jwks

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Defaults of [Policy].
const (
	DefaultAlgorithm = "RS512"
	DefaultLeeway    = 30 * time.Second
	maxLeeway        = 24 * time.Hour
)

// Policy says which tokens are good, beyond a good signature. It is applied
// to every token every time, whether its signature is remembered or not.
type Policy struct {
	// Algorithms are the values of alg that are allowed, of [Algorithms].
	// Default, when empty: RS512.
	Algorithms []string
	// MinKeyBits is the smallest RSA modulus, in bits, 2048 to 16384. Default,
	// when 0: 2048.
	MinKeyBits int
	// Types are the values of typ that are accepted, in any case; an empty one
	// stands for a token without typ. Default, when empty: none, JWT and
	// at+jwt.
	Types []string
	// Audience are the values of which aud must be, or hold, one. When empty,
	// aud may be any string or array of strings, or absent.
	Audience []string
	// Require are claims that must be there, neither null nor an empty string;
	// names as of [Claims.Lookup]. Default, when nil: exp. An empty list
	// requires none.
	Require []string
	// Leeway is how far iat and nbf may lie in the future; exp has none.
	// Default, when 0: 30 s. Negative means none. At most 24 h.
	Leeway time.Duration
	// MaxLifetime is how far exp may lie in the future, plus Leeway; it also
	// requires exp. 0 means any.
	MaxLifetime time.Duration
}

// complete checks the policy and fills in the defaults.
func (p Policy) complete() (Policy, error) {
	if len(p.Algorithms) == 0 {
		p.Algorithms = []string{DefaultAlgorithm}
	}
	for _, name := range p.Algorithms {
		if _, ok := algorithms[name]; ok {
			continue
		}
		if strings.HasPrefix(strings.ToUpper(name), "HS") {
			return p, fmt.Errorf("jwks: the algorithm %q is symmetric: key sets hold public keys, use one of %s", name, algorithmList)
		}
		return p, fmt.Errorf("jwks: the algorithm %q is not one of %s", name, algorithmList)
	}
	if p.MinKeyBits == 0 {
		p.MinKeyBits = DefaultMinKeyBits
	}
	if p.MinKeyBits < DefaultMinKeyBits || p.MinKeyBits > MaxKeyBits {
		return p, fmt.Errorf("jwks: MinKeyBits is %d; it must be %d to %d", p.MinKeyBits, DefaultMinKeyBits, MaxKeyBits)
	}
	if len(p.Types) == 0 {
		p.Types = []string{"", "JWT", "at+jwt"}
	}
	if slices.Contains(p.Audience, "") {
		return p, errors.New("jwks: Audience holds an empty value")
	}
	switch {
	case p.Leeway == 0:
		p.Leeway = DefaultLeeway
	case p.Leeway < 0:
		p.Leeway = 0
	case p.Leeway > maxLeeway:
		return p, fmt.Errorf("jwks: Leeway is %s; it must be %s at most", p.Leeway, maxLeeway)
	}
	if p.MaxLifetime < 0 {
		return p, errors.New("jwks: MaxLifetime is negative")
	}
	return p.completeRequired()
}

func (p Policy) completeRequired() (Policy, error) {
	if p.Require == nil {
		p.Require = []string{"exp"}
	}
	if slices.Contains(p.Require, "") {
		return p, errors.New("jwks: Require holds an empty name")
	}
	implied := map[string]bool{"exp": p.MaxLifetime > 0, "aud": len(p.Audience) > 0}
	p.Require = slices.Clone(p.Require)
	for _, name := range [...]string{"exp", "aud"} {
		if implied[name] && !slices.Contains(p.Require, name) {
			p.Require = append(p.Require, name)
		}
	}
	return p, nil
}

func (p *Policy) acceptsType(typ string) bool {
	return slices.ContainsFunc(p.Types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// check applies what concerns the claims.
func (p *Policy) check(c Claims, now time.Time) (expires time.Time, err error) {
	for _, name := range p.Require {
		value, ok := c.Lookup(name)
		if !ok || value.Kind == jws.KindNull || value.Kind == jws.KindString && value.Text().Empty() {
			return expires, refuseClaim(CodeClaimMissing, name, "is required, but missing or empty")
		}
	}
	for _, name := range [...]string{"iss", "sub", "jti"} {
		if value, ok := c.top(name); ok && value.Kind != jws.KindString {
			return expires, refuseClaim(CodeClaimType, name, "is not a string")
		}
	}
	if expires, err = p.checkTimes(c, now); err != nil {
		return expires, err
	}
	return expires, p.checkAudience(c)
}

func (p *Policy) checkTimes(c Claims, now time.Time) (expires time.Time, err error) {
	var times [3]time.Time
	for i, name := range [...]string{"exp", "iat", "nbf"} {
		value, ok := c.top(name)
		if !ok {
			continue
		}
		if times[i], ok = date(value); !ok {
			return expires, refuseClaim(CodeClaimType, name, "is not a number of seconds since 1970")
		}
	}
	exp, iat, nbf := times[0], times[1], times[2]
	latest := now.Add(p.Leeway)
	switch {
	case !exp.IsZero() && !exp.After(now):
		return exp, refuseClaim(CodeExpired, "exp", "is in the past")
	case iat.After(latest):
		return exp, refuseClaim(CodeIatFuture, "iat", "is in the future, by more than the leeway")
	case nbf.After(latest):
		return exp, refuseClaim(CodeNotYet, "nbf", "is in the future, by more than the leeway")
	case !exp.IsZero() && !iat.IsZero() && !exp.After(iat):
		return exp, refuseClaim(CodeTimeOrder, "exp", "is not after iat")
	case p.MaxLifetime > 0 && exp.After(latest.Add(p.MaxLifetime)):
		return exp, refuseClaim(CodeLifetime, "exp", "is further in the future than "+p.MaxLifetime.String()+" and the leeway")
	default:
		return exp, nil
	}
}

func (p *Policy) checkAudience(c Claims) error {
	value, ok := c.top("aud")
	if !ok {
		return nil // where it is required, that has been checked
	}
	if value.Kind == jws.KindString {
		// The usual form, without making a string.
		if len(p.Audience) == 0 || slices.ContainsFunc(p.Audience, value.Text().Is) {
			return nil
		}
		return refuseClaim(CodeAudience, "aud", "is none of those that are accepted")
	}
	all, ok := texts(value)
	if !ok {
		return refuseClaim(CodeClaimType, "aud", "is neither a string nor an array of strings")
	}
	if len(p.Audience) > 0 && !slices.ContainsFunc(all, func(a string) bool { return slices.Contains(p.Audience, a) }) {
		return refuseClaim(CodeAudience, "aud", "holds none of those that are accepted")
	}
	return nil
}
