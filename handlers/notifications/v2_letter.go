package notifications

import (
	"net/http"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// v2SendLetter answers POST /v2/notifications/letter, as a service that may not
// send letters does: what is checked before that is checked here too.
func (a *API) v2SendLetter(c *v2Call) (status int, result string) {
	ctx, cancel := withStorageTimeout(c.r)
	defer cancel()
	body, ref := readBody(c.w, c.r)
	if ref == nil {
		_, ref = a.take(ctx, c.r, c.id)
	}
	if ref == nil {
		ref = a.letterFaults(body)
	}
	if ref == nil {
		ref = &refusal{status: http.StatusBadRequest, code: codeNoLetters, kind: errorBadRequest, text: "Service is not allowed to send letters"}
	}
	return a.v2Refuse(c, ref)
}

func (a *API) letterFaults(body []byte) *refusal {
	schema := v2LetterSchema
	if v, err := readJSON(body); err == nil && v.kind == jws.KindObject {
		if _, precompiled := v.member("content"); precompiled {
			schema = v2PrecompiledSchema
		}
	}
	_, ref := readV2(a, schema, body)
	return ref
}
