package notifications

import (
	"errors"
	"io"
	"net/http"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// readBody reads the body of a request that has been authenticated: one that has
// been verified already, or in the V2 dialect what the client sends, bounded by
// the verifier.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	body, err := readAll(r)
	if err == nil {
		return body, nil
	}
	ref := &refusal{status: http.StatusBadRequest, code: codeBodyUnread, text: "The request body could not be read", kind: errorBadRequest}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		ref = &refusal{status: http.StatusRequestEntityTooLarge, code: codeBodyTooLarge, text: "Request body is too large", kind: errorTooLarge}
	}
	notifyauth.CloseUnread(w, r)
	return nil, ref
}

func readAll(r *http.Request) ([]byte, error) {
	if r.ContentLength <= 0 {
		return io.ReadAll(r.Body)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}
