package signing

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// load finds the request of a token. What can't be signed or read any more is
// unknown, by the clock and whether or not it has been swept.
func (a *API) load(ctx context.Context, r *http.Request, token string) (storage.SigningRequest, *refusal) {
	digest, ok := a.digest(token)
	if !ok {
		return storage.SigningRequest{}, badRequest(codeToken, textTokenForm)
	}
	req, err := a.config.Store.SigningRequest(ctx, digest)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return req, unknownToken(codeUnknown)
	case err != nil:
		return req, technical(r, err)
	}
	return req, gone(&req, a.config.Now())
}

// gone refuses a request whose time is over.
func gone(req *storage.SigningRequest, now time.Time) *refusal {
	switch req.Status {
	case storage.SigningRequested, storage.SigningDownloaded:
		if !now.Before(req.Deadline) {
			return unknownToken(codeExpired)
		}
	case storage.SigningSigned:
		if !now.Before(req.ExpiresAt) {
			return unknownToken(codeExpired)
		}
	default: // storage.SigningRetrieved
		return unknownToken(codeUnknown)
	}
	return nil
}

// download answers GET /signaturerequest/{token} with the JWT, byte for byte
// and once. HEAD says whether there is one, and takes nothing.
func (a *API) download(w http.ResponseWriter, r *http.Request, token string) (status int, ref *refusal) {
	if ref := a.sameOrigin(r); ref != nil {
		return 0, ref
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	req, ref := a.load(ctx, r, token)
	if ref != nil {
		return 0, ref
	}
	if ref := sameBrowser(r, token, &req); ref != nil {
		return 0, ref
	}
	if req.Status != storage.SigningRequested {
		return 0, badRequest(codeDownloaded, textDownloaded)
	}
	if r.Method != http.MethodHead {
		var changed bool
		var err error
		req, changed, err = a.config.Store.DownloadSigningRequest(ctx, req.Token, binding(r, token))
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return 0, unknownToken(codeUnknown)
		case err != nil:
			return 0, technical(r, err)
		case !changed:
			if ref := sameBrowser(r, token, &req); ref != nil {
				return 0, ref
			}
			return 0, badRequest(codeDownloaded, textDownloaded)
		}
	}
	a.config.Logger.DebugContext(ctx, "signature request downloaded", "token_hash", tokenName(req.Token), "iss", req.Client)
	writeBody(w, r, http.StatusOK, "text/plain; charset=utf-8", req.JWT)
	return http.StatusOK, nil
}
