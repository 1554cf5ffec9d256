package signing

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// maxLifetime is how far the exp of a request may lie in the future.
const maxLifetime = 10 * time.Minute

const (
	textKid       = headerPrefix + `"kid" is not known`
	textSignature = "JWT signature is not valid"
	textReplayed  = claimsPrefix + "This JWT has been used"
)

// verify checks what needs keys and a clock: the kid, the signature, whose
// request it is, for whom and when. bearer is the client of the access token,
// if one was required.
func (a *API) verify(ctx context.Context, parts jws.Compact, kid string, c *claims, bearer string) *refusal {
	key, ref := a.key(ctx, c.issuer, kid)
	if ref != nil {
		return ref
	}
	signature, err := jws.AppendDecode(make([]byte, 0, 512), parts.Signature)
	if err != nil || !key.Verify(requestAlg, parts.Signed, signature) {
		return badRequest("signature", textSignature)
	}
	if a.config.AccessToken != nil && bearer != c.issuer {
		return claimFault("iss_bearer", `"iss" is not allowed for this access token`)
	}
	if len(c.audience) != 1 || c.audience[0] != a.config.BaseURL {
		return claimFault("aud_other", `"aud" must be [`+a.config.BaseURL+`]`)
	}
	return a.verifyTimes(c)
}

// verifyTimes reads the clock by itself: finding a key may have taken a fetch.
func (a *API) verifyTimes(c *claims) *refusal {
	now := a.config.Now()
	latest := now.Add(a.config.Leeway)
	switch {
	case c.issued.After(latest):
		return claimFault("iat_future", `"iat" is in the future`)
	case !c.expires.After(now):
		return claimFault("exp_past", `"exp" is in the past`)
	case c.expires.After(latest.Add(maxLifetime)):
		return claimFault("exp_far", `"exp" must be at most 10 minutes in the future`)
	case !c.expires.After(c.issued):
		return claimFault("exp_order", `"exp" must be later than "iat"`)
	case c.notBefore.After(latest):
		return claimFault("nbf_future", `"nbf" is in the future`)
	}
	return nil
}

// key finds the key of a client. Nothing tells a client that doesn't exist
// from a key that it doesn't have: neither the answer nor the work, as both
// refusals come before any signature is verified.
func (a *API) key(ctx context.Context, issuer, kid string) (*jwks.Key, *refusal) {
	client, err := a.config.Clients.Client(ctx, issuer)
	switch {
	case errors.Is(err, ErrUnknownClient):
		return nil, badRequest("kid_client", textKid)
	case err != nil:
		return nil, keysAway(err)
	case client == nil || client.Keys == nil:
		return nil, badRequest("kid_unknown", textKid)
	}
	key, err := client.Keys.Key(ctx, kid)
	switch {
	case errors.Is(err, jwks.ErrUnknownKid):
		return nil, badRequest("kid_unknown", textKid)
	case err != nil || key == nil:
		return nil, keysAway(err)
	case key.Kty != jwks.TypeRSA, key.Alg != "" && key.Alg != requestAlg:
		return nil, badRequest("kid_algorithm", textKid)
	case key.Bits < a.config.MinKeyBits:
		return nil, badRequest("kid_size", textKid)
	}
	return key, nil
}

// keysAway is never the client's fault, so it is no 400.
func keysAway(err error) *refusal {
	if err == nil {
		err = jwks.ErrUnavailable
	}
	return &refusal{status: http.StatusServiceUnavailable, code: "keys_unavailable", text: textUnavailable, retryAfter: unavailableRetry, cause: err}
}
