package signing

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// verifyTimeout bounds the checks of an upload, of which revocation may ask
// several servers.
const verifyTimeout = 30 * time.Second

// pending is a request that waits for its signatures.
type pending struct {
	storage.SigningRequest

	token  string
	kid    string
	claims claims
}

// upload answers POST /signatureresponse/{token}. A refused upload leaves the
// request as it was, so that the user may try again.
func (a *API) upload(w http.ResponseWriter, r *http.Request, token string) (status int, ref *refusal) {
	p, client, ref := a.pending(r, token)
	if ref != nil {
		return 0, ref
	}
	e, ref := a.accept(w, r, p)
	a.audit(r.Context(), p, e, ref)
	if ref != nil {
		return 0, ref
	}
	writeJSON(w, r, http.StatusOK, answer{
		Token:       token,
		RedirectURI: callbackURL(client.Callback, token, p.State, p.HasState),
	})
	return http.StatusOK, nil
}

// pending finds a request that can be signed, and the client to return to,
// before anything of the body is read.
func (a *API) pending(r *http.Request, token string) (*pending, *Client, *refusal) {
	if ref := a.sameOrigin(r); ref != nil {
		return nil, nil, ref
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	req, ref := a.load(ctx, r, token)
	if ref != nil {
		return nil, nil, ref
	}
	if ref := sameBrowser(r, token, &req); ref != nil {
		return nil, nil, ref
	}
	switch req.Status {
	case storage.SigningRequested:
		return nil, nil, badRequest(codeNotDownloaded, textNotDownloaded)
	case storage.SigningSigned, storage.SigningRetrieved:
		return nil, nil, badRequest(codeSigned, textSigned)
	case storage.SigningDownloaded:
	}
	client, err := a.config.Clients.Client(ctx, req.Client)
	switch {
	case errors.Is(err, ErrUnknownClient), err == nil && client == nil:
		return nil, nil, unknownToken(codeClientUnknown) // it has been ended since
	case err != nil:
		return nil, nil, technical(r, err)
	}
	if err := CheckCallback(client.Callback); err != nil {
		return nil, nil, internal(err)
	}
	p := &pending{SigningRequest: req, token: token}
	if p.kid, p.claims, err = reread(req.JWT); err != nil {
		return nil, nil, internal(err)
	}
	return p, client, nil
}

// errStored says that a stored JWT isn't what was accepted.
var errStored = errors.New("signing: the stored signature request can't be read")

// reread reads a JWT that was checked when it came. The algorithms may have
// been other ones then.
func reread(jwt []byte) (kid string, c claims, err error) {
	parts, ref := split(jwt)
	if ref == nil {
		kid, ref = readHeader(parts.Header)
	}
	if ref == nil {
		c, ref = readClaims(parts.Claims, []string{algorithmRS1, algorithmRS256}, true)
	}
	if ref != nil {
		return "", c, errStored
	}
	return kid, c, nil
}

// accept reads an upload, verifies it and stores it.
func (a *API) accept(w http.ResponseWriter, r *http.Request, p *pending) (*evidence.Evidence, *refusal) {
	if ref := a.bodies.check(r, "application/json"); ref != nil {
		return nil, ref
	}
	body, release, ref := a.bodies.read(w, r)
	defer release()
	if ref != nil {
		return nil, ref
	}
	u, ref := readUpload(body, p.claims.single)
	if ref != nil {
		return nil, ref
	}
	if len(p.claims.documents) == 0 {
		return nil, badRequest(codeNoDocuments, "Signature request holds nothing to sign")
	}
	u.Algorithm, u.Subject = p.claims.algorithm, p.claims.subject
	var err error
	if u.Documents, err = p.claims.decoded(); err != nil {
		return nil, internal(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
	defer cancel()
	e, err := a.config.Evidence.Verify(ctx, u)
	var refused *evidence.Error
	switch {
	case errors.As(err, &refused):
		ref := badRequest(string(refused.Code), refused.Message)
		ref.cause = errors.Unwrap(refused)
		return nil, ref
	case err != nil:
		return nil, technical(r, err)
	}
	return e, a.sign(r, p, &u)
}

// sign moves the request on. Of several uploads at once one does.
func (a *API) sign(r *http.Request, p *pending, u *evidence.Upload) *refusal {
	now := a.now()
	if ref := gone(&p.SigningRequest, now); ref != nil { // verifying may have taken a while
		return ref
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	_, changed, err := a.config.Store.SignSigningRequest(ctx, p.Token, p.claims.result(u), now.Add(a.config.Retention))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return unknownToken(codeUnknown)
	case err != nil:
		return technical(r, err)
	case !changed:
		return badRequest(codeSigned, textSigned)
	}
	return nil
}

// audit leaves a trace of every upload that could have signed something.
func (a *API) audit(ctx context.Context, p *pending, e *evidence.Evidence, ref *refusal) {
	attrs := []slog.Attr{
		slog.String("token_hash", tokenName(p.Token)),
		slog.String("iss", p.Client),
		slog.String("kid", p.kid),
		slog.Int("documents", len(p.claims.documents)),
	}
	if e != nil {
		attrs = append(attrs, slog.String("certificate_sha256", e.Fingerprint), slog.String("revocation", string(e.Revocation)), slog.Bool("mock", e.Mock))
	}
	result := resultOK
	if ref != nil {
		result = ref.code
	}
	a.config.Logger.LogAttrs(ctx, slog.LevelInfo, "signature upload", append(attrs, slog.String("result", result))...)
}
