package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// maxState is the longest state, in bytes.
const maxState = 256

// create answers POST /signaturerequest. Its checks, and their order, are the
// contract: the access token first; then what the headers tell; then the form
// of the JWT, its header and its claims, whoever signed it; and only then keys,
// signature, times and the storage.
func (a *API) create(w http.ResponseWriter, r *http.Request) (status int, ref *refusal) {
	bearer, ref := a.authenticate(r)
	if ref == nil && bearer != "" {
		ref = a.take(r, bearer)
	}
	if ref != nil {
		return 0, ref
	}
	if ref := a.bodies.check(r, "text/plain"); ref != nil {
		return 0, ref
	}
	state, hasState, ref := readState(r.URL.RawQuery)
	if ref != nil {
		return 0, ref
	}
	body, release, ref := a.bodies.readAnonymous(w, r)
	defer release()
	if ref != nil {
		return 0, ref
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	c, ref := a.check(ctx, body, bearer)
	if ref == nil && bearer == "" {
		ref = a.take(r, c.issuer)
	}
	if ref != nil {
		return 0, ref
	}
	token, ref := a.store(ctx, r, body, c, storage.SigningRequest{Bearer: bearer, State: state, HasState: hasState})
	if ref != nil {
		return 0, ref
	}
	a.config.Logger.DebugContext(ctx, "signature request accepted", "iss", c.issuer, "documents", len(c.documents))
	writeJSON(w, r, http.StatusOK, answer{Token: token, RedirectURI: a.config.BaseURL + "/client?token=" + token})
	return http.StatusOK, nil
}

// answer is what both POSTs answer.
type answer struct {
	Token       string `json:"token"`
	RedirectURI string `json:"redirectUri"`
}

// check checks a JWT as far as the profile asks.
func (a *API) check(ctx context.Context, body []byte, bearer string) (c claims, ref *refusal) {
	parts, ref := split(body)
	if ref != nil {
		return c, ref
	}
	kid, ref := readHeader(parts.Header)
	if ref != nil {
		return c, ref
	}
	lax := a.config.Profile == ProfileINT2022
	if c, ref = readClaims(parts.Claims, a.config.SignatureAlgorithms, lax); ref != nil {
		return c, ref
	}
	if !lax {
		ref = a.verify(ctx, parts, kid, &c, bearer)
	}
	return c, ref
}

// store stores a request and returns its token.
func (a *API) store(ctx context.Context, r *http.Request, body []byte, c claims, req storage.SigningRequest) (token string, ref *refusal) {
	token, err := newToken()
	if err != nil {
		return "", internal(err)
	}
	req.Token, _ = a.digest(token)
	req.Client = c.issuer
	req.JWT = bytes.Clone(body) // the body's memory is used again
	req.Status = storage.SigningRequested
	req.CreatedAt = a.now()
	req.Deadline = a.deadline(c.expires)
	req.ExpiresAt = req.Deadline
	if a.config.Profile == ProfileStrict {
		digest := storage.Digest(sha256.Sum256(body))
		req.Replay = &digest
	}
	switch err := a.config.Store.CreateSigningRequest(ctx, req); {
	case err == nil:
		return token, nil
	case errors.Is(err, storage.ErrExists) && req.Replay != nil:
		return "", badRequest(codeReplayed, textReplayed)
	case errors.Is(err, storage.ErrExists):
		return "", internal(err)
	default:
		return "", technical(r, err)
	}
}

// deadline is until when a request can be signed. Only int2022 lets times pass
// that are none for this; it gives every request the longest.
func (a *API) deadline(expires time.Time) time.Time {
	if a.config.Profile == ProfileINT2022 {
		return a.now().Add(maxLifetime)
	}
	return expires
}

// readState reads the state, which is opaque: it comes back as it is. The rest
// of the query may be anything.
func readState(query string) (state string, given bool, ref *refusal) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != "state" {
			continue // whatever it is, it isn't for us
		}
		if given {
			return "", false, badRequest(codeState, queryPrefix+`"state" must be a string`)
		}
		var err error
		switch state, err = url.QueryUnescape(value); {
		case err != nil, strings.Contains(value, ";"): // which others take for the end of it
			return "", false, badRequest(codeState, queryPrefix+`"state" must be encoded as in a URL`)
		case len(state) > maxState:
			return "", false, badRequest(codeState, queryPrefix+`"state" length must be less than or equal to 256 characters long`)
		case !utf8.ValidString(state):
			return "", false, badRequest(codeState, queryPrefix+`"state" must be valid UTF-8`)
		}
		given = true
	}
	return state, given, nil
}

// authenticate asks for the access token, when one is required. The bearer is
// empty when none is.
func (a *API) authenticate(r *http.Request) (bearer string, ref *refusal) {
	if a.config.AccessToken == nil {
		return "", nil
	}
	bearer, err := a.config.AccessToken(r)
	if err == nil && bearer == "" {
		err = &AccessError{Err: errors.New("it names no client")}
	}
	if err == nil {
		return bearer, nil
	}
	var fault *AccessError
	if !errors.As(err, &fault) || fault.Unavailable {
		wait := unavailableRetry
		if fault != nil && fault.RetryAfter > 0 {
			wait = fault.RetryAfter
		}
		return "", &refusal{
			status: http.StatusServiceUnavailable, code: codeAccessAway, text: textUnavailable,
			retryAfter: wait, cause: err,
		}
	}
	challenge := fault.Challenge
	if challenge == "" {
		challenge = "Bearer"
	}
	return "", &refusal{
		status: http.StatusUnauthorized, code: codeAccess, challenge: challenge, cause: err,
		issue: &issue{kind: "forbidden", code: "ACCESS_DENIED", display: accessDeniedDisplay},
	}
}

// maxBurst bounds the bucket of the rate limit.
const maxBurst = 1000

// take takes one request from a client's rate limit: a third of a minute's
// requests at once, then the rate itself.
func (a *API) take(r *http.Request, client string) *refusal {
	if a.config.RateLimit == 0 {
		return nil
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	limit := float64(a.config.RateLimit)
	wait, err := a.config.Store.Take(ctx, storage.Bucket{
		Key:       "signing/" + client,
		Capacity:  min(math.Ceil(limit/3)+1, maxBurst),
		PerSecond: limit / 60,
	}, a.config.Now())
	switch {
	case err != nil:
		return technical(r, err)
	case wait > 0:
		return &refusal{
			status: http.StatusTooManyRequests, code: codeRateLimited, retryAfter: wait,
			issue: &issue{kind: "throttled", code: "TOO_MANY_REQUESTS", display: "Too Many Requests"},
		}
	}
	return nil
}

// now is the clock, cut to what storage keeps.
func (a *API) now() time.Time { return storage.Micro(a.config.Now()) }
