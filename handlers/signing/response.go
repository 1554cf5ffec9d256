package signing

import (
	"errors"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// response answers GET /signatureresponse/{token}. HEAD takes nothing.
func (a *API) response(w http.ResponseWriter, r *http.Request, token string) (status int, ref *refusal) {
	bearer, ref := a.authenticate(r)
	if ref != nil {
		return 0, ref
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	req, ref := a.load(ctx, r, token)
	if ref != nil {
		return 0, ref
	}
	if a.config.AccessToken != nil && bearer != owner(&req) {
		return 0, unknownToken(codeForeign)
	}
	switch req.Status {
	case storage.SigningRequested:
		return 0, badRequest(codeNotDownloaded, textNotDownloaded)
	case storage.SigningDownloaded:
		return 0, &refusal{status: http.StatusNotFound, code: codePending, text: textPending}
	case storage.SigningSigned, storage.SigningRetrieved:
	}
	if a.config.RetrieveOnce && r.Method != http.MethodHead {
		var changed bool
		var err error
		req, changed, err = a.config.Store.RetrieveSigningRequest(ctx, req.Token)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return 0, unknownToken(codeUnknown)
		case err != nil:
			return 0, technical(r, err)
		case !changed:
			return 0, unknownToken(codeUnknown)
		}
	}
	writeBody(w, r, http.StatusOK, "application/json; charset=utf-8", req.Response)
	return http.StatusOK, nil
}

// owner is the client that may read a response. A request from before access
// tokens were required belongs to the client that signed it.
func owner(req *storage.SigningRequest) string {
	if req.Bearer != "" {
		return req.Bearer
	}
	return req.Client
}
