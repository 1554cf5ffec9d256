package jwks

import (
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// claims makes the checks of the policy, in its order.
func (e *explainer) claims() {
	e.required()
	e.texts()
	exp, iat, nbf := e.dates()
	e.expiry(exp)
	e.notBefore("iat", CodeIatFuture, iat)
	e.notBefore("nbf", CodeNotYet, nbf)
	e.lifetime(exp, iat)
	e.audience()
	e.revocation()
}

func (e *explainer) required() {
	const name = "required claims"
	var missing []string
	for _, claim := range e.v.policy.Require {
		value, ok := e.token.Claims.Lookup(claim)
		if !ok || value.Kind == jws.KindNull || value.Kind == jws.KindString && value.Text().Empty() {
			missing = append(missing, claim)
		}
	}
	switch {
	case len(missing) > 0:
		e.fail(name, CodeClaimMissing, "missing or empty: %s", quoteAll(missing))
	case len(e.v.policy.Require) == 0:
		e.ok(name, "none are required")
	default:
		e.ok(name, "present: %s", quoteAll(e.v.policy.Require))
	}
}

func (e *explainer) texts() {
	const name = "claim types"
	var wrong []string
	for _, claim := range [...]string{"iss", "sub", "jti"} {
		if value, ok := e.token.Claims.top(claim); ok && value.Kind != jws.KindString {
			wrong = append(wrong, claim)
		}
	}
	if len(wrong) > 0 {
		e.fail(name, CodeClaimType, "not a string: %s", quoteAll(wrong))
		return
	}
	e.ok(name, "iss, sub and jti are strings where they are present")
}

// dates reads the times; what can't be read is zero.
func (e *explainer) dates() (exp, iat, nbf time.Time) {
	const name = "dates"
	var times [3]time.Time
	var wrong []string
	for i, claim := range [...]string{"exp", "iat", "nbf"} {
		value, ok := e.token.Claims.top(claim)
		if !ok {
			continue
		}
		if times[i], ok = date(value); !ok {
			wrong = append(wrong, claim)
		}
	}
	if len(wrong) > 0 {
		e.fail(name, CodeClaimType, "not a number of seconds since 1970 (text is not accepted): %s", quoteAll(wrong))
	} else {
		e.ok(name, "exp, iat and nbf are numbers where they are present; it is %s now", timeText(e.now))
	}
	return times[0], times[1], times[2]
}

// unread says why there is no such time.
func (e *explainer) unread(claim string) {
	if _, ok := e.token.Claims.top(claim); ok {
		e.skip(claim, "it can't be read")
		return
	}
	e.ok(claim, "there is none")
}

func (e *explainer) expiry(exp time.Time) {
	switch {
	case exp.IsZero():
		e.unread("exp")
	case !exp.After(e.now):
		e.fail("exp", CodeExpired, "the token ended %s, at %s; there is no leeway", distance(exp, e.now), timeText(exp))
	default:
		e.ok("exp", "the token ends %s, at %s", distance(exp, e.now), timeText(exp))
	}
}

// notBefore checks a time that must not lie in the future.
func (e *explainer) notBefore(claim string, code Code, at time.Time) {
	switch leeway := e.v.policy.Leeway; {
	case at.IsZero():
		e.unread(claim)
	case at.After(e.now.Add(leeway)):
		e.fail(claim, code, "%s, at %s: further in the future than the leeway of %s; one of the two clocks is wrong, or it is too early", distance(at, e.now), timeText(at), leeway)
	default:
		e.ok(claim, "%s, at %s", distance(at, e.now), timeText(at))
	}
}

func (e *explainer) lifetime(exp, iat time.Time) {
	switch {
	case exp.IsZero() || iat.IsZero():
		e.skip("exp and iat", "one of them is not there to compare")
	case !exp.After(iat):
		e.fail("exp and iat", CodeTimeOrder, "exp is not after iat")
	default:
		e.ok("exp and iat", "exp is after iat")
	}
	switch most := e.v.policy.MaxLifetime; {
	case most == 0:
	case exp.IsZero():
		e.skip("lifetime", "there is no exp")
	case exp.After(e.now.Add(e.v.policy.Leeway).Add(most)):
		e.fail("lifetime", CodeLifetime, "exp is %s; at most %s and the leeway of %s are accepted", distance(exp, e.now), most, e.v.policy.Leeway)
	default:
		e.ok("lifetime", "exp is not further away than %s and the leeway of %s", most, e.v.policy.Leeway)
	}
}

func (e *explainer) audience() {
	const name = "aud"
	accepted := e.v.policy.Audience
	value, ok := e.token.Claims.top("aud")
	if !ok {
		e.ok(name, "there is none")
		return
	}
	all, ok := texts(value)
	switch {
	case !ok:
		e.fail(name, CodeClaimType, "it is neither a string nor an array of strings")
	case len(accepted) == 0:
		e.ok(name, "%s; any is accepted", audienceText(all))
	case !slices.ContainsFunc(all, func(a string) bool { return slices.Contains(accepted, a) }):
		e.fail(name, CodeAudience, "it is %s; accepted: %s", audienceText(all), quoteAll(accepted))
	default:
		e.ok(name, "%s", audienceText(all))
	}
}

func audienceText(all []string) string {
	switch {
	case len(all) == 0:
		return "an empty array"
	case len(all) > maxListed:
		return quoteAll(all[:maxListed]) + " and others"
	default:
		return quoteAll(all)
	}
}

func (e *explainer) revocation() {
	const name = "revocation"
	switch {
	case e.v.revoked == nil:
	case e.v.revoked.Has(e.token):
		e.fail(name, CodeRevoked, "the token, or its subject, is on the list")
	default:
		e.ok(name, "the token is not on the list")
	}
}
